from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_plm.tasks import TaskModel

from .artifact_files import artifact_path, whole_artifact
from .runtime import Artifact
from .signature import Signature, float32_copy, float32_function, least_length
from .verify import ExportError, verify

OPSET = 17  # the newest opset that both tf2onnx 1.17 (up to 18) and onnx's reference evaluator support


def to_onnx(model: TaskModel, path: str | Path, max_length: int | None = None, overwrite: bool = False) -> Path:
    """Write an ONNX file that takes token ids, and verify with onnxruntime that it matches the Keras model.

    The inputs are `token_ids`, `segment_ids` and `padding_mask`, int32. Their shape is (B, T) with any B and T, or
    (1, max_length). The outputs are described in `Artifact`.

    Args:
        model: a task model with its tokenizer.
        path: a file that ends in `.onnx`, or a folder for `model.onnx`.
        max_length: a fixed number of tokens, for runtimes that need fixed shapes (web); None allows any batch size and
            length.
        overwrite: replace an existing file.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ImportError: onnxruntime is not installed.
        ValueError: the model generates text.
        ExportError: the file is not valid ONNX or does not match the model; nothing is left on disk.
    """
    import onnx

    path = artifact_path(path, ".onnx")
    signature = Signature.of(model, max_length)
    if signature.spec.generates:
        raise ValueError(f"to_onnx does not support {type(model).__name__}; use to_tflite or to_litert_lm")
    model = float32_copy(model)
    with whole_artifact(model, path, signature, overwrite) as temporary:
        proto = _convert(model, signature)
        try:
            onnx.checker.check_model(proto, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ExportError(f"tf2onnx made an invalid file: {error}") from None
        temporary.write_bytes(proto.SerializeToString())
        artifact = Artifact(temporary)
        verify(model, artifact)
        if max_length is None:  # a second length, to be sure that the length is not fixed
            verify(model, artifact, length=max(model.longest_row // 2, least_length(model)))
    return path


def _convert(model: TaskModel, signature: Signature) -> Any:
    import tf2onnx

    module, serve = float32_function(model, signature)
    specs = list(signature.input_specs().values())
    # tf2onnx names the inputs after the specifications and the outputs after the keys
    function = tf.function(lambda *inputs: serve(**dict(zip(signature.inputs, inputs, strict=True))), autograph=False)
    proto, _ = tf2onnx.convert.from_function(function, input_signature=specs, opset=OPSET)
    return proto
