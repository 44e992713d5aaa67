"""The one place that fixes the names, dtypes and shapes of what an artefact takes and gives."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.models import INPUTS, Classifier, tokenizer_settings
from keras_plm.text import TextRows, pack
from keras_plm.training import dtype_policy


@dataclass(frozen=True)
class Signature:
    """What an exported classifier takes and gives.

    Attributes:
        length: T of the fixed input shape (1, T), in tokens; None where batch and length are free.
        labels: names of the outputs in order; None for a regression, whose output is a score.
        max_length: most tokens that the model can take.
        tokenizer: the class of the tokenizer and its settings.
        quantization: the scheme, "float32" if there is none.
    """

    length: int | None
    labels: list[str] | None
    max_length: int
    tokenizer: dict[str, Any]
    quantization: str = "float32"

    @classmethod
    def of(
        cls, model: Classifier, length: int | None, quantization: str = "float32", fixed: bool = False
    ) -> "Signature":
        """The signature of a model at a fixed length (None: the model's limit if `fixed`, else free).

        Raises:
            TypeError: not a Classifier.
            ValueError: no tokenizer, or a length that the model does not have positions for.
        """
        if not isinstance(model, Classifier):
            raise TypeError(f"cannot export a {type(model).__name__} yet, only a Classifier")
        if model.tokenizer is None:
            raise ValueError("the model has no tokenizer: nobody could feed the artefact")
        limit, least = model.config.max_sequence_length, model.tokenizer.num_special(pair=True) + 2
        if fixed and length is None:
            length = limit
        if length is not None and not least <= length <= limit:
            raise ValueError(f"length={length}; the model takes {least} to {limit} tokens")
        return cls(length, model.labels, length or limit, tokenizer_settings(model.tokenizer), quantization)

    @property
    def output(self) -> str:
        """Name of the output: probabilities of the labels, or the score."""
        return "score" if self.labels is None else "probabilities"

    def input_specs(self) -> dict[str, tf.TensorSpec]:
        """(1, T) int32 for each input, or (None, None) where free."""
        shape = (None, None) if self.length is None else (1, self.length)
        return {name: tf.TensorSpec(shape, tf.int32, name=name) for name in INPUTS}

    @staticmethod
    def path(artifact: Path) -> Path:
        """Where the facts of an artefact lie: inside a SavedModel folder, else beside the file."""
        return artifact / "signature.json" if artifact.is_dir() else artifact.with_name(f"{artifact.name}.json")

    def write(self, path: Path) -> None:
        """Write the facts as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Signature":
        """The inverse of `write`."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; it belongs beside the artefact")
        return cls(**json.loads(path.read_text("utf-8")))


# In static int8 the scores of an attention share one scale: with -1e9 among them nothing else would be left. e⁻⁴⁰
# is still nothing beside the other keys.
STATIC_MASKED_SCORE = -40.0


def float32_copy(model: Classifier) -> Classifier:
    """The same weights under float32: mixed-precision graphs convert to operators that phones do not have."""
    with dtype_policy("float32"):
        copy = Classifier(model.config, model.labels, model.tokenizer)
    copy.set_weights(model.get_weights())
    return copy


def float32_function(model: Classifier, signature: Signature) -> tuple[tf.Module, Any]:
    """A function of token ids that gives {output: …}, and a module that holds what it needs.

    The module tracks the bare `tf.Variable`s: TFLite's converter drops, without a word, the weights of a tracked Keras
    model.
    """
    copy = float32_copy(model)
    if signature.quantization == "static_int8":
        for block in copy.encoder.blocks:
            block.attention.masked_score = STATIC_MASKED_SCORE
    module = tf.Module()
    module.weights = [variable.value for variable in copy.variables]

    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = copy(inputs, training=False)
        scores = logits if signature.labels is None else tf.nn.softmax(logits)
        return {signature.output: scores}

    return module, serve


def example_rows(model: Classifier, texts: Any, length: int) -> list[dict[str, np.ndarray]]:
    """Each text, or (first, second) pair, as inputs of shape (1, length)."""
    if not len(texts):
        return []
    rows = _text_rows(model, texts, length)
    packed = pack(model.tokenizer, rows.first, rows.second, length, pad_to=length)
    arrays = {name: value.numpy() for name, value in packed.items()}
    return [{name: a[i : i + 1] for name, a in arrays.items()} for i in range(len(rows))]


def num_truncated(model: Classifier, texts: Any, length: int) -> int:
    """How many of these texts, or pairs, are longer than `length` tokens."""
    return _text_rows(model, texts, length).num_truncated


def _text_rows(model: Classifier, texts: Any, length: int) -> TextRows:
    pairs = not isinstance(texts[0], str)
    first = [text[0] for text in texts] if pairs else list(texts)
    second = [text[1] for text in texts] if pairs else None
    return TextRows.from_texts(model.tokenizer, first, second, max_length=length)
