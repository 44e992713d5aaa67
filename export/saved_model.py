from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_plm.models import Classifier, whole_folder
from keras_plm.text import Spans, pack

from .proof import PROOF_TEXTS, ExportError, expected, prove
from .runtime import Artifact
from .signature import Signature, example_rows, float32_copy, float32_function


def to_saved_model(
    model: Classifier,
    folder: str | Path,
    max_length: int | None = None,
    pairs: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a SavedModel for TF Serving that takes raw text, and prove that it answers as the model does.

    Two signatures. `serving_default`: `text` (B,) strings (`first` and `second` if `pairs`) → `probabilities` (B, C)
    and `label` (B,) strings, or `score` (B, 1). `token_ids`: `token_ids`, `segment_ids` and `padding_mask`, (B, T)
    int32 → `probabilities` or `score`. Whoever loads it needs TensorFlow and TensorFlow Text (`import tensorflow_text`
    before `tf.saved_model.load`), not this package.

    Args:
        model: a classifier with its tokenizer.
        folder: where to; TF Serving wants a version number as its last part, e.g. `models/reviews/1`.
        max_length: longest row in tokens, longer texts lose their end; None means the model's limit.
        pairs: the model was trained on pairs of texts.
        overwrite: replace a folder that is there.

    Returns:
        The folder.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
        ExportError: it does not answer as the model does; nothing is left on disk.
    """
    folder = Path(folder)
    signature = Signature.of(model, None)
    max_length = Signature.of(model, max_length, fixed=True).max_length
    model = float32_copy(model)
    module, serve = float32_function(model, signature)
    tokenizer = model.tokenizer
    module.tokenizer = tokenizer.resources()  # its tables are resources that must be saved along
    labels = None if model.labels is None else tf.constant(model.labels)

    def answer(first: tf.Tensor, second: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        spans = Spans.from_ragged(tokenizer(first))
        second_spans = None if second is None else Spans.from_ragged(tokenizer(second))
        result = serve(**pack(tokenizer, spans, second_spans, max_length))
        if labels is not None:
            best = tf.argmax(result[signature.output], -1)
            result["label"] = tf.gather(labels, best)
        return result

    def strings(name: str) -> tf.TensorSpec:
        return tf.TensorSpec((None,), tf.string, name=name)

    module.token_ids = tf.function(serve, autograph=False)
    if pairs:
        module.text = tf.function(lambda first, second: answer(first, second), autograph=False)
        from_text = module.text.get_concrete_function(first=strings("first"), second=strings("second"))
    else:
        module.text = tf.function(lambda text: answer(text), autograph=False)
        from_text = module.text.get_concrete_function(text=strings("text"))
    signatures = {
        "serving_default": from_text,
        "token_ids": module.token_ids.get_concrete_function(**signature.input_specs()),
    }
    with whole_folder(folder, overwrite) as temporary:
        tf.saved_model.save(module, str(temporary), signatures=signatures)
        signature.write(Signature.path(temporary))
        artifact = Artifact(temporary)
        for length in (max_length, max(max_length // 2, 5)):
            prove(model, artifact, length=length)
        _prove_text(model, temporary, max_length, pairs)
    return folder


def _prove_text(model: Classifier, folder: Path, max_length: int, pairs: bool) -> None:
    """Raise ExportError unless strings get the answers that the model gives to their tokens."""
    second = tuple(reversed(PROOF_TEXTS))
    texts = list(zip(PROOF_TEXTS, second, strict=True)) if pairs else list(PROOF_TEXTS)
    strings = {"first": PROOF_TEXTS, "second": second} if pairs else {"text": PROOF_TEXTS}
    loaded = tf.saved_model.load(str(folder))  # a signature dies with the object it came from
    found = loaded.signatures["serving_default"](**{name: tf.constant(value) for name, value in strings.items()})
    rows = example_rows(model, texts, max_length)
    wanted = expected(model, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]})
    scores = found["score" if model.labels is None else "probabilities"].numpy()
    error = float(np.abs(scores - wanted).max())
    if not error <= 1e-4 * max(1.0, float(np.abs(wanted).max())):
        raise ExportError(f"{folder} answers other than the model to strings, by {error:.2g}")
    if model.labels is not None:
        named = [model.labels[i] for i in scores.argmax(-1)]
        if [label.decode() for label in found["label"].numpy()] != named:
            raise ExportError(f"{folder} gives labels that are not those of its probabilities")
