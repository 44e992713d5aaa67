import functools
from collections.abc import Callable
from typing import Any

import keras
from jaxtyping import Float, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor
from keras_plm.xla import compiled, rounded

from .dropout_mask import drop_elements


def residual_norm(
    x: Float[Tensor, "... D"],
    residual: Float[Tensor, "... D"] | None,
    gamma: Float[Tensor, " D"],
    beta: Float[Tensor, " D"],
    seed: Shaped[Tensor, " 2"] | int = 0,
    *,
    epsilon: float,
    rate: float = 0.0,
    training: bool | None = None,
) -> Float[Tensor, "... D"]:
    """Layer normalization of `residual + dropout(x)` over the last axis, computed in float32.

    In training, the forward and the backward pass are one kernel each. The backward pass reads the normalized tensor in
    the dtype of `x`.

    Args:
        x: float tensor.
        residual: float tensor, or None for `x` alone, without dropout.
        gamma: factors of the normalized tensor.
        beta: added to it.
        seed: (2,) integer, if `rate` is above 0.
        epsilon: added to the variance.
        rate: fraction of `x` dropped, in [0, 1).
        training: whether there will be a backward pass.

    Returns:
        A tensor with the shape and the dtype of `x`.

    Source: Ba et al. 2016, https://arxiv.org/abs/1607.06450
    """
    if not training or keras.backend.backend() != "tensorflow":
        normalized, _ = _normalized(x, residual, seed, epsilon, rate)
        return ops.cast(normalized * ops.cast(gamma, "float32") + ops.cast(beta, "float32"), x.dtype)
    forward, backward = _kernels(epsilon, rate, None if residual is None else residual.dtype)
    seed = ops.convert_to_tensor(seed if rate else (0, 0))

    @ops.custom_gradient
    def kernel(*tensors: Any) -> Any:
        output, normalized, scale = forward(*tensors, seed)

        def gradient(upstream: Any) -> Any:
            return backward(normalized, scale, tensors[-2], tensors[-1], seed, upstream)

        return output, gradient

    # two axes: with three, XLA computes the sums over rows as slow window reductions
    tensors = [x] if residual is None else [x, residual]
    rows = [ops.reshape(tensor, (-1, x.shape[-1])) for tensor in tensors]
    weights = [ops.reshape(weight, (-1,)) for weight in (gamma, beta)]  # tensors, not variables
    return ops.reshape(kernel(*rows, *weights), ops.shape(x))


def _normalized(x: Tensor, residual: Tensor | None, seed: Tensor, epsilon: float, rate: float) -> tuple[Tensor, Tensor]:
    """The sum with mean 0 and variance 1, and what it was multiplied by."""
    summed = ops.cast(x, "float32")
    if residual is not None:
        summed = ops.cast(residual, "float32") + drop_elements(summed, seed, rate)
    centered = summed - ops.mean(summed, axis=-1, keepdims=True)
    scale = ops.rsqrt(ops.mean(ops.square(centered), axis=-1, keepdims=True) + epsilon)
    return centered * scale, scale


@functools.cache
def _kernels(epsilon: float, rate: float, residual_dtype: Any) -> tuple[Callable, Callable]:
    @compiled
    def forward(*tensors: Any) -> tuple:
        (x, *residual), (gamma, beta, seed) = tensors[:-3], tensors[-3:]
        normalized, scale = _normalized(x, residual[0] if residual else None, seed, epsilon, rate)
        output = normalized * ops.cast(gamma, "float32") + ops.cast(beta, "float32")
        return rounded(output, x.dtype), rounded(normalized, x.dtype), scale

    @compiled
    def backward(normalized: Any, scale: Any, gamma: Any, beta: Any, seed: Any, upstream: Any) -> list:
        dtype, normalized, upstream = normalized.dtype, ops.cast(normalized, "float32"), ops.cast(upstream, "float32")
        inner = upstream * ops.cast(gamma, "float32")
        along = ops.mean(inner * normalized, axis=-1, keepdims=True)
        of_sum = scale * (inner - ops.mean(inner, axis=-1, keepdims=True) - normalized * along)
        of_gamma, of_beta = ops.sum(upstream * normalized, axis=0), ops.sum(upstream, axis=0)
        found = [rounded(drop_elements(of_sum, seed, rate), dtype)]
        if residual_dtype is not None:
            found.append(rounded(of_sum, residual_dtype))
        return [*found, rounded(of_gamma, gamma.dtype), rounded(of_beta, beta.dtype)]

    return forward, backward
