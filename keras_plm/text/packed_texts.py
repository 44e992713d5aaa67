from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from .datasets import in_parts, ready, shuffled_rows

_NONE = -1


class PackedTexts:
    """Texts in rows of fixed length for causal language modeling: short texts share a row, long texts fill several.

    A text of n tokens has n - 1 inputs, each with the next token as its target. Each input is in exactly one row.

        texts         a b c    d e
        token_ids     a  b  d  ·
        padding_mask  1  1  2  0       the number of the text in its row
        targets       b  c  e  ·

    Args:
        texts: token ids of each text, with its special tokens. Texts of one token have no target and are left out.
        length: T, length of a row.
        counted: for each text, whether each token counts as a target in the loss; None means that all count.

    Attributes:
        num_targets: number of targets that count.

    Raises:
        ValueError: a `length` below 1, or no text with a target that counts.

    Source: packing: Raffel et al. 2020, §2.2, https://arxiv.org/abs/1910.10683; separate attention: Krell et al. 2021,
        §3.2, https://arxiv.org/abs/2107.02027
    Differs: longest parts first, each into the row with the least remaining room that has enough (best fit).
    """

    def __init__(
        self, texts: Sequence[Sequence[int] | np.ndarray], length: int, counted: Sequence[Sequence[bool]] | None = None
    ) -> None:
        if length < 1:
            raise ValueError(f"length={length}; it must be at least 1")
        kept = [i for i, text in enumerate(texts) if len(text) > 1]
        lengths = np.array([len(texts[i]) for i in kept], np.int64)
        tokens = np.concatenate([np.asarray(texts[i], "int32") for i in kept] or [np.zeros(0, "int32")])
        counts = np.ones(len(tokens), bool)
        if counted is not None:
            counts = np.concatenate([np.asarray(counted[i], bool) for i in kept] or [counts])
        starts = np.cumsum(lengths) - lengths
        parts = [
            (int(start + offset), int(min(length, size - 1 - offset)))
            for start, size in zip(starts, lengths, strict=True)
            for offset in range(0, int(size) - 1, length)
        ]
        self.rows = best_fit([size for _, size in parts], length)
        self.length = length
        # index of each input in `tokens`, and the number of its text in the row
        self._places = np.full((len(self.rows), length), _NONE, "int32")
        self._numbers = np.zeros((len(self.rows), length), "int32")
        for row, members in enumerate(self.rows):
            at = 0
            for number, part in enumerate(members, start=1):
                start, size = parts[part]
                self._places[row, at : at + size] = np.arange(start, start + size)
                self._numbers[row, at : at + size] = number
                at += size
        self._tokens, self._counts = tokens, counts
        self.num_targets = int(counts[self._places[self._places != _NONE] + 1].sum())
        if not self.num_targets:
            raise ValueError("no text has a token to predict")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def share_of_padding(self) -> float:
        """Fraction of all positions that are padding."""
        return float((self._places == _NONE).mean())

    def num_steps(self, batch_size: int) -> int:
        """Number of batches of one epoch; the last batch may be smaller."""
        return -(-len(self) // batch_size)

    def training_dataset(self, batch_size: int, num_steps: int, first_step: int = 0, seed: int = 0) -> tf.data.Dataset:
        """Batches of shuffled rows; each batch is a function of (seed, step).

        Args:
            batch_size: rows per batch, summed over all replicas.
            num_steps: the dataset ends before this step.
            first_step: the dataset begins at this step. Its batches are the same as in a dataset that starts at 0.
            seed: random seed of the order; each epoch has another order.

        Returns:
            Dataset of (inputs, targets, weights): inputs are `token_ids` and `padding_mask`, (B, T) int32; targets are
            (B, T) int32; weights are (B, T) float32, scaled so that Keras' mean over B·T is the mean over the targets
            of all replicas together.
        """

        def make(step: tf.Tensor) -> Any:
            return self._batch(shuffled_rows(step, batch_size, len(self), seed))

        return ready(tf.data.Dataset.range(first_step, num_steps).map(make, num_parallel_calls=tf.data.AUTOTUNE))

    def evaluation_dataset(self, batch_size: int) -> tf.data.Dataset:
        """All rows once, in order; as in `training_dataset`, but weights are 1 for each target that counts."""
        total = len(self)

        def make(step: tf.Tensor) -> Any:
            index = tf.range(step * batch_size, tf.minimum((step + 1) * batch_size, total))
            return self._batch(index, scaled=False)

        return ready(tf.data.Dataset.range(self.num_steps(batch_size)).map(make, num_parallel_calls=tf.data.AUTOTUNE))

    def _batch(self, index: tf.Tensor, scaled: bool = True) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        places, numbers = tf.gather(self._places, index), tf.gather(self._numbers, index)
        inside = places != _NONE
        token_ids = tf.where(inside, tf.gather(self._tokens, tf.maximum(places, 0)), 0)
        following = tf.where(inside, places + 1, 0)
        targets = tf.where(inside, tf.gather(self._tokens, following), 0)
        weights = tf.cast(inside & tf.gather(self._counts, following), tf.float32)
        if scaled:
            weights *= tf.math.divide_no_nan(tf.cast(tf.size(weights), tf.float32), tf.reduce_sum(weights))
        return {"token_ids": token_ids, "padding_mask": numbers}, targets, weights


def best_fit(sizes: Sequence[int], length: int) -> list[list[int]]:
    """Distribute parts over rows. Returns the indices of the parts in each row."""
    # Rows with the same room are interchangeable, so there is one list of rows for each amount of room. The bits of
    # `available` tell which lists are not empty: finding the best fit takes one operation.
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(length + 1)]
    available = 0  # bit r is set if a row has room r
    for part in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        size = sizes[part]
        fitting = available >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                available &= ~(1 << room)
        else:
            room, row = length, len(rows)
            rows.append([])
        rows[row].append(part)
        left = room - size
        if left:
            with_room[left].append(row)
            available |= 1 << left
    return rows


class PackedRows:
    """`PackedTexts` with the interface of `TextRows`, for fine-tuning. Longer texts are truncated.

    Args:
        texts: as in `PackedTexts`.
        counted: as in `PackedTexts`.
        max_length: T, length of a row, and the maximum number of targets of a text.

    Attributes:
        lengths: number of tokens of each text, at most `max_length` + 1; the last one is only a target.
        num_tokens: the same before truncation.
        num_truncated: number of longer texts.
    """

    def __init__(
        self, texts: Sequence[Sequence[int]], counted: Sequence[Sequence[bool]] | None, max_length: int
    ) -> None:
        self.num_tokens = np.array([len(text) for text in texts])
        self.lengths = np.minimum(self.num_tokens, max_length + 1)
        self.num_truncated = int((self.num_tokens > max_length + 1).sum())
        kept = slice(max_length + 1)
        flags = None if counted is None else [row[kept] for row in counted]
        self.packed = PackedTexts([text[kept] for text in texts], max_length, flags)

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self) -> "PackedRows":
        """These rows: all of them have the same length."""
        return self

    def num_steps(self, batch_size: int) -> int:
        """Number of batches of one epoch; a batch has `batch_size` rows of several texts."""
        return self.packed.num_steps(batch_size)

    def training_dataset(
        self, batch_size: int, epochs: int, seed: int = 0, gradient_accumulation_steps: int = 1
    ) -> tf.data.Dataset:
        """`epochs` shuffled passes; see `PackedTexts.training_dataset`.

        Args:
            batch_size: rows per batch, summed over all replicas.
            epochs: passes over the rows.
            seed: random seed of the order; each epoch has another order.
            gradient_accumulation_steps: number of batches whose averaged gradients make one step. Their tokens have
                the same weights as in one large batch.
        """
        parts = gradient_accumulation_steps
        steps = epochs * self.num_steps(batch_size)
        large = self.packed.training_dataset(batch_size * parts, -(-steps // parts), seed=seed)
        return in_parts(large, parts).take(steps)
