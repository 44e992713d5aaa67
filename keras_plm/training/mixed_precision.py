from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

Precision = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]


def choose_precision(precision: Precision) -> str:
    """The dtype policy for a precision. On this machine, "auto" means mixed_bfloat16 if it is fast, else float32.

    It is fast on TPUs, on GPUs with compute capability 8.0 or above, and on CPUs with bfloat16 instructions (AVX-512
    BF16, AMX, or Arm's bf16). There, a training step takes about 0.6 of the time of float32. mixed_float16 is for GPUs
    with tensor cores that are older (compute capability 7, such as V100 and T4); it needs loss scaling.
    """
    if precision != "auto":
        return precision
    if tf.config.list_logical_devices("TPU"):
        return "mixed_bfloat16"
    if gpus := tf.config.list_physical_devices("GPU"):
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability")
        return "mixed_bfloat16" if capability and capability >= (8, 0) else "float32"
    return "mixed_bfloat16" if _processor_has_bfloat16() else "float32"


def _processor_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False
    words = set(flags.split())
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


@contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """A context in which models are created with this dtype policy. Afterwards, the global policy is restored."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
