"""The state of an unfinished training on disk. It is deleted when the model is saved."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from keras_plm.models import load_tokenizer, tokenizer_settings
from keras_plm.text import Tokenizer
from keras_plm.training import Checkpoint, Diverged, HistoryLog, is_chief, worker_name, write_whole
from keras_plm.training.checkpoint import of_all_workers

from .training_method import TrainingMethod

if TYPE_CHECKING:
    from .recipe import Recipe

_TOKENIZER = "tokenizer_settings.json"
_REWINDS = "rewinds.json"
_MOST_REWINDS = 5


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

    keeps_files = True

    def __init__(self, recipe: "Recipe", method: TrainingMethod, fingerprint: str) -> None:
        self.folder = training_folder(recipe.model_folder)
        self.record = method.record(recipe)
        self._checkpoint = Checkpoint(self.folder, worker_name())
        # each worker decides from its own history when to stop, so no shared disk is needed
        self.history_path = self.folder / ("history.csv" if is_chief() else f"{worker_name()}.history.csv")
        self.best_path: Path | None = self.folder / f"{worker_name()}.best.safetensors"
        self._strategy = tf.distribute.get_strategy()
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
        done = self._checkpoint.restore(trainee)
        self._write_left_out([(batch, count) for batch, count in self._left_out() if batch <= done])
        return done

    def begin(self, trainee: keras.Model) -> None:
        """Write a checkpoint of the model before its first batch, so that a training can always be rewound."""
        self._checkpoint.set_model(trainee)
        self._checkpoint.save()

    def rewind(self, trainee: keras.Model, problem: Diverged) -> int:
        """Load the checkpoint, and note that the batches from there to a divergence are left out from now on.

        Returns:
            The number of batches on which the restored model was trained.

        Raises:
            RuntimeError: the training was rewound too often.
        """
        done = self._checkpoint.restore(trainee, problem.since)
        left_out = [*self._left_out(), (done, problem.batches - done)]
        if len(left_out) > _MOST_REWINDS:
            raise RuntimeError(
                f"{problem}, after {_MOST_REWINDS} restarts from a checkpoint; delete {self.folder} and train with a "
                "lower learning rate"
            ) from None
        self._write_left_out(left_out)
        return done

    def num_left_out(self, done: int) -> int:
        """The number of batches that are left out before this one, because of a divergence."""
        return sum(count for batch, count in self._left_out() if batch <= done)

    def _left_out(self) -> list[tuple[int, int]]:
        path = self.folder / f"{worker_name()}.{_REWINDS}"
        return [(int(batch), int(count)) for batch, count in json.loads(path.read_text())] if path.exists() else []

    def _write_left_out(self, left_out: list[tuple[int, int]]) -> None:
        if left_out != self._left_out():
            write_whole(self.folder / f"{worker_name()}.{_REWINDS}", json.dumps(left_out))

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
        with self._strategy.scope():
            of_all_workers([0])  # the model is saved: the chief is here, too
        self._checkpoint.delete()
        if not list(self.folder.glob("*.*.*.safetensors")):
            shutil.rmtree(self.folder, ignore_errors=True)


class _NothingKept(TrainingState):
    """The state of a training whose model is not saved: nothing is written."""

    keeps_files = False

    def __init__(self) -> None:
        self.folder, self.record = Path(os.devnull), ""
        self.best_path = None
        self.history_path = Path(os.devnull)

    def restore(self, trainee: keras.Model) -> int:
        return 0

    def begin(self, trainee: keras.Model) -> None:
        pass

    def rewind(self, trainee: keras.Model, problem: Diverged) -> int:
        raise RuntimeError(f"{problem}; lower the learning rate") from None

    def num_left_out(self, done: int) -> int:
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
