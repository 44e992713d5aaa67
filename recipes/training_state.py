"""What an unfinished training keeps on disk; gone when the model is saved."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from keras_plm.text import Tokenizer
from keras_plm.training import Checkpoint, HistoryLog, is_chief, worker_name, write_whole

from .training_method import TrainingMethod

if TYPE_CHECKING:
    from .recipe import Recipe


def training_folder(save_to: str) -> Path:
    """Where an unfinished training keeps its state."""
    return Path(save_to).with_name(f"{Path(save_to).name}.training")


class TrainingState:
    """The folder `<save_to>.training`: the record of the recipe, this worker's checkpoint, history and best weights.

    Args:
        recipe: what is trained.
        method: how.
        fingerprint: a hash of all that it is trained on.

    Raises:
        ValueError: an unfinished training of other settings or other rows lies there.
    """

    def __init__(self, recipe: "Recipe", method: TrainingMethod, fingerprint: str) -> None:
        self.folder = training_folder(recipe.model_folder)
        self.record = method.record(recipe)
        self._checkpoint = Checkpoint(self.folder / f"{worker_name()}.weights.h5")
        # each worker decides by its own history when a training ends, without a shared disk
        self.history_path = self.folder / ("history.csv" if is_chief() else f"{worker_name()}.history.csv")
        self.best_path: Path | None = self.folder / f"{worker_name()}.best.safetensors"
        self.vocabulary_path: Path | None = self.folder / "vocab.txt"
        self._path = self.folder / "recipe.json"
        self._content = json.dumps(json.loads(self.record) | {"rows": fingerprint}, indent=2, ensure_ascii=False) + "\n"
        if self._path.exists() and self._path.read_text("utf-8") != self._content:
            raise ValueError(
                f"{self.folder} holds an unfinished training with other settings or other examples; "
                f"give the same to resume it, or delete the folder"
            )

    def restore(self, trainee: keras.Model) -> int:
        """Begin the folder, or load the checkpoint in it; the number of batches that the model has been trained on."""
        if not self._path.exists():
            write_whole(self._path, self._content)
        return self._checkpoint.restore(trainee)

    def keep_vocabulary(self, tokenizer: Tokenizer) -> None:
        """Write a learned vocabulary, so that a resumed training need not learn it again."""
        if self.vocabulary_path is not None and not self.vocabulary_path.exists():
            write_whole(self.vocabulary_path, tokenizer.files()["vocab.txt"].decode())

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """History and checkpoint."""
        # the history first: a row without a checkpoint is written again, a checkpoint without a row loses the score
        return [HistoryLog(self.history_path), self._checkpoint]

    def history(self) -> str:
        """The CSV of all epochs, those before an interruption included."""
        return self.history_path.read_text("utf-8") if self.history_path.exists() else ""

    def finish(self) -> None:
        """Remove the state of a training whose model is saved: each worker its own, the last one the folder."""
        self._checkpoint.path.unlink(missing_ok=True)
        if not list(self.folder.glob("*.weights.h5")):
            shutil.rmtree(self.folder, ignore_errors=True)


class _NothingKept(TrainingState):
    """Of a training whose model is not saved."""

    def __init__(self) -> None:
        self.folder, self.record = Path(os.devnull), ""
        self.best_path = self.vocabulary_path = None
        self.history_path = Path(os.devnull)

    def restore(self, trainee: keras.Model) -> int:
        return 0

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return []

    def finish(self) -> None:
        pass


NOTHING_KEPT = _NothingKept()
