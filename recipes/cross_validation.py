"""K-fold cross-validation: how far a score can be trusted."""

import dataclasses
import statistics
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from .fine_tune import FineTune, TrainingData
from .splits import fold_of_rows


@dataclass(frozen=True)
class CrossValidation:
    """The scores of each fold.

    Attributes:
        folds: for each fold, its scores by name.
    """

    folds: list[dict[str, float]]

    def mean(self, name: str) -> float:
        """Average of a score."""
        return statistics.fmean(fold[name] for fold in self.folds)

    def standard_deviation(self, name: str) -> float:
        """Standard deviation of a score from fold to fold."""
        return statistics.stdev(fold[name] for fold in self.folds)

    def __str__(self) -> str:
        table = Table(title=f"{len(self.folds)} folds")
        for column in ("score", "mean", "standard deviation", *(str(i + 1) for i in range(len(self.folds)))):
            table.add_column(column, justify="left" if column == "score" else "right")
        # a fold has fewer scores if it has no entities, or no questions without an answer
        for name in [name for name in self.folds[0] if all(name in fold for fold in self.folds)]:
            values = [self.mean(name), self.standard_deviation(name), *(fold[name] for fold in self.folds)]
            table.add_row(name, *(f"{value:.4f}" for value in values))
        console = Console(width=100, force_jupyter=False, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
        return capture.get().rstrip()


def cross_validate(recipe: FineTune, folds: int = 5) -> CrossValidation:
    """For each fold, fine-tune on the other folds and score on this one. Nothing is saved.

    Args:
        recipe: a fine-tuning recipe; its `validation` and `test` are not read. If its `start_from` was trained on these
            rows, the scores are too high, because the model has seen every fold.
        folds: number of parts of the training rows. Folds of labeled texts are stratified by label. Questions on the
            same context stay in one fold.

    Raises:
        ValueError: there are fewer than 2 folds, or more folds than rows (for questions: than contexts), or the pairs
            have no scores.

    Example:
        >>> print(cross_validate(Classify(start_from="…", train="train.tsv"), folds=5))  # doctest: +SKIP
    """
    if recipe.columns.label is None:
        raise ValueError("examples without labels or scores cannot be scored; give their column as label_column")
    recipe = dataclasses.replace(
        recipe, validation=None, validation_split=None, test=None, load_best=False, patience=None
    )
    if recipe.fast_dev_run:
        recipe = recipe.shortened()
    rows, labeled, _ = recipe.read_all()
    most, unit = len(rows), "examples"
    groups = rows.groups()
    if groups is not None:
        most, unit = len(set(groups)), "groups (such as contexts), which stay whole"
    if not 2 <= folds <= most:
        raise ValueError(f"folds={folds}; choose from 2 to {most}, the number of {unit}")
    fold_of = fold_of_rows(rows, folds, recipe.seed)
    scores = []
    for fold in range(folds):
        train, held_out = (rows.take(np.flatnonzero(side).tolist()) for side in (fold_of != fold, fold_of == fold))
        _, found = recipe.train_on(TrainingData(train, labeled, {"fold": held_out}), save_model=False)
        scores.append(found["fold"].scores)
    return CrossValidation(scores)
