import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.lite.python.convert import ConverterError

from keras_plm.compression.activation_capture import text_rows
from keras_plm.export.artifact_files import artifact_path, save_module, traced, whole_artifact
from keras_plm.export.runtime import Artifact
from keras_plm.export.signature import Signature, example_rows, float32_copy, float32_function
from keras_plm.export.verify import ExportError, verify
from keras_plm.export.verify_generation import verify_generation
from keras_plm.tasks import TaskModel, task_of
from keras_plm.text import list_of_texts

from .activation_ranges import with_ranges
from .gptq import rounded_for
from .metadata import check_metadata, with_metadata
from .quantization import check_scheme, configure, finish
from .schemes import Scheme
from .step_functions import step_functions
from .text_operators import OPERATORS, add_strings, check_strings, say_cut_otherwise, verify_strings

_STRINGS: dict[Any, list[str]] = {False: [], True: ["text"], "pairs": ["first", "second"]}


def to_tflite(
    model: TaskModel,
    path: str | Path,
    quantization: str = "float32",
    max_length: int | None = None,
    calibration: Any = None,
    metadata: bool = False,
    strings: bool | str = False,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write a `.tflite` with built-in operators that takes token ids, and verify that it matches the Keras model.

    For a model that generates text, it has the functions `prefill_<n>` or `encode`, and `decode`, see `step_functions`.
    `max_length` is then the number of tokens of a prompt with its continuation; or of a source, and of a target.

    The file has one signature with the inputs `token_ids`, `segment_ids` and `padding_mask`, (1, max_length) int32, and
    one or two outputs; see `Artifact`. Its signature (`model.tflite.json`) and its tokenizer's files (such as
    `model.tflite.vocab.txt`) are written beside it.

    Values of `quantization`:

    - "float32", "float16" and "dynamic_int8".
    - "static_int8": the six matrix products with weights in each block use integers; everything between them is in
      float32. The activation ranges come from the training of a `quantization_aware=True` model, which can have no
      other scheme. For other models they come from `calibration`.
    - "int4": four-bit weights with one scale per output.
    - "int4_block32": four-bit weights with one scale per 32 weights. It is more accurate on some tasks only, a little
      larger, and 2 to 5 times slower.
    - "int4+int8:embedding,block_0": mixed precision; these parts keep 8 bits, see `sensitivity`.
    - "int8x16": 8-bit weights and 16-bit activations, for neural processors. It is many times slower on a CPU.

    Args:
        model: a task model with its tokenizer.
        path: a file that ends in `.tflite`, or a folder for `model.tflite`.
        quantization: the quantization scheme, see above.
        max_length: T, the fixed number of tokens; None means the model's limit, the longest row of its training.
        calibration: a few hundred texts (or pairs) similar to the texts in production. "static_int8" and "int8x16"
            need them, unless the model is quantization-aware. "int4" and "int4_block32" are more accurate with them
            (GPTQ). A kernel of D inputs needs texts with 2 D tokens; with fewer it is rounded to nearest.
        metadata: put the vocabulary and labels into the file, so that MediaPipe Tasks and the TFLite Task Library can
            open it. For single-label classifiers, embedders, and question answerers of 384 tokens, with a lower-casing
            WordPiece tokenizer and without four bits. These runtimes never strip accents, so answers to texts with
            accents may differ.
        strings: put the tokenizer into the file, as TensorFlow Text operators that the app must register. A second
            signature `serving_default` takes `text`, or with strings="pairs" `first` and `second`; call it with
            `Artifact.strings`. For classifiers and embedders with WordPiece, in float32, float16 or dynamic_int8. The
            operators normalize characters such as ， and ß, do not recognize special tokens in a text, and ignore
            everything after a NUL. If you give `calibration` texts, a warning says how many of them are tokenized
            differently than by the model's tokenizer.
        overwrite: replace an existing file.
        progress: show a progress bar while four-bit weights are fitted to the texts.

    Returns:
        The path of the file.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ImportError: ai-edge-litert is not installed, or for int4, int4_block32 and int8x16 litert-quantizer.
        ValueError: the scheme is unknown, calibration texts are missing or not allowed, or sizes are not multiples of
            32; with `metadata` or `strings`: the runtime does not support the task, the vocabulary or the labels.
        ExportError: the model could not be converted, lost weights, needs operators that phones do not have, did not
            become smaller, or does not match the Keras model; nothing is left on disk.

    Example:
        >>> to_tflite(reviews, "saved_models/phone", quantization="dynamic_int8")  # doctest: +SKIP
        PosixPath('saved_models/phone/model.tflite')
    """
    path = artifact_path(path, ".tflite")
    scheme = Scheme.parse(quantization, task_of(model, keras=True).generates)
    texts = None if calibration is None else list_of_texts(calibration, "calibration")
    # float schemes need no calibration, but with `strings` the texts serve to check the tokenizer in the file
    check_scheme(scheme, None if strings and not scheme.takes_texts else texts, model)
    if strings not in _STRINGS:
        raise ValueError(f"strings={strings!r}; choose True (texts or pairs, as in the training) or 'pairs'")
    if strings is True and task_of(model).settings(model).get("pairs"):
        strings = "pairs"
    signature = Signature.of(model, max_length, quantization, fixed=True, strings=_STRINGS[strings])
    if metadata:
        check_metadata(model, signature)
    if metadata and strings:
        raise ValueError("metadata=True is for runtimes that take files with one signature; strings=True makes two")
    if strings:
        check_strings(model, signature, scheme)
    model = float32_copy(model)
    rows = example_rows(model, texts or [], signature.max_length) if scheme.calibrated else []
    with whole_artifact(model, path, signature, overwrite) as temporary:
        fitted = model
        if texts and scheme.four_bits:
            fitted = rounded_for(model, text_rows(model, texts, signature.max_length), scheme, progress)
        elif texts and scheme.base == "static_int8":
            fitted = with_ranges(model, text_rows(model, texts, signature.max_length))
        content = finish(_convert(fitted, signature, scheme), scheme, bool(texts) and scheme.four_bits, rows)
        temporary.write_bytes(with_metadata(content, model, signature) if metadata else content)
        artifact = Artifact(temporary)
        _check(artifact, model, len(content), scheme)
        if signature.spec.generates:
            verify_generation(model, artifact)
        else:
            verify(model, artifact, (texts or [])[:50])
        if strings:
            verify_strings(model, artifact)
            say_cut_otherwise(model, texts or [])
    return path


def _convert(model: TaskModel, signature: Signature, scheme: Scheme) -> bytes:
    if signature.spec.generates:
        return _converted(*step_functions(model, signature), signature, scheme)
    module, serve = float32_function(model, signature)
    concrete = traced(serve, signature.input_specs())
    functions = {"serving_default": concrete}
    if signature.strings:
        functions = {"token_ids": concrete, "serving_default": add_strings(module, serve, model, signature)}
    return _converted(module, functions, signature, scheme)


def _converted(module: tf.Module, signatures: dict[str, Any], signature: Signature, scheme: Scheme) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_module(module, folder, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, list(signatures))
        converter.allow_custom_ops = bool(signature.strings)
        configure(converter, scheme)
        try:
            return converter.convert()
        except ConverterError as error:
            raise ExportError(f"TFLite's converter refused the model: {error}") from None


def _check(artifact: Artifact, model: TaskModel, size_bytes: int, scheme: Scheme) -> None:
    operators = artifact.operators()
    theirs = OPERATORS if artifact.signature.strings else ()
    foreign = [name for name in operators if not name.isupper() and name not in theirs or name.startswith("CUSTOM")]
    if foreign:
        raise ExportError(f"the model needs operators that phones do not have: {foreign}")
    if "VAR_HANDLE" in operators:
        raise ExportError("the converter lost the weights (VAR_HANDLE in the file)")
    float_bytes = 4 * model.count_params()
    # with strings: the Unicode tables, and the trie of the vocabulary
    tables = 700_000 + 100 * len(model.needs_tokenizer()) if artifact.signature.strings else 0
    if size_bytes - tables > scheme.limits.share * float_bytes + 200_000:
        raise ExportError(f"{scheme} did not make the file smaller: {size_bytes:,} bytes of {float_bytes:,} in float32")
