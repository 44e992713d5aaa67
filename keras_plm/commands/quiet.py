import os
from collections.abc import Iterator
from contextlib import contextmanager

from keras_plm.hidden_output import hidden_until_error


@contextmanager
def quiet_start() -> Iterator[None]:
    """A context in which TensorFlow is imported without the C++ log messages about the machine.

    These messages do not use Python's `sys.stderr`, and at import TensorFlow does not yet respect its log level. If the
    import fails, all messages are shown.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with hidden_until_error():
        import tensorflow as tf

        tf.constant(0)  # the first operation initializes the devices
        yield
