import csv
import io
import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


def write_whole(path: Path, text: str) -> None:
    """Write a text file under another name and rename it: whoever opens it finds the old one or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"new.{os.getpid()}.{path.name}")
    temporary.write_text(text, "utf-8")
    os.replace(temporary, path)


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimizer and dropout states at the end of each epoch, and restores them.

    The position in the training is the optimizer's own step count, in the same file as the weights, so that the two can
    never disagree. The file is written under another name and renamed.

    Args:
        path: file that ends in `.weights.h5`; each worker of a distributed training needs its own.

    Differs: from `keras.callbacks.BackupAndRestore`, which keeps the position in a second file (killed between the
        two writes, it repeats an epoch) and writes over the only good copy.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)

    def restore(self, model: keras.Model) -> int:
        """Load the file, if there is one, into a built and compiled model.

        Returns:
            The number of steps that the model has been trained for.

        Raises:
            ValueError: workers whose files are of different steps, because they were killed between two writes.
        """
        model.optimizer.build(model.trainable_variables)
        if self.path.exists():
            model.load_weights(self.path)
        step = int(model.optimizer.iterations.numpy())
        steps = _of_all_workers(step)
        if len(set(steps)) > 1:
            raise ValueError(
                f"the workers' checkpoints are of different steps {steps} (this one's is {self.path}); copy one "
                f"worker's file over those of the others, or delete them all to begin anew"
            )
        return step

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"new.{self.path.name}")
        self.model.save_weights(temporary, overwrite=True)
        os.replace(temporary, self.path)


def _of_all_workers(step: int) -> list[int]:
    strategy = tf.distribute.get_strategy()
    values = strategy.experimental_distribute_values_from_function(lambda _: tf.constant([step]))
    return strategy.gather(values, axis=0).numpy().tolist()


class HistoryLog(keras.callbacks.Callback):
    """Appends the losses and metrics of each epoch to a CSV file, which outlives an interruption.

    Args:
        path: the file; an epoch that runs again after a kill replaces its row.
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
        """The rows of the file; none if there is none."""
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
