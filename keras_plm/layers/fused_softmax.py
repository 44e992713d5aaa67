import functools
from collections.abc import Callable
from typing import Any

import keras
from jaxtyping import Float, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor
from keras_plm.xla import compiled, rounded

from .dropout_mask import drop_elements
from .fused import dropout


def softmax(scores: Float[Tensor, "B N T S"], bias: Float[Tensor, "..."] | None) -> Float[Tensor, "B N T S"]:
    """`softmax(scores + bias)` over the last axis, in float32.

    Args:
        scores: float tensor.
        bias: float32, broadcast to the scores; None for none.
    """
    wide = ops.cast(scores, "float32")
    wide = wide if bias is None else wide + bias
    # for a single key, such as that of a text's first token, Keras' softmax prints a warning
    return ops.ones_like(wide) if wide.shape[-1] == 1 else ops.softmax(wide)


def softmax_dropout(
    scores: Float[Tensor, "B N T S"],
    bias: Float[Tensor, "..."] | None,
    seed: Shaped[Tensor, " 2"] | None,
    *,
    rate: float,
    training: bool | None = None,
) -> Float[Tensor, "B N T S"]:
    """Attention weights after dropout: `dropout(softmax(scores + bias))`, computed in float32.

    In training, the backward pass is one kernel that reads the weights in the dtype of the scores.

    Args:
        scores: products of queries and keys.
        bias: float32, broadcast to the scores, such as a mask; it has no gradient in training. None for none.
        seed: (2,) integer; None without dropout.
        rate: fraction of the weights dropped, in [0, 1); 0 without a seed.
        training: whether there will be a backward pass.

    Returns:
        A tensor with the shape and the dtype of the scores.
    """
    if not training or keras.backend.backend() != "tensorflow":
        weights = softmax(scores, bias)
        return ops.cast(weights if seed is None else drop_elements(weights, seed, rate), scores.dtype)
    backward = _backward(rate)
    seed = ops.zeros(2, "int32") if seed is None else seed

    @ops.custom_gradient
    def kernel(scores: Any) -> Any:
        weights = ops.cast(softmax(scores, bias), scores.dtype)

        def gradient(upstream: Any) -> Any:
            return ops.reshape(backward(_rows(weights), seed, _rows(upstream)), ops.shape(scores))

        return dropout(weights, seed, rate=rate, training=True) if rate else weights, gradient

    return kernel(scores)


def _rows(tensor: Float[Tensor, "B N T S"]) -> Float[Tensor, "rows S"]:
    return ops.reshape(tensor, (-1, ops.shape(tensor)[-1]))


@functools.cache
def _backward(rate: float) -> Callable:
    @compiled
    def backward(weights: Any, seed: Any, upstream: Any) -> Any:
        wide, weighted = ops.cast(weights, "float32"), drop_elements(ops.cast(upstream, "float32"), seed, rate)
        mean = ops.sum(wide * weighted, axis=-1, keepdims=True)
        return rounded(wide * (weighted - mean), weights.dtype)

    return backward
