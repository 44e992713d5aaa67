from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import tensorflow as tf
from jaxtyping import Float, Int, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor
from keras_plm.xla import compiled, rounded


@keras.saving.register_keras_serializable("keras_plm")
class CrossEntropy(keras.losses.Loss):
    """Weighted softmax cross-entropy of logits and integer labels, without a float32 copy of the logits.

    Args:
        label_smoothing: ε in [0, 1): the target probability of the label is 1 - ε + ε / C, that of every other class
            is ε / C.

    Call args:
        y_true: (…) integer labels in [0, C).
        y_pred: (…, C) logits, float32, bfloat16 or float16.
        sample_weight: (…) weights; 0 ignores a position.

    Returns:
        Scalar float32: the weighted losses, reduced as in `keras.losses.Loss`.

    Example:
        >>> f"{CrossEntropy()([0, 1], [[0.0, 0.0], [0.0, 0.0]]):.4f}"
        '0.6931'

    Differs: from `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`: logits stay in their dtype. The
        gradient is `(softmax - one_hot)` and reuses the softmax of the forward pass. For a vocabulary of 30,522, this
        takes a sixth of the time. In bfloat16, the error of the gradient is at most 2⁻⁹ of the probability, and a loss
        is at most 85 nats.
    """

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "cross_entropy",
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(reduction=reduction, name=name, **kwargs)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing={label_smoothing}; it must be in [0, 1)")
        self.label_smoothing = label_smoothing

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"label_smoothing": self.label_smoothing}

    def __call__(
        self,
        y_true: Shaped[Tensor, "..."],
        y_pred: Float[Tensor, "... C"],
        sample_weight: Shaped[Tensor, "..."] | None = None,
    ) -> Float[Tensor, ""]:
        # before super().__call__, which would cast the logits to float32
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        rows = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
        losses = _cross_entropy(self.label_smoothing)(rows, labels)
        shape = ops.shape(y_pred)[:-1]
        return super().__call__(ops.reshape(y_true, shape), ops.reshape(losses, shape), sample_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred  # computed in __call__


class ChainLoss(keras.losses.Loss):
    """Negative log-likelihood of a whole tag sequence under a conditional random field, divided by its number of words.

    Args:
        field: the model's `ConditionalRandomField`.

    Call args:
        y_true: (B, T) integer labels.
        y_pred: (B, T, C) float logits.
        sample_weight: (B, T), above 0 at the positions of the sequence; these must have equal weights.

    Returns:
        Scalar float32: the mean over the words, with the weights from `TextRows`.
    """

    def __init__(self, field: Any, name: str = "chain", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.field = field

    def __call__(
        self,
        y_true: Shaped[Tensor, "B T"],
        y_pred: Float[Tensor, "B T C"],
        sample_weight: Shaped[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, ""]:
        weights = ops.ones(ops.shape(y_pred)[:2]) if sample_weight is None else ops.cast(sample_weight, "float32")
        losses = self.field.negative_log_likelihood(y_true, y_pred, weights > 0)
        losses *= ops.max(weights) / ops.cast(ops.shape(y_pred)[1], "float32")
        # with Keras' own reduction, which supports several replicas
        return super().__call__(ops.zeros_like(losses), losses)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_pred  # computed in __call__


@cache
def _cross_entropy(smoothing: float) -> Callable:
    @tf.custom_gradient
    def losses(logits: Float[tf.Tensor, "rows C"], labels: Int[tf.Tensor, " rows"]) -> Float[tf.Tensor, " rows"]:
        """The float32 loss of each row."""
        probabilities = tf.nn.softmax(logits)
        chosen = tf.gather(probabilities, labels[:, None], batch_dims=1)[:, 0]
        found = -tf.math.log(tf.maximum(tf.cast(chosen, tf.float32), 1e-37))
        if logits.dtype == tf.float16:  # its probabilities end at e⁻¹⁷
            logit = tf.cast(tf.gather(logits, labels[:, None], batch_dims=1)[:, 0], tf.float32)
            found = tf.reduce_logsumexp(tf.cast(logits, tf.float32), -1) - logit
        if smoothing:  # the mean of all losses is the loss of the label, plus its logit, minus the mean logit
            logit = tf.cast(tf.gather(logits, labels[:, None], batch_dims=1)[:, 0], tf.float32)
            found += smoothing * (logit - _mean(logits))

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None]:
            return _gradient(probabilities, labels, upstream, smoothing), None

        return found, gradient

    return losses


@compiled
def _mean(logits: Float[tf.Tensor, "rows C"]) -> Float[tf.Tensor, " rows"]:
    return tf.reduce_mean(tf.cast(logits, tf.float32), -1)


@compiled
def _gradient(
    probabilities: Float[tf.Tensor, "rows C"],
    labels: Int[tf.Tensor, " rows"],
    upstream: Float[tf.Tensor, " rows"],
    smoothing: float,
) -> Float[tf.Tensor, "rows C"]:
    classes = probabilities.shape[-1]
    target = tf.cast(tf.range(classes) == labels[:, None], tf.float32) * (1 - smoothing) + smoothing / classes
    wide = tf.cast(probabilities, tf.float32) - target
    return rounded(wide * upstream[:, None], probabilities.dtype)
