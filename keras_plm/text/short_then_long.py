from dataclasses import dataclass

import tensorflow as tf

from .streamed_rows import Rows


@dataclass(frozen=True)
class ShortThenLong:
    """Short rows for the first steps of a training, and long rows for the others.

    Attention to a long row is expensive, and most of what a model learns does not need it.

    Attributes:
        short: the rows of the first phase.
        long: the rows of the second phase.
        short_steps: number of steps of the first phase.

    Source: Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805
    """

    short: Rows
    long: Rows
    short_steps: int

    def __len__(self) -> int:
        return len(self.long)

    def training_dataset(self, batch_size: int, num_steps: int, first_step: int = 0, seed: int = 0) -> tf.data.Dataset:
        """Batches of shuffled rows; each batch is a function of (seed, step).

        Args:
            batch_size: rows per batch, in both phases.
            num_steps: the dataset ends before this step.
            first_step: the dataset begins at this step. Its batches are the same as in a dataset that starts at 0.
            seed: random seed of the order, and of what the rows draw.
        """
        border = self.short_steps
        if num_steps <= border:
            return self.short.training_dataset(batch_size, num_steps, first_step, seed)
        long = self.long.training_dataset(batch_size, num_steps - border, max(first_step - border, 0), seed)
        if first_step >= border:
            return long
        return self.short.training_dataset(batch_size, border, first_step, seed).concatenate(long)
