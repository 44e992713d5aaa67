"""Weights that are about to be read from a file: the second file of this folder that knows TensorFlow."""

from typing import Any

import keras


@keras.saving.register_keras_serializable("keras_plm")
class Unwritten(keras.initializers.Initializer):
    """Memory that nobody has written to, where the backend can give it: until it is written, the system keeps none.

    A weight is then in memory once while its file is read, and not twice. Assigning it in parts would save as much, but
    TensorFlow copies a variable that has been assigned in parts at each of its later reads, which took 40 ms for the
    table of MiniLM (docs/results.md).

    What is in it is not defined: every weight must be assigned before the model is used.
    """

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        if keras.backend.backend() != "tensorflow":
            return keras.ops.zeros(shape, dtype)
        import tensorflow as tf

        return tf.raw_ops.Empty(shape=shape, dtype=dtype or keras.config.floatx(), init=False)
