from typing import Any

import keras
import tensorflow as tf


class TensorBoardLog(keras.callbacks.Callback):
    """Writes losses and metrics as TensorBoard scalars, at the optimizer's step.

    Args:
        folder: folder for the event files.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.writer = tf.summary.create_file_writer(folder)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one point of every curve, at the optimizer's step."""
        step = int(self.model.optimizer.iterations.numpy())
        with self.writer.as_default():
            for name, value in (logs or {}).items():
                tf.summary.scalar(name, value, step=step)
        self.writer.flush()
