from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras
import numpy as np
from jaxtyping import Float

from keras_plm.tensor_types import Tensor

_uninitialized = ContextVar("uninitialized", default=False)


@keras.saving.register_keras_serializable("keras_plm")
class Unwritten(keras.initializers.Initializer):
    """Uninitialized memory, if the backend supports it. The system allocates it only when it is written.

    While a file is read, each weight is in memory once instead of twice. Assigning a weight in parts would save the
    same memory. But TensorFlow copies a variable that was assigned in parts whenever it is read later; for the
    embedding matrix of MiniLM this took 40 ms (docs/log).

    The content is undefined: every weight must be assigned before the model is used.
    """

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Float[Tensor, "..."]:
        if keras.backend.backend() != "tensorflow":
            return keras.ops.zeros(shape, dtype)
        import tensorflow as tf

        return tf.raw_ops.Empty(shape=shape, dtype=dtype or keras.config.floatx(), init=False)


@contextmanager
def uninitialized() -> Iterator[None]:
    """Within this context, new weights are uninitialized memory, because a file will be read into them.

    Random initial values take a third of the loading time of MiniLM, and more memory than the weights themselves.
    """
    token = _uninitialized.set(True)
    try:
        yield
    finally:
        _uninitialized.reset(token)


def standard_deviation(width: int) -> float:
    """BERT's standard deviation of initial weights, scaled to the width: 0.02 · √(768 / width).

    BERT uses 0.02 at every width. This is 0.55 / √width at its width of 768, but only 0.32 / √width at 256. There, the
    blocks add little to the residual stream. With 0.02, the masked-token accuracy of MINI was 0.14 after 1,500 steps;
    with this scaling and pre-norm, it was 0.24 after 1,000 steps (docs/log).

    Args:
        width: D.

    Source: Devlin et al. 2019, https://github.com/google-research/bert (initializer_range)
    """
    return 0.02 * (768 / width) ** 0.5


def scaled_normal(width: int) -> keras.initializers.Initializer:
    """Truncated normal initializer with `standard_deviation(width)`."""
    if _uninitialized.get():
        return Unwritten()
    return keras.initializers.TruncatedNormal(stddev=standard_deviation(width))


def scaled_sinusoids(width: int) -> Callable:
    """Initializer of learned positions: sinusoids with the standard deviation of the other embedding matrices.

    Neighboring positions start with similar vectors. What the model learns about one distance then applies everywhere,
    also at positions beyond the training rows. With sinusoids, MINI reached about the same loss in 600 steps as without
    them in 700 (docs/log).
    """
    if _uninitialized.get():
        return Unwritten()

    def initialize(shape: tuple[int, int], dtype: str | None = None) -> Float[Tensor, "T D"]:
        table = sinusoids(*shape)
        return keras.ops.convert_to_tensor(table * (standard_deviation(width) / table.std()), dtype)

    return initialize


def sinusoids(length: int, width: int, halves: bool = False) -> np.ndarray:
    """(length, width) float32: even columns are sin(p / 10000^(i/width)), odd columns are the cosine.

    Args:
        length: number of positions.
        width: number of columns.
        halves: all even columns first, then all odd columns (Marian).
    """
    rates = 10_000.0 ** (-2.0 * (np.arange(width) // 2) / width)
    angles = np.arange(length)[:, None] * rates[None, :]
    table = np.where(np.arange(width) % 2 == 0, np.sin(angles), np.cos(angles)).astype("float32")
    return np.concatenate([table[:, ::2], table[:, 1::2]], -1) if halves else table
