import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_plm.models import Classifier, check_free

from .proof import ExportError, artifact_path, prove
from .quantization import LARGEST_SHARE, TOLERANCE, Scheme, check_scheme, configure
from .runtime import Artifact
from .signature import SIDECAR_SUFFIX, Signature, example_rows, float32_function


def to_tflite(
    model: Classifier,
    path: str | Path,
    quantization: Scheme = "float32",
    length: int = 128,
    calibration: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write a `.tflite` of built-in operators that takes token ids, and prove that it answers as the model does.

    The file has one signature with inputs `token_ids`, `segment_ids` and `padding_mask`, (1, length) int32, and one
    output: `probabilities` (1, C), or `score` (1, 1) for a regression. Beside it go its facts (`.json`) and
    `vocab.txt`.

    Args:
        model: a classifier with its tokenizer.
        path: a file that ends in `.tflite`, or a folder to put `model.tflite` into.
        quantization: "float32", "float16", "dynamic_int8" or "static_int8".
        length: T, the fixed number of tokens.
        calibration: texts (or pairs) for "static_int8", some hundred of them.
        overwrite: replace a file that is there.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ImportError: ai-edge-litert is not installed.
        ExportError: the file lost weights, needs operators that phones do not have, was not made smaller, or does not
            answer as the model does; nothing is left on disk.

    Example:
        >>> to_tflite(reviews, "saved_models/phone", quantization="dynamic_int8")  # doctest: +SKIP
        PosixPath('saved_models/phone/model.tflite')
    """
    path = artifact_path(path, ".tflite")
    check_scheme(quantization, calibration)
    check_free(path, overwrite)
    signature = Signature.of(model, length, quantization)
    rows = example_rows(model, list(calibration), length) if calibration is not None else []
    content = _convert(model, signature, quantization, rows)

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        temporary = Path(folder) / path.name
        temporary.write_bytes(content)
        signature.write(temporary.with_suffix(SIDECAR_SUFFIX))
        model.tokenizer.save(Path(folder) / "vocab.txt")
        artifact = Artifact(temporary)
        _check(artifact, model, len(content), quantization)
        prove(model, artifact, TOLERANCE[quantization])
        for name in (path.with_suffix(SIDECAR_SUFFIX).name, "vocab.txt", path.name):
            os.replace(Path(folder) / name, path.parent / name)
    return path


def _convert(model: Classifier, signature: Signature, scheme: Scheme, rows: list) -> bytes:
    module, serve = float32_function(model, signature)
    module.serve = tf.function(serve, autograph=False)
    concrete = module.serve.get_concrete_function(**signature.input_specs())
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"serving_default": concrete})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, ["serving_default"])
        configure(converter, scheme, rows)
        with warnings.catch_warnings():
            # the calibrator of static int8 is TensorFlow's own deprecated interpreter
            warnings.filterwarnings("ignore", ".*tf.lite.Interpreter is deprecated", UserWarning)
            return converter.convert()


def _check(artifact: Artifact, model: Classifier, size_bytes: int, scheme: Scheme) -> None:
    operators = artifact.operators()
    foreign = [name for name in operators if name.startswith(("Flex", "CUSTOM"))]
    if foreign:
        raise ExportError(f"the model needs operators that phones do not have: {foreign}")
    if "VAR_HANDLE" in operators:
        raise ExportError("the converter lost the weights (VAR_HANDLE in the file)")
    float_bytes = 4 * model.count_params()
    if size_bytes > LARGEST_SHARE[scheme] * float_bytes + 200_000:
        raise ExportError(f"{scheme} did not make the file smaller: {size_bytes:,} bytes of {float_bytes:,} in float32")
