import csv
import os
from pathlib import Path
from typing import Any

import keras


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
        """
        model.optimizer.build(model.trainable_variables)
        if self.path.exists():
            model.load_weights(self.path)
        return int(model.optimizer.iterations.numpy())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"new.{self.path.name}")
        self.model.save_weights(temporary, overwrite=True)
        os.replace(temporary, self.path)


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
        temporary = self.path.with_name(f"new.{self.path.name}")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[-1].keys(), extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, self.path)

    @staticmethod
    def read(path: Path) -> list[dict[str, str]]:
        """The rows of the file; none if there is none."""
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
