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
    """Memory that nobody has written to, where the backend can give it: until it is written, the system keeps none.

    A weight is then in memory once while its file is read, and not twice. Assigning it in parts would save as much, but
    TensorFlow copies a variable that has been assigned in parts at each of its later reads, which took 40 ms for the
    embedding matrix of MiniLM (docs/log).

    What is in it is not defined: every weight must be assigned before the model is used.
    """

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Float[Tensor, "..."]:
        if keras.backend.backend() != "tensorflow":
            return keras.ops.zeros(shape, dtype)
        import tensorflow as tf

        return tf.raw_ops.Empty(shape=shape, dtype=dtype or keras.config.floatx(), init=False)


@contextmanager
def uninitialized() -> Iterator[None]:
    """Inside it, weights are made as memory that nobody has written to: they are about to be read from a file.

    Random numbers cost a third of the time in which MiniLM is loaded, and more memory than the weights themselves.
    """
    token = _uninitialized.set(True)
    try:
        yield
    finally:
        _uninitialized.reset(token)


def standard_deviation(width: int) -> float:
    """BERT's standard deviation of initial weights in proportion to the width: 0.02 · √(768 / width).

    BERT uses 0.02 at every width. That is 0.55 / √width at its width of 768, but only 0.32 / √width at 256, where the
    blocks add little to the residual stream. MINI with 0.02 was still at 0.14 of the masked tokens after 1,500 steps;
    with this and pre-norm it was at 0.24 after 1,000 (docs/log).

    Args:
        width: D.

    Source: Devlin et al. 2019, https://github.com/google-research/bert (initializer_range)
    """
    return 0.02 * (768 / width) ** 0.5


def scaled_normal(width: int) -> keras.initializers.Initializer:
    """Truncated normal of BERT's `standard_deviation` at that width."""
    if _uninitialized.get():
        return Unwritten()
    return keras.initializers.TruncatedNormal(stddev=standard_deviation(width))


def scaled_sinusoids(width: int) -> Callable:
    """For learned positions: sinusoids with the same standard deviation as the other embedding matrices.

    Neighbors begin alike, so that what is learned about one distance holds everywhere, also at positions beyond the
    rows of the training. MINI reached in 600 steps about the loss of 700 (docs/log).
    """
    if _uninitialized.get():
        return Unwritten()

    def initialize(shape: tuple[int, int], dtype: str | None = None) -> Float[Tensor, "T D"]:
        table = sinusoids(*shape)
        return keras.ops.convert_to_tensor(table * (standard_deviation(width) / table.std()), dtype)

    return initialize


def sinusoids(length: int, width: int) -> np.ndarray:
    """(length, width) float32; even columns sin(p / 10000^(i/width)), odd columns the cosine."""
    rates = 10_000.0 ** (-2.0 * (np.arange(width) // 2) / width)
    angles = np.arange(length)[:, None] * rates[None, :]
    return np.where(np.arange(width) % 2 == 0, np.sin(angles), np.cos(angles)).astype("float32")
