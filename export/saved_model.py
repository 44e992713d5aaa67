from pathlib import Path

import tensorflow as tf

from keras_plm.models import Classifier, whole_folder
from keras_plm.text import Spans, pack

from .proof import prove
from .runtime import Artifact
from .signature import SIDECAR_SUFFIX, Signature, float32_function


def to_saved_model(
    model: Classifier,
    folder: str | Path,
    max_length: int = 128,
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
        max_length: longest row in tokens; longer texts lose their end.
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
    if not 3 <= max_length <= model.config.max_sequence_length:
        raise ValueError(f"max_length={max_length}; the model takes 3 to {model.config.max_sequence_length} tokens")
    module, serve = float32_function(model, signature)
    tokenizer = model.tokenizer
    module.tokenizer = tokenizer._tokenizer  # its tables are resources that must be saved along
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
        signature.write(temporary / f"signature{SIDECAR_SUFFIX}")
        prove(model, Artifact(temporary), tolerance=1e-4, length=max_length)
    return folder
