import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from keras_plm.config import Adaptation, EncoderConfig
from keras_plm.models import Encoder, KeepsTokenizer, TokenInputs
from keras_plm.text import TextRows, Tokenizer

_HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate, which UTF-8 cannot write


class TextModel(KeepsTokenizer):
    """What the methods that take texts need of a model, or of an artifact that has been exported.

    Attributes:
        tokenizer: of the ids; None for a model that is fed ids only.
        longest_row: most tokens of a row.
        prompt: is put before every text.
    """

    tokenizer: Tokenizer | None
    config: Any
    prompt: str = ""

    @property
    def longest_row(self) -> int:
        """Most tokens that the model can take."""
        return self.config.max_sequence_length

    def predict_on_batch(self, inputs: dict[str, Any]) -> Any:
        """The outputs of a batch of rows, as numpy arrays."""
        return super().predict_on_batch(inputs)  # type: ignore[misc]

    def row_limit(self, max_length: int | None = None) -> int:
        """`max_length`, or the model's limit if that is None or less.

        Raises:
            ValueError: a `max_length` below 1.
        """
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length={max_length}; it is a number of tokens, or None for the model's limit")
        return self.longest_row if max_length is None else min(max_length, self.longest_row)

    def batch_outputs(self, rows: TextRows, batch_size: int) -> Iterator[tuple[np.ndarray, Any]]:
        """Index of the rows and outputs of each batch; rows of similar length go together."""
        dataset, order = rows.evaluation_dataset(batch_size)
        for step, batch in enumerate(dataset):
            inputs = batch[0] if isinstance(batch, tuple) else batch
            index = order[step * batch_size :][: len(inputs["token_ids"])]
            found = self.predict_on_batch(inputs)
            # under several replicas Keras gives the outputs of each, one after the other
            if isinstance(found, dict):
                yield index, {name: np.asarray(value)[: len(index)] for name, value in found.items()}
            else:
                yield index, np.asarray(found)[: len(index)]

    def predict_texts(
        self,
        first: Sequence[str],
        second: Sequence[str] | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """(rows, C) float32, the output of texts or of pairs, in their order.

        Args:
            first: texts.
            second: the texts they are paired with, or None.
            max_length: longest row in tokens; longer ones lose their end. None means the model's limit.
            batch_size: rows at a time; rows of similar length go together.

        Raises:
            ValueError: no tokenizer, one string in place of a list, a row that is no text, half of a character, lists
                of unequal length.
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
        """C, numbers that a text gets."""
        return self.output_shape[-1]  # type: ignore[attr-defined]


class TaskModel(Protocol):
    """A Keras model of a task: what recipes, compression and exporters may ask of any.

    Attributes:
        config: the sizes of its encoder.
        adaptation: what is added to the layers of its encoder.
        tokenizer: of its ids.
        encoder: what its head stands on.
        prompt: is put before every text.
        input: its symbolic inputs by name.
        variables: its weights and the states of its dropout.
    """

    config: EncoderConfig
    adaptation: Adaptation
    tokenizer: Tokenizer | None
    encoder: Encoder
    prompt: str
    input: TokenInputs
    variables: list[Any]

    @property
    def longest_row(self) -> int:
        """Most tokens that it can take."""

    def __call__(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Its outputs for a batch of rows."""

    def from_states(self, states: dict[str, Any], inputs: TokenInputs) -> Any:
        """Its outputs for what the encoder gives for these inputs."""

    def needs_tokenizer(self) -> Tokenizer:
        """The tokenizer, or an error if there is none."""

    def count_params(self) -> int:
        """The number of its weights."""

    def get_config(self) -> dict[str, Any]:
        """What it was made with, as JSON types."""


def check_texts(first: Any, second: Any = None, names: tuple[str, str] = ("first", "second")) -> None:
    """Raise ValueError unless these are lists of texts, of one length if there are two."""
    for name, texts in zip(names, (first, second), strict=True):
        if isinstance(texts, str | bytes):
            raise ValueError("pass a list of texts, not one string")
        for row, text in enumerate(() if texts is None else texts):
            if not isinstance(text, str):
                raise ValueError(f"row {row} of the {name} texts is {text!r:.60}, a {type(text).__name__}; give a text")
            if not text.isascii() and _HALF.search(text):
                raise ValueError(f"row {row} of the {name} texts, {text!r:.60}, has half of a character; remove it")
    if second is not None and len(first) != len(second):
        raise ValueError(f"{len(first)} {names[0]} texts, but {len(second)} {names[1]} ones")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
