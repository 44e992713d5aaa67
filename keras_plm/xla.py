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
