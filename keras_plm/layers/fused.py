"""Chains of elementwise operations, each fused into one kernel in training.

In this folder, only this file and `initialization.py` import TensorFlow; `fused_norm.py` and `fused_softmax.py` have
kernels of the same kind, whose gradients are written by hand.

Between its matrix products, a small model spends a quarter to a third of its training step: in passes over memory for
biases, GELU, dropout, residuals and norms. XLA fuses such a chain into one pass. The matrix products and the softmax
stay with oneDNN, which is faster for them; only the gradient of the softmax is a kernel. docs/log has the measurements.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
from jaxtyping import Float, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor
from keras_plm.xla import rounded, xla_enabled

from .activations import activate
from .dropout_mask import drop_elements


def fused(function: Callable) -> Callable:
    """Compile a pure function of tensors into one forward and one backward kernel.

    The function must process each row along the last axis separately, and return a tensor with the shape of its first
    argument: the leading axes are merged into one before the call. The backward kernel computes the function again and
    differentiates it, so that only the arguments are stored.

    Args:
        function: takes tensors, then static keyword arguments, and returns a float32 tensor.

    Returns:
        The same function with an additional keyword argument `training`, and a result in the dtype of the first
        argument. If `training` is not true, or the backend is not TensorFlow, the function runs unchanged: exporters
        only see plain operators.
    """

    @functools.wraps(function)
    def plain(*arguments: Any, training: bool | None = None, **static: Any) -> Any:
        return ops.cast(function(*arguments, **static), arguments[0].dtype)

    if keras.backend.backend() != "tensorflow":
        return plain

    import tensorflow as tf

    @functools.cache
    def kernels(xla: bool, **static: Any) -> Callable:
        return _with_gradient(functools.partial(function, **static), xla)

    @functools.wraps(function)
    def call(*arguments: Any, training: bool | None = None, **static: Any) -> Any:
        if not training:
            return plain(*arguments, **static)
        tensors = [tf.convert_to_tensor(a) for a in arguments]
        shape = tensors[0].shape if tensors[0].shape.is_fully_defined() else tf.shape(tensors[0])
        # with three axes, XLA computes the sums over rows as slow window reductions (10 ms per step)
        flat = [_rows(t) if t.shape.rank > 2 else t for t in tensors]
        result = tf.reshape(kernels(xla_enabled(), **static)(*flat), shape)
        result.set_shape(tensors[0].shape)
        return result

    return call


def _rows(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "rows D"]:
    return ops.reshape(tensor, (-1, ops.shape(tensor)[-1]))


def _with_gradient(function: Callable, xla: bool) -> Callable:
    """A function of tensors as two kernels, forward and backward."""
    import tensorflow as tf

    compiled = functools.partial(tf.function, jit_compile=xla, autograph=False)

    @compiled
    def forward(*arguments: Any) -> Any:
        return rounded(function(*arguments), arguments[0].dtype)

    @compiled
    def backward(arguments: list, upstream: Any) -> list:
        wide = [tf.cast(a, tf.float32) if a.dtype.is_floating else a for a in arguments]
        watched = [a for a in wide if a.dtype.is_floating]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            result = function(*wide)
        found = tape.gradient(result, watched, tf.cast(upstream, tf.float32), unconnected_gradients="zero")
        dtypes = [a.dtype for a in arguments if a.dtype.is_floating]
        return [rounded(gradient, dtype) for gradient, dtype in zip(found, dtypes, strict=True)]

    @tf.custom_gradient
    def with_gradient(*arguments: Any) -> Any:
        def gradient(upstream: Any) -> list:
            found = iter(backward(list(arguments), upstream))
            return [next(found) if a.dtype.is_floating else None for a in arguments]

        return forward(*arguments), gradient

    return with_gradient


@fused
def bias_activation(x: Float[Tensor, "... D"], bias: Float[Tensor, " D"], *, activation: str) -> Float[Tensor, "... D"]:
    """`activate(x + bias)`, computed in float32."""
    return activate(ops.cast(x, "float32") + ops.cast(bias, "float32"), activation)


@fused
def gated_activation(
    gate: Float[Tensor, "... D"], x: Float[Tensor, "... D"], *, activation: str
) -> Float[Tensor, "... D"]:
    """`activate(gate) · x`, computed in float32.

    Source: Shazeer 2020, https://arxiv.org/abs/2002.05202
    """
    return activate(ops.cast(gate, "float32"), activation) * ops.cast(x, "float32")


@fused
def rms_normalize(x: Float[Tensor, "... D"], gamma: Float[Tensor, " D"], *, epsilon: float) -> Float[Tensor, "... D"]:
    """RMS normalization over the last axis, computed in float32.

    Source: Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467
    """
    wide = ops.cast(x, "float32")
    scaled = wide * ops.rsqrt(ops.mean(ops.square(wide), axis=-1, keepdims=True) + epsilon)
    return scaled * ops.cast(gamma, "float32")


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
    return drop_elements(ops.cast(x, "float32"), seed, rate)
