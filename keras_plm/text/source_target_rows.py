import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from .datasets import ready
from .packing import Spans


class SourceTargetRows:
    """Sources with their targets for an encoder-decoder, in batches with about the same number of tokens.

    Rows of similar length share a batch. There are few widths, and all batches of a width have the same number of rows,
    because XLA compiles each shape separately, in about a second.

        source      a b c eos        token_ids           a b c eos
        target      x y eos          decoder_token_ids   start x y
                                     targets             x y eos

    Args:
        sources: token ids of each source, with its special tokens.
        targets: token ids of each target, with the token that ends it.
        start: token ids that the decoder reads before it writes, at least one.
        max_length: maximum number of tokens of a source, and of the start tokens with a target. Longer targets are
            truncated. Longer sources are an error, because they would lose the token that ends them.
        num_tokens: number of tokens of each source before truncation; None if no source was truncated.

    Attributes:
        lengths: number of tokens of each row: of its source, or of its target if that is longer.
        num_tokens: the same before truncation.
        num_truncated: number of rows whose source or target was truncated.

    Raises:
        ValueError: no start token, or a source that is too long.

    Source: batches with the same number of tokens: Vaswani et al. 2017, §5.1, https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        start: Sequence[int],
        max_length: int,
        num_tokens: Sequence[int] | None = None,
    ) -> None:
        if not start:
            raise ValueError("the decoder has no start tokens, so it has nothing to begin with")
        room = max_length - len(start) + 1  # the last target is not read
        read = np.array([len(ids) for ids in sources])
        if (read > max_length).any():
            raise ValueError(f"a source has {read.max()} tokens; the longest row has {max_length}")
        whole, wanted = np.array([len(ids) for ids in targets]), [ids[:room] for ids in targets]
        self.max_length = max_length
        self.is_padded = False
        self.start, self.written = list(start), np.minimum(whole, room)
        self.lengths = np.maximum(read, self.written + len(start) - 1)
        before = read if num_tokens is None else np.asarray(num_tokens)
        self.num_tokens = np.maximum(before, whole + len(start) - 1)
        self.num_truncated = int(((before > read) | (whole > room)).sum())
        self._tokens = read + self.written
        self._sources, self._targets = _spans(sources), _spans(wanted)

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self) -> "SourceTargetRows":
        """The same rows, all of them with `max_length` tokens, and the same number of rows in each batch."""
        rows = copy.copy(self)
        rows.is_padded = True
        return rows

    def num_steps(self, batch_size: int) -> int:
        """Number of batches of one epoch."""
        return len(self._epoch(batch_size, 0, 0)[0])

    def training_dataset(
        self, batch_size: int, epochs: int, seed: int = 0, gradient_accumulation_steps: int = 1
    ) -> tf.data.Dataset:
        """`epochs` shuffled passes, in batches of rows of similar length.

        Args:
            batch_size: mean number of rows per batch, summed over all replicas. A batch of short rows has more rows,
                and a batch of long rows has fewer.
            epochs: passes over the rows.
            seed: random seed of the order; each epoch has another order.
            gradient_accumulation_steps: number of batches whose averaged gradients make one step. Their tokens have
                the same weights as in one large batch.

        Returns:
            Dataset of (inputs, targets, weights): inputs are `token_ids` and `padding_mask` (B, S), `decoder_token_ids`
            and `decoder_padding_mask` (B, T) int32; targets are (B, T) int32; weights are (B, T) float32, scaled so
            that Keras' mean over B·T is the mean over the targets of all replicas together.
        """
        found = [self._epoch(batch_size, seed, epoch) for epoch in range(epochs)]
        batches = [batch for rows, _ in found for batch in rows]
        count = np.array([self.written[batch].sum() for batch in batches], "float64")
        groups = np.arange(len(batches)) // gradient_accumulation_steps
        means = (np.bincount(groups, count) / np.bincount(groups))[groups]
        return self._dataset(batches, np.concatenate([widths for _, widths in found]), means)

    def evaluation_dataset(self, batch_size: int) -> tuple[tf.data.Dataset, list[np.ndarray]]:
        """One pass, the longest rows first, and the rows of each batch; the weights are 1 for each target."""
        order = np.argsort(-self.lengths, kind="stable")
        batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        return self._dataset(batches, np.array([self.lengths[batch].max() for batch in batches])), batches

    def _epoch(self, batch_size: int, seed: int, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """The rows of each batch and its width. Rows that do not fill a batch move on to a wider one."""
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        random = np.random.default_rng([seed, epoch])
        order, width_of = random.permutation(len(self)), np.minimum(_widths(self.lengths), self.max_length)
        if self.is_padded:
            width_of = np.full_like(width_of, self.max_length)
        batches, widths, left = [], [], order[:0]
        for width in np.unique(width_of):
            members = np.concatenate([left, order[width_of[order] == width]])
            count = max(round(batch_size * width_of.mean() / width / devices), 1) * devices
            whole = len(members) // count * count
            batches += list(members[:whole].reshape(-1, count))
            widths += [width] * (whole // count)
            left = members[whole:]
        if len(left):
            # all devices get as many rows; padded batches all have as many
            unit = max(round(batch_size / devices), 1) * devices if self.is_padded else devices
            left = np.concatenate([left, np.resize(order, -len(left) % unit)])
            batches, widths = [*batches, left], [*widths, int(width_of.max())]
        shuffled = random.permutation(len(batches))
        return [batches[i] for i in shuffled], np.array(widths)[shuffled]

    def _dataset(
        self, batches: list[np.ndarray], widths: np.ndarray, targets_per_batch: np.ndarray | None = None
    ) -> tf.data.Dataset:
        rows = tf.constant(np.concatenate(batches), tf.int64)
        borders = tf.constant(np.cumsum([0, *map(len, batches)]), tf.int64)
        sizes = tf.constant(widths, tf.int64)
        means = None if targets_per_batch is None else tf.constant(targets_per_batch, tf.float32)

        def make(step: tf.Tensor) -> Any:
            index = rows[borders[step] : borders[step + 1]]
            width = sizes[step]
            source, source_mask = _padded(self._sources.take(index), width)
            target, target_mask = _padded(self._targets.take(index), width - len(self.start) + 1)
            first = tf.tile(tf.constant([self.start], tf.int32), [tf.size(index), 1])
            zeros = tf.zeros_like(first)[:, 1:]
            wanted = tf.concat([zeros, target], 1)
            weights = tf.cast(tf.concat([zeros, target_mask], 1), tf.float32)
            if means is not None:
                weights *= tf.cast(tf.size(weights), tf.float32) / means[step]
            inputs = {
                "token_ids": source,
                "padding_mask": source_mask,
                "decoder_token_ids": tf.concat([first, target[:, :-1]], 1),
                "decoder_padding_mask": tf.concat([tf.ones_like(first), target_mask[:, 1:]], 1),
            }
            return inputs, wanted, weights

        steps = tf.data.Dataset.range(len(batches))
        return ready(steps.map(make, num_parallel_calls=tf.data.AUTOTUNE))


def _spans(rows: Sequence[Sequence[int]]) -> Spans:
    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.concatenate([np.asarray(row, "int32") for row in rows] + [np.zeros(1, "int32")])
    return Spans(tf.constant(tokens), tf.constant(np.cumsum(lengths) - lengths), tf.constant(lengths))


def _padded(spans: Spans, width: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(B, T) int32 tokens, 0 at padding, and their mask."""
    mask = tf.sequence_mask(spans.lengths, width, tf.int32)
    return spans.at(tf.range(width)[None]) * mask, mask


def _widths(lengths: np.ndarray) -> np.ndarray:
    """The lengths, rounded up to multiples of 8 (up to 64 tokens), 16 (up to 128), 32 (up to 256) and so on."""
    unit = np.maximum(8, 2 ** np.ceil(np.log2(np.maximum(lengths, 1))).astype(int) // 8)
    return -(-lengths // unit) * unit
