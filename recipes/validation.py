from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from keras_plm.evaluation import Evaluation
from keras_plm.models import named_weights, set_weights, write_tensors
from keras_plm.training import HistoryLog


class Validation(keras.callbacks.Callback):
    """Scores the model after each epoch, keeps the best weights, and does early stopping.

    The scores of earlier epochs are read from the history file. A resumed training therefore makes the same decisions
    as an uninterrupted one.

    Args:
        scored: the model to score. `fit` may be called on a larger model that contains it.
        score: returns the `Evaluation` of the model.
        history: the CSV file that `HistoryLog` writes.
        best: file for the weights of the best epoch; None keeps the weights of the last epoch.
        patience: early stopping after this number of epochs without a better score; None for no early stopping.
        averaged: the optimizer keeps an exponential moving average of the weights, and this average is scored.
        verbose: print one line per epoch.
    """

    def __init__(
        self,
        scored: keras.Model,
        score: Callable[[], Evaluation],
        history: Path,
        best: Path | None = None,
        patience: int | None = None,
        averaged: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__()
        self.scored = scored
        self.score = score
        self.history = history
        self.best = best
        self.patience = patience
        self.averaged = averaged
        self.console = Console(quiet=not verbose, soft_wrap=True, highlight=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add `val_…` to the logs; write the weights if they are the best so far."""
        swap = keras.callbacks.SwapEMAWeights() if self.averaged else None
        if swap is not None:
            swap.set_model(self.model)
            swap.on_test_begin()
        evaluation = self.score()
        found = {f"val_{name}": value for name, value in evaluation.scores.items()}
        if logs is not None:
            logs.update(found)
        scores = [*past_scores(self.history, f"val_{evaluation.main}", epoch), evaluation.scores[evaluation.main]]
        is_best = scores[-1] > max(scores[:-1], default=float("-inf"))
        if self.best is not None and is_best:
            self.best.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.best.with_name(f"new.{self.best.name}")
            write_tensors(
                {path: keras.ops.convert_to_numpy(w) for path, w in named_weights(self.scored).items()}, temporary
            )
            temporary.replace(self.best)
        if swap is not None:
            swap.on_test_end()
        line = "  ".join(f"{name} {value:.4f}" for name, value in found.items())
        self.console.print(f"epoch {epoch + 1}: {line}{'  (best)' if is_best and self.best else ''}", markup=False)
        if self.patience is not None and exhausted(scores, self.patience):
            self.model.stop_training = True

    def restore_best(self) -> None:
        """Load the weights of the best epoch into the model, if they were kept."""
        if self.best is not None and self.best.exists():
            set_weights(self.scored, self.best)


def past_scores(history: Path, name: str, before: int) -> list[float]:
    """The scores of all epochs in the history with a number below `before`."""
    return [float(row[name]) for row in HistoryLog.read(history) if int(row["epoch"]) < before and row.get(name)]


def ended_early(history: Path, epochs: int, patience: int) -> bool:
    """Whether the training with this history was stopped early, before it was interrupted while saving."""
    if not history.exists():
        return False
    names = [name for name in history.read_text("utf-8").split("\n", 1)[0].split(",") if name.startswith("val_")]
    return bool(names) and exhausted(past_scores(history, names[0], epochs), patience)


def exhausted(scores: list[float], patience: int) -> bool:
    """Whether none of the last `patience` scores is better than the best score before them."""
    best = max(range(len(scores)), key=lambda i: (scores[i], -i), default=0)
    return len(scores) - 1 - best >= patience
