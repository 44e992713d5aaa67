from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_plm.text import TextRows, Tokenizer
from keras_plm.text.tokenizer import check_is_list


class TextModel:
    """What the methods that take texts need of a model, or of an artefact that has been exported.

    Attributes:
        tokenizer: of the ids; None for a model that is fed ids only.
        longest_row: most tokens of a row.
    """

    tokenizer: Tokenizer | None
    config: Any

    @property
    def longest_row(self) -> int:
        """Most tokens that the model can take."""
        return self.config.max_sequence_length

    def predict_on_batch(self, inputs: dict[str, Any]) -> Any:
        """The outputs of a batch of rows, as numpy arrays."""
        return super().predict_on_batch(inputs)  # type: ignore[misc]

    def needs_tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            ValueError: there is none.
        """
        if self.tokenizer is None:
            raise ValueError(f"this {type(self).__name__} has no tokenizer: pass tokenizer=… or feed it token ids")
        return self.tokenizer

    def row_limit(self, max_length: int | None = None) -> int:
        """`max_length`, or the model's limit if that is None or less."""
        return min(max_length or self.longest_row, self.longest_row)

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
            ValueError: no tokenizer, one string in place of a list, lists of unequal length.
        """
        tokenizer = self.needs_tokenizer()
        for texts in (first, second):
            check_is_list(texts)
        if second is not None and len(first) != len(second):
            raise ValueError(f"{len(first)} first texts, but {len(second)} second ones")
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


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
