from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_plm.tasks.text_model import TextModel, softmax


class ClassifierMethods(TextModel):
    """The text-level methods of a classifier. Keras models and exported artifacts share them.

    Attributes:
        labels: names of the classes; None for regression.
        multi_label: a text may have several labels, or none.
    """

    labels: list[str] | None
    multi_label: bool

    def predict_logits(self, first: Sequence[str], second: Sequence[str] | None = None, **options: Any) -> np.ndarray:
        """(rows, C) float32 logits, or (rows, 1) scores, for texts or pairs; options as in `predict_texts`."""
        return self.predict_texts(first, second, **options)

    def predict_probabilities(
        self, first: Sequence[str], second: Sequence[str] | None = None, **options: Any
    ) -> np.ndarray:
        """(rows, C) float32 probabilities; they sum to 1 unless `multi_label`. Options as in `predict_texts`."""
        if self.labels is None:
            raise ValueError("a regression has no probabilities; use predict_logits")
        return self.probabilities(self.predict_logits(first, second, **options))

    def predict_labels(
        self, first: Sequence[str], second: Sequence[str] | None = None, threshold: float = 0.5, **options: Any
    ) -> list:
        """The most probable label of each row; for a multi-label model, a list of labels.

        Args:
            first: texts, or the first texts of pairs.
            second: the second texts of pairs, or None.
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
        """(rows, C) probabilities from logits."""
        if self.multi_label:
            return (1 / (1 + np.exp(-np.clip(logits, -80, 80)))).astype("float32")
        return softmax(logits)
