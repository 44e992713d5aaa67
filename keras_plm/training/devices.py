"""Devices for a training plan: what their makers state, and what this machine reaches."""

import os
import time
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Device:
    """One accelerator, or this machine.

    Attributes:
        name: its name.
        bfloat16: largest number of floating-point operations per second with bfloat16 or float16 inputs, without
            sparsity.
        float32: the same with float32 inputs (TF32 on newer GPUs).
        memory: bytes.
        watts: power at full load; None if it is not published.
    """

    name: str
    bfloat16: float
    float32: float
    memory: float
    watts: float | None


# GPUs: NVIDIA's data sheets. TPUs, per chip: Jouppi et al. 2023, table 4, https://arxiv.org/abs/2304.01433; v5e:
# Google's documentation, which has no power.
DEVICES = {
    device.name: device
    for device in (
        Device("t4", 65e12, 8.1e12, 16e9, 70),
        Device("v100", 125e12, 15.7e12, 32e9, 300),
        Device("l4", 121e12, 60e12, 24e9, 72),
        Device("rtx-4090", 165e12, 82.6e12, 24e9, 450),
        Device("a100-40gb", 312e12, 156e12, 40e9, 400),
        Device("a100-80gb", 312e12, 156e12, 80e9, 400),
        Device("h100", 989e12, 494e12, 80e9, 700),
        Device("tpu-v2", 45e12, 45e12, 16e9, 280),
        Device("tpu-v3", 123e12, 123e12, 32e9, 262),
        Device("tpu-v4", 275e12, 275e12, 32e9, 192),
        Device("tpu-v5e", 197e12, 197e12, 16e9, None),
    )
}


def this_machine(seconds: float = 1.0) -> Device:
    """The processor of this machine; its operations per second are measured with large products of matrices.

    Args:
        seconds: how long to measure each precision.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Device("here", _measured(tf.bfloat16, seconds), _measured(tf.float32, seconds), memory, None)


def _measured(dtype: tf.DType, seconds: float) -> float:
    size = 1_024
    matrix = tf.cast(tf.random.stateless_normal([size, size], (0, 0)), dtype)
    product = tf.function(lambda left: tf.linalg.matmul(left, matrix), autograph=False)
    product(matrix)
    best, end = float("inf"), time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.perf_counter()
        product(matrix).numpy()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best
