import csv
import io
import os
import secrets
from pathlib import Path
from typing import Any

import keras


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: under another name, and then rename it. Readers see the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"new.{secrets.token_hex(4)}.{path.name}")  # workers share a disk
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # an incomplete file, if the disk was full


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
