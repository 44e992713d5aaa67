"""Chains of elementwise operations, each fused into one kernel in training.

In this folder, only this file and `initialization.py` use TensorFlow.

Between its matrix products, a small model spends a quarter to a third of its training step: in passes over memory for
biases, GELU, dropout, residuals and norms. XLA fuses such a chain into one pass. The matrix products and the softmax
stay with oneDNN, which is faster for them. docs/log has the measurements.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import keras
from jaxtyping import Float, Shaped, UInt
from keras import ops

from keras_plm.tensor_types import Tensor
from keras_plm.xla import xla_enabled

from .activations import activate


def fused(function: Callable) -> Callable:
    """Compile a pure function of tensors into one forward and one backward kernel.

    The function must process each row along the last axis separately, and return a tensor with the shape of its first
    argument: the leading axes are merged into one before the call. The backward kernel computes the function again and
    differentiates it, so that only the arguments are stored.

    Args:
        function: takes tensors, then static keyword arguments, and returns a tensor.

    Returns:
        The same function with an additional keyword argument `training`. If `training` is not true, or the backend is
        not TensorFlow, the function runs unchanged: exporters only see plain operators.
    """
    if keras.backend.backend() != "tensorflow":

        @functools.wraps(function)
        def plain(*arguments: Any, training: bool | None = None, **static: Any) -> Any:
            return function(*arguments, **static)

        return plain

    import tensorflow as tf

    @functools.cache
    def kernels(xla: bool, **static: Any) -> Callable:
        compiled = functools.partial(tf.function, jit_compile=xla, autograph=False)
        forward = compiled(functools.partial(function, **static))

        @compiled
        def backward(arguments: list, upstream: Any) -> list:
            watched = [a for a in arguments if a.dtype.is_floating]
            with tf.GradientTape() as tape:
                tape.watch(watched)
                result = function(*arguments, **static)
            return tape.gradient(result, watched, upstream, unconnected_gradients="zero")

        @tf.custom_gradient
        def with_gradient(*arguments: Any) -> Any:
            def gradient(upstream: Any) -> list:
                found = iter(backward(list(arguments), upstream))
                return [next(found) if a.dtype.is_floating else None for a in arguments]

            return forward(*arguments), gradient

        return with_gradient

    def rows(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "rows D"]:
        return tf.reshape(tensor, (-1, tensor.shape[-1] or tf.shape(tensor)[-1]))

    @functools.wraps(function)
    def call(*arguments: Any, training: bool | None = None, **static: Any) -> Any:
        if not training:
            return function(*arguments, **static)
        tensors = [tf.convert_to_tensor(a) for a in arguments]
        shape = tensors[0].shape if tensors[0].shape.is_fully_defined() else tf.shape(tensors[0])
        # with three axes, XLA computes the sums over rows as slow window reductions (10 ms per step)
        flat = [rows(t) if t.shape.rank > 2 else t for t in tensors]
        result = tf.reshape(kernels(xla_enabled(), **static)(*flat), shape)
        result.set_shape(tensors[0].shape)
        return result

    return call


@fused
def bias_activation(x: Float[Tensor, "... D"], bias: Float[Tensor, " D"], *, activation: str) -> Float[Tensor, "... D"]:
    """`activate(x + bias)`, computed in float32."""
    wide = ops.cast(x, "float32") + ops.cast(bias, "float32")
    return ops.cast(activate(wide, activation), x.dtype)


@fused
def gated_activation(
    gate: Float[Tensor, "... D"], x: Float[Tensor, "... D"], *, activation: str
) -> Float[Tensor, "... D"]:
    """`activate(gate) · x`, computed in float32.

    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202
    """
    return ops.cast(activate(ops.cast(gate, "float32"), activation) * ops.cast(x, "float32"), x.dtype)


@fused
def normalize(
    x: Float[Tensor, "... D"], gamma: Float[Tensor, " D"], beta: Float[Tensor, " D"], *, epsilon: float
) -> Float[Tensor, "... D"]:
    """Layer normalization over the last axis, computed in float32.

    Source: Ba et al. 2016, https://arxiv.org/abs/1607.06450
    """
    return ops.cast(_normalize(ops.cast(x, "float32"), gamma, beta, epsilon), x.dtype)


@fused
def rms_normalize(x: Float[Tensor, "... D"], gamma: Float[Tensor, " D"], *, epsilon: float) -> Float[Tensor, "... D"]:
    """RMS normalization over the last axis, computed in float32.

    Source: Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467
    """
    wide = ops.cast(x, "float32")
    scaled = wide * ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + epsilon)
    return ops.cast(scaled * ops.cast(gamma, "float32"), x.dtype)


@fused
def residual_norm(
    x: Float[Tensor, "... D"],
    residual: Float[Tensor, "... D"],
    gamma: Float[Tensor, " D"],
    beta: Float[Tensor, " D"],
    seed: Shaped[Tensor, " 2"],
    *,
    epsilon: float,
    rate: float,
) -> Float[Tensor, "... D"]:
    """`normalize(residual + dropout(x))`, computed in float32."""
    summed = ops.cast(residual, "float32") + _drop(ops.cast(x, "float32"), seed, rate)
    return ops.cast(_normalize(summed, gamma, beta, epsilon), x.dtype)


@fused
def dropout(x: Float[Tensor, "..."], seed: Shaped[Tensor, " 2"], *, rate: float) -> Float[Tensor, "..."]:
    """Set each element to 0 with probability `rate`; divide the others by `1 - rate`.

    Args:
        x: float tensor.
        seed: (2,) integer, from `keras.random.SeedGenerator.next`.
        rate: in [0, 1).

    Source: Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html
    Differs: from `keras.layers.Dropout`: a hash of (seed, position) replaces the random generator. This is five times
        as fast, and the backward pass computes the mask again instead of storing it.
    """
    return ops.cast(_drop(ops.cast(x, "float32"), seed, rate), x.dtype)


def _normalize(
    x: Float[Tensor, "... D"], gamma: Float[Tensor, " D"], beta: Float[Tensor, " D"], epsilon: float
) -> Float[Tensor, "... D"]:
    centered = x - ops.mean(x, axis=-1, keepdims=True)
    variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
    scaled = centered * ops.rsqrt(variance + epsilon)
    return scaled * ops.cast(gamma, "float32") + ops.cast(beta, "float32")


def _drop(x: Float[Tensor, "..."], seed: Shaped[Tensor, " 2"], rate: float) -> Float[Tensor, "..."]:
    if not rate:
        return x
    shape = ops.shape(x)  # unknown sizes are tensors
    count = functools.reduce(operator.mul, shape)
    position = ops.cast(ops.reshape(ops.arange(count, dtype="int32"), shape), "uint32")
    # mix the seed before adding the position: seeds that differ by one must not give similar masks
    key = _mix(_mix(ops.cast(seed[0], "uint32")) + ops.cast(seed[1], "uint32"))
    bits = _mix(_mix(position + key) + _mix(key + _word(0x9E3779B9)))
    return ops.where(bits >= _word(int(rate * 2**32)), x / (1.0 - rate), 0.0)


def _mix(bits: UInt[Tensor, "..."]) -> UInt[Tensor, "..."]:
    """A bijection of uint32: each bit of the input changes about half of the output's bits.

    Source: the constants are Ellis' lowbias32, https://github.com/skeeto/hash-prospector
    """
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, _word(16))) * _word(0x7FEB352D)
    bits = ops.bitwise_xor(bits, ops.right_shift(bits, _word(15))) * _word(0x846CA68B)
    return ops.bitwise_xor(bits, ops.right_shift(bits, _word(16)))


def _word(value: int) -> UInt[Tensor, ""]:
    return ops.convert_to_tensor(value, dtype="uint32")
