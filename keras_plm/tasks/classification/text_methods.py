from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_plm.tasks.text_model import TextModel, softmax


class ClassifierMethods(TextModel):
    """The methods of a classifier that take texts, also those of an exported one.

    Attributes:
        labels: names of the classes; None for regression.
        multi_label: a text may have several labels, or none.
    """

    labels: list[str] | None
    multi_label: bool

    def predict_logits(self, first: Sequence[str], second: Sequence[str] | None = None, **options: Any) -> np.ndarray:
        """(rows, C) float32 logits, or (rows, 1) scores, of texts or of pairs; options as in `predict_texts`."""
        return self.predict_texts(first, second, **options)

    def predict_probabilities(
        self, first: Sequence[str], second: Sequence[str] | None = None, **options: Any
    ) -> np.ndarray:
        """(rows, C) float32 probabilities, which sum to 1 but for several labels; options as in `predict_texts`."""
        if self.labels is None:
            raise ValueError("a regression has no probabilities; use predict_logits")
        return self.probabilities(self.predict_logits(first, second, **options))

    def predict_labels(
        self, first: Sequence[str], second: Sequence[str] | None = None, threshold: float = 0.5, **options: Any
    ) -> list:
        """The most probable label of each row; of a multi-label model the list of its labels.

        Args:
            first: texts.
            second: the texts they are paired with, or None.
            threshold: smallest probability of a label, for a multi-label model.
            **options: as in `predict_texts`.
        """
        if self.labels is None:
            raise ValueError("a regression has no labels; use predict_logits")
        probabilities = self.probabilities(self.predict_logits(first, second, **options))
        if self.multi_label:
            return [
                [label for label, p in zip(self.labels, row, strict=True) if p >= threshold] for row in probabilities
            ]
        return [self.labels[i] for i in probabilities.argmax(-1)]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(rows, C) probabilities of logits."""
        if self.multi_label:
            return (1 / (1 + np.exp(-np.clip(logits, -80, 80)))).astype("float32")
        return softmax(logits)
