import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from keras_plm.text import ShortThenLong
from keras_plm.text.datasets import in_parts
from keras_plm.text.streamed_rows import Rows

if TYPE_CHECKING:
    from .pretraining_recipe import PretrainingRecipe


@dataclass(frozen=True)
class TrainingBatches:
    """How many batches a pre-training has, and which rows are in each of them.

    A batch is a function of the seed and its number, so a resumed training sees the same ones.

    Attributes:
        epochs: number of epochs of `fit`; each ends with a checkpoint.
        steps: batches of an epoch.
        size: rows of a batch, on all devices together.
        parts: number of batches that make one optimizer step. Together they are one large batch.
        short_updates: number of optimizer steps with short rows, at the beginning; 0 if all rows are long.
        seed: random seed of the order, and of what the rows draw.
    """

    epochs: int
    steps: int
    size: int
    parts: int
    short_updates: int
    seed: int

    @classmethod
    def of(cls, recipe: "PretrainingRecipe[Any]") -> "TrainingBatches":
        """The batches of a recipe: at least `steps`, in epochs of the same length, of at most `checkpoint_every`."""
        parts = recipe.gradient_accumulation_steps
        epochs = -(-recipe.steps // recipe.checkpoint_every)
        unit = math.lcm(parts, recipe.steps_per_execution)
        steps = -(-recipe.steps // epochs // unit) * unit
        short = 0
        if recipe.short_length is not None:  # both phases have at least one optimizer step
            updates = epochs * steps // parts
            short = min(max(round(recipe.short_share * updates), 1), updates - 1)
        return cls(epochs, steps, recipe.batch_size, parts, short, recipe.seed)

    def __len__(self) -> int:
        return self.epochs * self.steps

    @property
    def updates(self) -> int:
        """Number of optimizer steps."""
        return len(self) // self.parts

    @property
    def num_short(self) -> int:
        """Number of batches with short rows."""
        return self.short_updates * self.parts

    def of_rows(self, rows: Rows, left_out: Callable[[int], int]) -> Callable[[int], tf.data.Dataset]:
        """A function that returns a dataset of all batches from one on.

        Args:
            rows: all rows.
            left_out: the number of batches that a rewound training leaves out before a batch.
        """

        def batches(first: int) -> tf.data.Dataset:
            all_rows = rows
            if isinstance(rows, ShortThenLong):  # the first phase is as long as without the batches that are left out
                inside = self._updates_of(left_out(min(first, self.num_short - 1)))
                all_rows = replace(rows, short_steps=self.short_updates + inside)
            skipped = self._updates_of(left_out(first))
            large = all_rows.training_dataset(
                self.size * self.parts, self.updates + skipped, first // self.parts + skipped, self.seed
            )
            return in_parts(large, self.parts).skip(first % self.parts)

        return batches

    def _updates_of(self, batches: int) -> int:
        return -(-batches // self.parts)
