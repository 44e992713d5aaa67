"""XLA compilation of parts of a training step, and the switch that turns it off."""

import functools
import os
from collections.abc import Callable
from typing import Any

SWITCH = "KERAS_PLM_XLA"


def xla_enabled() -> bool:
    """False if the environment variable KERAS_PLM_XLA is 0. A training then starts sooner, but each step takes longer.

    Raises:
        ValueError: the variable is neither 0 nor 1.
    """
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise ValueError(f"{SWITCH}={value!r}; set it to 0 or 1")
    return value == "1"


def compiled(function: Callable) -> Callable:
    """A function of tensors as a separate graph, compiled by XLA unless XLA is turned off."""
    import tensorflow as tf

    kernels = {xla: tf.function(function, jit_compile=xla, autograph=False) for xla in (False, True)}

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return kernels[xla_enabled()](*arguments)

    return call


def rounded(wide: Any, dtype: Any) -> Any:
    """A float32 tensor in another dtype, for functions that XLA compiles.

    XLA does not use vector instructions for a loop that ends with its own conversion to bfloat16 if there is a tanh or
    a hash in it. With the conversion as arithmetic of integers, GELU takes half the time. The result is the same.
    """
    import tensorflow as tf

    if dtype != tf.bfloat16 or wide.dtype != tf.float32:
        return tf.cast(wide, dtype)
    bits, half = tf.bitcast(wide, tf.uint32), tf.constant(16, tf.uint32)
    odd = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, half), tf.constant(1, tf.uint32))
    nearest = tf.bitwise.right_shift(bits + odd + tf.constant(0x7FFF, tf.uint32), half)  # a tie goes to the even one
    nearest = tf.where(tf.math.is_nan(wide), tf.constant(0x7FC0, tf.uint32), nearest)
    return tf.bitcast(tf.cast(nearest, tf.uint16), tf.bfloat16)
