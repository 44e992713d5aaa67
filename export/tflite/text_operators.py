"""A `.tflite` that takes strings: its tokenizer is made of TensorFlow Text operators, which the app must register."""

import warnings
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text

from keras_plm.export.artifact_files import traced
from keras_plm.export.runtime import Artifact
from keras_plm.export.signature import Signature, example_rows
from keras_plm.export.verify import SAMPLE_TEXTS, ExportError, expected
from keras_plm.tasks import TaskModel
from keras_plm.text import Spans, WordPieceTokenizer, pack

from .schemes import Scheme

OPERATORS = ("FastBertNormalize", "FastWordpieceTokenizeWithOffsets")


def check_strings(model: TaskModel, signature: Signature, scheme: Scheme) -> None:
    """Raise ValueError unless TFLite has operators for the tokenizer and the scheme supports them."""
    tokenizer = model.tokenizer
    if signature.spec.needs_offsets:
        raise ValueError(f"strings=True takes classifiers and embedders; {signature.task} needs offsets in the text")
    if not isinstance(tokenizer, WordPieceTokenizer):
        raise ValueError(f"TFLite has operators for WordPiece, not for a {type(tokenizer).__name__}")
    if model.prompt:
        raise ValueError(
            "strings=True does not add the model's prompt to a text; use a model with prompt='' and add it in the app"
        )
    if tokenizer.added:
        raise ValueError("TFLite's operators do not support added tokens in a text")
    if tokenizer.lowercase != tokenizer.strip_accents:
        raise ValueError(
            "TFLite's operators lower-case and strip accents, or do neither; this tokenizer does only one of them"
        )
    if scheme.base not in ("float32", "float16", "dynamic_int8"):
        raise ValueError(f"strings=True supports float32, float16 and dynamic_int8, not {scheme}")


def _fast_tokenizer(tokenizer: Any) -> Any:
    return tensorflow_text.FastBertTokenizer(
        list(tokenizer.vocabulary),
        token_out_type=tf.int32,
        max_bytes_per_word=300,
        unknown_token=tokenizer.special.unk,
        lower_case_nfd_strip_accents=tokenizer.lowercase,
    )


def add_strings(module: Any, serve: Any, model: TaskModel, signature: Signature) -> Any:
    """A concrete function of one string, or of a pair, that tokenizes, packs and runs `serve`.

    `module` keeps the tables of the tokenizer.
    """
    tokenizer, length = model.needs_tokenizer(), signature.max_length
    module.tokenizer = fast = _fast_tokenizer(tokenizer)

    def spans(text: tf.Tensor) -> Spans:
        tokens = fast.tokenize(text).flat_values
        return Spans(tf.concat([tokens, [0]], 0), tf.zeros([1], tf.int64), tf.size(tokens, tf.int64)[None])

    def respond(**strings: tf.Tensor) -> dict[str, tf.Tensor]:
        first, *others = (spans(strings[name]) for name in signature.strings)
        packed = pack(tokenizer, first, others[0] if others else None, length, pad_to=length)
        # computed with `where`: otherwise the converter makes boolean zeros, which TFLite does not support
        second = tf.where(packed["segment_ids"] > 0, tf.constant(1), tf.constant(0))
        return serve(**packed | {"segment_ids": second if others else tf.zeros([1, length], tf.int32)})

    return traced(respond, {name: tf.TensorSpec([1], tf.string, name=name) for name in signature.strings})


def verify_strings(model: TaskModel, artifact: Artifact) -> None:
    """Raise ExportError unless the string signature matches the signature of token ids.

    Only texts that TFLite's operators tokenize like the model's tokenizer are compared. The operators normalize
    characters such as ， and ß, and do not recognize special tokens in a text.
    """
    tokenizer, signature = model.needs_tokenizer(), artifact.signature
    theirs, ours = (
        _fast_tokenizer(tokenizer).tokenize(SAMPLE_TEXTS).to_list(),
        tokenizer(SAMPLE_TEXTS).to_list(),
    )
    texts = [text for text, a, b in zip(SAMPLE_TEXTS, theirs, ours, strict=True) if a == b]
    if len(texts) < len(SAMPLE_TEXTS) // 2:
        raise ExportError(
            f"TFLite's operators tokenize only {len(texts)} of {len(SAMPLE_TEXTS)} texts like the model's tokenizer"
        )
    pairs = list(zip(texts, reversed(texts), strict=True))
    rows = example_rows(model, pairs if len(signature.strings) > 1 else texts, signature.max_length)
    limits = signature.scheme.limits
    for text, row in zip(pairs, rows, strict=True):
        found = artifact.strings(**{name: [part] for name, part in zip(signature.strings, text, strict=False)})
        tokens, keras = artifact.outputs(row), expected(model, row)
        for name, values in found.items():
            same, near = np.abs(values - tokens[name]).max(), np.abs(values - keras[name]).max()
            if not (same <= 1e-5 and near <= limits.error * max(1.0, float(np.abs(keras[name]).max()))):
                raise ExportError(
                    f"the artifact answers differently from the Keras model to the string {text[0]!r}: {same:.2g}"
                )


def say_cut_otherwise(model: TaskModel, texts: list) -> None:
    """Warn if TFLite's operators tokenize some of these texts, or pairs, differently than the model's tokenizer."""
    singles = [part for text in texts for part in ([text] if isinstance(text, str) else text)]
    if not singles:
        return
    tokenizer = model.needs_tokenizer()
    theirs, ours = _fast_tokenizer(tokenizer).tokenize(singles).to_list(), tokenizer(singles).to_list()
    other = [text for text, a, b in zip(singles, theirs, ours, strict=True) if a != b]
    if other:
        warnings.warn(
            f"the tokenizer inside the file splits {len(other) / len(singles):.0%} of these {len(singles):,} texts "
            f"into other tokens than the model's tokenizer, such as {other[0]!r:.80}: their answers may differ",
            stacklevel=3,
        )
