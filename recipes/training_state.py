"""The state of an unfinished training on disk. It is deleted when the model is saved."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from keras_plm.models import load_tokenizer, tokenizer_settings
from keras_plm.text import Tokenizer
from keras_plm.training import Checkpoint, HistoryLog, is_chief, worker_name, write_whole

from .training_method import TrainingMethod

if TYPE_CHECKING:
    from .recipe import Recipe

_TOKENIZER = "tokenizer_settings.json"


def training_folder(save_to: str) -> Path:
    """The folder with the state of an unfinished training."""
    return Path(save_to).with_name(f"{Path(save_to).name}.training")


class TrainingState:
    """The folder `<save_to>.training`: the record of the recipe, this worker's checkpoint, history and best weights.

    Args:
        recipe: the recipe of the training.
        method: its training method.
        fingerprint: a hash of all examples.

    Raises:
        ValueError: the folder holds an unfinished training with other settings or other rows.
    """

    def __init__(self, recipe: "Recipe", method: TrainingMethod, fingerprint: str) -> None:
        self.folder = training_folder(recipe.model_folder)
        self.record = method.record(recipe)
        self._checkpoint = Checkpoint(self.folder / f"{worker_name()}.weights.h5")
        # each worker decides from its own history when to stop, so no shared disk is needed
        self.history_path = self.folder / ("history.csv" if is_chief() else f"{worker_name()}.history.csv")
        self.best_path: Path | None = self.folder / f"{worker_name()}.best.safetensors"
        self._path = self.folder / "recipe.json"
        self._content = json.dumps(json.loads(self.record) | {"rows": fingerprint}, indent=2, ensure_ascii=False) + "\n"
        if self._path.exists() and self._path.read_text("utf-8") != self._content:
            raise ValueError(
                f"{self.folder} holds an unfinished training with other settings or other examples; "
                f"use the same settings and examples to resume it, or delete the folder"
            )

    def restore(self, trainee: keras.Model) -> int:
        """Create the folder, or load its checkpoint. Returns the number of batches that were already trained on."""
        if not self._path.exists():
            write_whole(self._path, self._content)
        return self._checkpoint.restore(trainee)

    def keep_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Write a learned tokenizer, so that a resumed training does not have to learn it again."""
        settings = self.folder / _TOKENIZER
        if settings.exists():
            return
        for name, content in tokenizer.files().items():
            write_whole(self.folder / name, content)
        # the settings come last: if they exist, the other files are complete
        write_whole(settings, json.dumps(tokenizer_settings(tokenizer), ensure_ascii=False))

    def kept_tokenizer(self) -> Tokenizer | None:
        """The tokenizer that an interrupted training learned; None if there is none."""
        settings = self.folder / _TOKENIZER
        if not settings.exists():
            return None
        return load_tokenizer(json.loads(settings.read_text("utf-8")), lambda name: self.folder / name)

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """History and checkpoint."""
        # The history comes first. If a kill leaves a history row without its checkpoint, the row is written again.
        # A checkpoint without its row would lose the score.
        return [HistoryLog(self.history_path), self._checkpoint]

    def history(self) -> str:
        """The CSV of all epochs, including the epochs before an interruption."""
        return self.history_path.read_text("utf-8") if self.history_path.exists() else ""

    def finish(self) -> None:
        """Delete the state after the model was saved. Each worker deletes its checkpoint, the last one the folder."""
        self._checkpoint.path.unlink(missing_ok=True)
        if not list(self.folder.glob("*.weights.h5")):
            shutil.rmtree(self.folder, ignore_errors=True)


class _NothingKept(TrainingState):
    """The state of a training whose model is not saved: nothing is written."""

    def __init__(self) -> None:
        self.folder, self.record = Path(os.devnull), ""
        self.best_path = None
        self.history_path = Path(os.devnull)

    def restore(self, trainee: keras.Model) -> int:
        return 0

    def keep_tokenizer(self, tokenizer: Tokenizer) -> None:
        pass

    def kept_tokenizer(self) -> None:
        return None

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return []

    def finish(self) -> None:
        pass


NOTHING_KEPT = _NothingKept()
