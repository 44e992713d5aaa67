from pathlib import Path

import tensorflow as tf

from keras_plm.export.artifact_files import save_module, traced
from keras_plm.export.runtime import Artifact
from keras_plm.export.signature import Signature, float32_copy, float32_function, least_length
from keras_plm.export.verify import SAMPLE_TEXTS, ExportError, verify
from keras_plm.export.verify_generation import verify_logits
from keras_plm.models import whole_folder
from keras_plm.tasks import TaskModel

from .warmup import write_warm_up


def to_saved_model(
    model: TaskModel,
    folder: str | Path,
    max_length: int | None = None,
    pairs: bool | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a SavedModel for TF Serving that takes raw text, and verify that it matches the Keras model.

    It has two signatures. `token_ids` takes `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32, and returns
    the outputs that `Artifact` describes. `serving_default` takes strings, (B,) each:

    | model | takes | returns |
    |---|---|---|
    | classifier | `text`, or `first` and `second` | `probabilities` (B, C), `label` (B,); `score` (B, 1) |
    | tagger | `text` | `words`, `tags`, `starts`, `ends`, `scores`, (B, W) each, "" or 0 after the last word |
    | question answerer | `question`, `context` | `answer`, `start`, `end`, `score`, `null_score`, (B,) each |
    | embedder | `text` | `vectors` (B, D) |
    | text generator | `prompt`, `max_new_tokens`, `temperature`, `top_p`, `seed` | `text`, `finish_reason`, (B,) each |

    A text generator with `temperature` 0 decodes greedily; its tokenizer must have byte pairs.

    To load it you need TensorFlow and TensorFlow Text (`import tensorflow_text` before `tf.saved_model.load`), but not
    this package. `assets.extra` has warm-up requests for TF Serving. A multi-label classifier returns no `label`.

    The string signature truncates texts that are longer than a row. For taggers and question answerers, the methods of
    `export.load_artifact` read long texts in windows instead. A question answerer's tokenizer must be WordPiece.

    Args:
        model: a task model with its tokenizer.
        folder: the output folder. TF Serving needs a version number as its last part, e.g. `models/reviews/1`.
        max_length: longest row in tokens; None means the model's limit.
        pairs: whether a classifier takes pairs of texts; None means as in its training, if the model knows it.
        overwrite: replace an existing folder.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
        TypeError: the tokenizer of a question answerer is not WordPiece.
        ValueError: `pairs` is True, but the model is not a classifier.
        ExportError: the SavedModel does not match the model; nothing is left on disk.
    """
    folder = Path(folder)
    signature = Signature.of(model, None)
    if pairs is None:
        pairs = bool(signature.settings.get("pairs"))
    if pairs and not signature.spec.takes_pairs:
        raise ValueError(f"pairs=True is for a classifier of pairs, not for {signature.task}")
    max_length = Signature.of(model, max_length, fixed=True).max_length
    model = float32_copy(model)
    module, serve = float32_function(model, signature)
    tokenizer = model.needs_tokenizer()
    module.tokenizer = tokenizer.resources()  # its lookup tables must be saved, too
    respond, names = signature.spec.string_function(model, serve, max_length, pairs)
    dtypes = signature.spec.argument_dtypes()
    strings = {name: tf.TensorSpec((None,), dtypes.get(name, tf.string), name=name) for name in names}
    signatures = {"serving_default": traced(respond, strings), "token_ids": traced(serve, signature.input_specs())}
    with whole_folder(folder, overwrite) as temporary:
        save_module(module, temporary, signatures)
        signature.write(Signature.path(temporary))
        artifact = Artifact(temporary)
        for name, content in tokenizer.files().items():
            artifact.beside(name).parent.mkdir(exist_ok=True)
            artifact.beside(name).write_bytes(content)
        if signature.spec.generates:
            verify_logits(model, artifact)
        else:
            for length in (max_length, max(max_length // 2, least_length(model))):
                verify(model, artifact, length=length)
        _verify_strings(model, artifact, max_length, pairs)
        write_warm_up(temporary, "serving_default", _warm_up(signature, pairs))
    return folder


def _warm_up(signature: Signature, pairs: bool) -> list[dict[str, tf.Tensor]]:
    """Two requests of different shape: a single text, and a batch."""
    batches = [signature.spec.example_strings(SAMPLE_TEXTS[:rows], pairs) for rows in (1, len(SAMPLE_TEXTS))]
    return [_tensors(signature, batch) for batch in batches]


def _tensors(signature: Signature, given: dict[str, list]) -> dict[str, tf.Tensor]:
    dtypes = signature.spec.argument_dtypes()
    return {name: tf.constant(values, dtypes.get(name, tf.string)) for name, values in given.items()}


def _verify_strings(model: TaskModel, artifact: Artifact, max_length: int, pairs: bool) -> None:
    """Raise ExportError unless the string signature matches the model's answers for the same texts."""
    spec = artifact.signature.spec
    given = spec.example_strings(SAMPLE_TEXTS, pairs)
    problem = spec.wrong_strings(model, given, artifact.strings(**given), max_length)
    if problem is not None:
        raise ExportError(f"the SavedModel answers differently from the Keras model to strings: {problem}")
