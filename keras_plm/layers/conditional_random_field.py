from typing import Any

import keras
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor

from .checks import check_counts


@keras.saving.register_keras_serializable("keras_plm")
class ConditionalRandomField(keras.layers.Layer):
    """A linear-chain conditional random field over the tags of a sentence: it scores how well each tag follows another.

    `score(y) = begin[y_1] + Σ logits_t[y_t] + Σ follow[y_{t-1}, y_t] + end[y_n]`; the probability of a sequence is the
    softmax of its score over all sequences. Positions with mask 0 are skipped: the chain connects the first token of a
    word to the first token of the next word.

    Args:
        num_classes: C.

    Call args:
        logits: (B, T, C) float; they are returned unchanged, so that the layer can be part of a graph.

    Returns:
        (B, T, C), the same logits.

    Source: Lafferty et al. 2001; Lample et al. 2016, §2.2, https://arxiv.org/abs/1603.01360
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(num_classes=num_classes)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.supports_masking = True
        self.num_classes = num_classes

    def build(self, input_shape: tuple) -> None:
        count = self.num_classes
        self.begin = self.add_weight(shape=(count,), initializer="zeros", name="begin", autocast=False)
        self.follow = self.add_weight(shape=(count, count), initializer="zeros", name="follow", autocast=False)
        self.end = self.add_weight(shape=(count,), initializer="zeros", name="end", autocast=False)

    def call(self, logits: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """See the class."""
        return logits

    def transitions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The learned scores: `begin` (C,), `follow` (C, C) and `end` (C,)."""
        return tuple(ops.convert_to_numpy(weight) for weight in (self.begin, self.follow, self.end))  # type: ignore[return-value]

    def negative_log_likelihood(
        self, labels: Shaped[Tensor, "B T"], logits: Float[Tensor, "B T C"], mask: Shaped[Tensor, "B T"]
    ) -> Float[Tensor, " B"]:
        """(B,) float32 negative log-probability of the labels.

        Args:
            labels: (B, T) int.
            logits: (B, T, C) float.
            mask: (B, T), 1 for the positions of the chain.
        """
        logits, labels, mask = _chain(ops.cast(logits, "float32"), ops.cast(labels, "int32"), mask)
        return self._partition(logits, mask) - self._score(labels, logits, mask)

    def _score(
        self, labels: Int[Tensor, "B T"], logits: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, " B"]:
        """The score of the labels."""
        visible = ops.cast(mask, "float32")
        chosen = ops.take_along_axis(logits, labels[:, :, None], axis=2)[:, :, 0]
        pairs = ops.take(ops.reshape(self.follow, (-1,)), labels[:, :-1] * self.num_classes + labels[:, 1:])
        final = ops.maximum(ops.sum(ops.cast(mask, "int32"), axis=1, keepdims=True) - 1, 0)
        last = ops.take_along_axis(labels, final, axis=1)[:, 0]
        ends = ops.take(self.begin, labels[:, 0]) + ops.take(self.end, last)
        return ops.sum(chosen * visible, axis=1) + ops.sum(pairs * visible[:, 1:], axis=1) + ends * visible[:, 0]

    def _partition(self, logits: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
        """The logarithm of the sum of exp(score) over all sequences; 0 for an empty sequence."""

        def step(t: Int[Tensor, ""], alpha: Float[Tensor, "B C"]) -> tuple:
            onward = ops.logsumexp(alpha[:, :, None] + self.follow[None], axis=1) + ops.take(logits, t, axis=1)
            return t + 1, ops.where(ops.take(mask, t, axis=1)[:, None], onward, alpha)

        first = self.begin[None] + logits[:, 0]
        _, alpha = ops.while_loop(lambda t, alpha: t < ops.shape(logits)[1], step, (1, first))
        return ops.where(mask[:, 0], ops.logsumexp(alpha + self.end[None], axis=1), 0.0)


def _chain(
    logits: Float[Tensor, "B T C"], labels: Int[Tensor, "B T"], mask: Shaped[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T C"], Int[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Move the positions of the chain to the beginning of each row. Returns the logits, the labels and the new mask."""
    order = ops.argsort(1 - ops.cast(mask, "int32"), axis=1)
    visible = ops.take_along_axis(ops.cast(mask, "bool"), order, axis=1)
    labels = ops.take_along_axis(labels, order, axis=1)
    return ops.take_along_axis(logits, order[:, :, None], axis=1), labels, visible
