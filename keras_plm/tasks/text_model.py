import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from keras import tree

from keras_plm.config import Adaptation, EncoderConfig
from keras_plm.models import Encoder, KeepsTokenizer, TokenInputs
from keras_plm.text import TextRows, Tokenizer

_HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate, which UTF-8 cannot encode


class TextModel(KeepsTokenizer):
    """The base class of the text-level methods, for Keras models and exported artifacts.

    Attributes:
        tokenizer: the tokenizer of the ids; None if the model takes ids only.
        longest_row: maximum number of tokens of a row.
        prompt: a prefix for every text.
    """

    tokenizer: Tokenizer | None
    config: Any
    prompt: str = ""

    @property
    def longest_row(self) -> int:
        """Maximum number of tokens of a row."""
        return self.config.max_sequence_length

    def predict_on_batch(self, inputs: dict[str, Any]) -> Any:
        """The outputs of a batch of rows, as numpy arrays."""
        found = super().predict_on_batch(inputs)  # type: ignore[misc]
        # under a strategy with several replicas, each of them computes the whole batch, and Keras joins their outputs
        count = len(next(iter(inputs.values())))
        return tree.map_structure(lambda output: np.asarray(output)[:count], found)

    def row_limit(self, max_length: int | None = None) -> int:
        """`max_length`, but at most the model's limit; None means the limit.

        Raises:
            ValueError: `max_length` is below 1.
        """
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length={max_length}; it is a number of tokens, or None for the model's limit")
        return self.longest_row if max_length is None else min(max_length, self.longest_row)

    def batch_outputs(self, rows: TextRows, batch_size: int) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield the row indices and outputs of each batch; rows of similar length are batched together."""
        dataset, order = rows.evaluation_dataset(batch_size)
        for step, batch in enumerate(dataset):
            inputs = batch[0] if isinstance(batch, tuple) else batch
            index = order[step * batch_size :][: len(inputs["token_ids"])]
            yield index, self.predict_on_batch(inputs)

    def predict_texts(
        self,
        first: Sequence[str],
        second: Sequence[str] | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """(rows, C) float32, the outputs for texts or pairs, in their order.

        Args:
            first: texts, or the first texts of pairs.
            second: the second texts of pairs, or None.
            max_length: longest row in tokens; longer rows are truncated. None means the model's limit.
            batch_size: rows per batch; rows of similar length are batched together.

        Raises:
            ValueError: there is no tokenizer, a single string was passed instead of a list, a row is not a string or
                has a lone surrogate, or the lists have different lengths.
        """
        tokenizer = self.needs_tokenizer()
        check_texts(first, second)
        if not len(first):
            return np.zeros((0, self.num_outputs), "float32")
        rows = TextRows.from_texts(tokenizer, first, second, max_length=self.row_limit(max_length))
        found = np.empty((len(rows), self.num_outputs), "float32")
        for index, values in self.batch_outputs(rows, batch_size):
            found[index] = values
        return found

    @property
    def num_outputs(self) -> int:
        """C, the number of outputs per text."""
        return self.output_shape[-1]  # type: ignore[attr-defined]


class TaskModel(Protocol):
    """The interface of a task's Keras model for recipes, compression and exporters.

    Attributes:
        config: the sizes of its encoder.
        adaptation: additions to the layers of its encoder (LoRA, adapters, fake quantization).
        tokenizer: the tokenizer of its ids.
        encoder: the encoder below its head.
        backbone: the encoder, decoder or encoder-decoder below its head.
        prompt: a prefix for every text.
        input: its symbolic inputs by name.
        variables: its weights and dropout states.
    """

    config: EncoderConfig
    adaptation: Adaptation
    tokenizer: Tokenizer | None
    encoder: Encoder
    backbone: Any
    prompt: str
    input: TokenInputs
    variables: list[Any]

    @property
    def longest_row(self) -> int:
        """Maximum number of tokens of a row in this model."""

    def __call__(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Its outputs for a batch of rows."""

    def from_states(self, states: dict[str, Any], inputs: TokenInputs) -> Any:
        """Its outputs, computed from the encoder's outputs for these inputs."""

    def needs_tokenizer(self) -> Tokenizer:
        """The tokenizer, or an error if there is none."""

    def count_params(self) -> int:
        """The number of its weights."""

    def get_config(self) -> dict[str, Any]:
        """The arguments of its constructor, as JSON types."""


def check_texts(first: Any, second: Any = None, names: tuple[str, str] = ("first", "second")) -> None:
    """Raise ValueError unless these are lists of texts; two lists must have the same length."""
    for name, texts in zip(names, (first, second), strict=True):
        if isinstance(texts, str | bytes):
            raise ValueError("pass a list of texts, not one string")
        for row, text in enumerate(() if texts is None else texts):
            if not isinstance(text, str):
                raise ValueError(f"row {row} of the {name} texts is {text!r:.60}, a {type(text).__name__}; give a text")
            if not text.isascii() and _HALF.search(text):
                raise ValueError(
                    f"row {row} of the {name} texts, {text!r:.60}, has half of a character (a lone surrogate); "
                    "remove it"
                )
    if second is not None and len(first) != len(second):
        raise ValueError(f"{len(first)} {names[0]} texts, but {len(second)} {names[1]} texts")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
