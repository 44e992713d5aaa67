import csv
import io
import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: under another name, and then rename it. Readers see the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"new.{os.getpid()}.{path.name}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # an incomplete file, if the disk was full


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and dropout states at the end of each epoch, and restores them.

    The position in the training is the optimizer's step count. It is in the same file as the weights, so the two always
    agree. The file is written atomically.

    Args:
        path: a file that ends in `.weights.h5`; each worker of a distributed training needs its own file.

    Differs: `keras.callbacks.BackupAndRestore` keeps the position in a second file. If it is killed between the two
        writes, it repeats an epoch. It also overwrites the only good copy.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)

    def restore(self, model: keras.Model) -> int:
        """Load the file, if it exists, into a built and compiled model.

        Returns:
            The number of batches on which the model was trained.

        Raises:
            ValueError: some workers have a file and others do not.
        """
        model.optimizer.build(model.trainable_variables)
        if any(there := _of_all_workers(self.path.exists())):
            # TensorFlow sends the first worker's values to all workers, so files of different steps are harmless. But a
            # worker without a file would not take part, and would not receive them.
            if not all(there):
                raise ValueError(
                    f"only some workers have a checkpoint (this one: {self.path}, {self.path.exists()}); "
                    f"copy one worker's file to the others under their names, or delete all of them to start again"
                )
            model.load_weights(self.path)
        # with gradient accumulation, `iterations` counts updates, not batches
        return int(model.optimizer._iterations.numpy())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"new.{self.path.name}")
        self.model.save_weights(temporary, overwrite=True)
        os.replace(temporary, self.path)


def _of_all_workers(value: bool) -> list[bool]:
    strategy = tf.distribute.get_strategy()
    values = strategy.experimental_distribute_values_from_function(lambda _: tf.constant([int(value)]))
    return [bool(found) for found in strategy.gather(values, axis=0).numpy()]


class HistoryLog(keras.callbacks.Callback):
    """Appends the losses and metrics of each epoch to a CSV file, which survives an interruption.

    Args:
        path: the file. If an epoch runs again after a kill, its row is replaced.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add or replace one row."""
        rows = self.read(self.path)
        rows = [row for row in rows if int(row["epoch"]) < epoch]
        rows.append({"epoch": str(epoch), **{k: repr(float(v)) for k, v in (logs or {}).items()}})
        file = io.StringIO()
        writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, file.getvalue())

    @staticmethod
    def read(path: Path) -> list[dict[str, str]]:
        """The rows of the file; an empty list if the file does not exist."""
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
