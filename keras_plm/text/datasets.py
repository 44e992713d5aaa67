"""Complete `tf.data` pipelines.

Each batch is a pure function of (seed, step). A resumed training can therefore start at any step, and each worker of
a distributed training can compute its own rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from .packing import Spans, pack, packed_length
from .tokenizer import Tokenizer


def shuffled_rows(step: tf.Tensor, batch_size: int, total: int, seed: int) -> tf.Tensor:
    """(B,) int64 indices of the rows of a batch, a function of (seed, step). Each epoch has another order.

    Args:
        step: int64 scalar, number of the batch.
        batch_size: B.
        total: number of rows.
        seed: random seed of the order.
    """
    number = step * batch_size + tf.range(batch_size, dtype=tf.int64)
    epoch = number // total
    # Each row has its own seed, because a batch may extend into the next epoch. The public wrapper of this operation,
    # tf.random.experimental.index_shuffle, fails with more than one seed (2.21).
    order_seed = tf.stack([epoch, tf.fill([batch_size], tf.constant(seed, tf.int64)), epoch], 1)
    return tf.raw_ops.RandomIndexShuffle(
        index=number % total,
        seed=tf.cast(order_seed, tf.int32),
        max_index=tf.constant(total - 1, tf.int64),
        rounds=4,
    )


@dataclass(frozen=True)
class TextRows:
    """Tokenized single texts or pairs, with their targets, as the source of batches.

    Attributes:
        tokenizer: the tokenizer of the tokens.
        first, second: rows of tokens; `second` is None for single texts.
        targets: a (rows, …) array, or a dict of several; None if there are no targets.
        max_length: longest row for the model, including special tokens.
        num_truncated: number of longer rows, which are truncated.
        weights: (rows,) float32, weight of each row in the loss; None for 1.
        token_labels: int32 labels of `first.tokens`, -1 for a token without a label; replaces `targets`.
        group: number of consecutive rows that stay together in training.
        num_tokens: number of tokens of each example, before truncation and splitting; None if equal to `lengths`.
        pad_to: number of tokens of all rows of a batch; None means the longest of them, rounded up.
    """

    tokenizer: Tokenizer
    first: Spans
    second: Spans | None
    targets: Any
    max_length: int
    lengths: np.ndarray
    num_truncated: int
    weights: np.ndarray | None = None
    token_labels: np.ndarray | None = None
    group: int = 1
    num_tokens: np.ndarray | None = None
    pad_to: int | None = None

    @classmethod
    def from_texts(
        cls,
        tokenizer: Tokenizer,
        first: Sequence[str],
        second: Sequence[str] | None = None,
        targets: Any = None,
        max_length: int = 128,
        weights: Any = None,
    ) -> "TextRows":
        """Tokenize texts, or pairs if `second` is given."""
        first_spans = tokenize_spans(tokenizer, first)
        second_spans = None if second is None else tokenize_spans(tokenizer, second)
        lengths = packed_length(
            tokenizer, first_spans.lengths, None if second_spans is None else second_spans.lengths
        ).numpy()
        return cls(
            tokenizer,
            first_spans,
            second_spans,
            targets if targets is None or isinstance(targets, dict) else np.asarray(targets),
            max_length,
            np.minimum(lengths, max_length),
            int((lengths > max_length).sum()),
            None if weights is None else np.asarray(weights, "float32"),
            num_tokens=lengths,
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self) -> "TextRows":
        """The same rows, all of them with `max_length` tokens."""
        return replace(self, pad_to=self.max_length)

    def num_steps(self, batch_size: int) -> int:
        """Number of batches of one epoch; the last batch may be smaller."""
        return -(-len(self) // batch_size)

    def training_dataset(
        self, batch_size: int, epochs: int, seed: int = 0, gradient_accumulation_steps: int = 1
    ) -> tf.data.Dataset:
        """`epochs` shuffled passes, in batches of rows of similar length.

        Every batch is full: the last batch of an epoch repeats rows of that epoch.

        Args:
            batch_size: rows per batch, summed over all replicas.
            epochs: passes over the rows.
            seed: random seed of the order; each epoch has another order.
            gradient_accumulation_steps: number of batches whose averaged gradients make one step. Their tokens have
                the same weights as in one large batch.
        """
        order = [self._epoch_order(batch_size, seed, epoch) for epoch in range(epochs)]
        return self._batches(np.concatenate(order), batch_size, gradient_accumulation_steps)

    def evaluation_dataset(self, batch_size: int) -> tuple[tf.data.Dataset, np.ndarray]:
        """One pass, sorted by length, and the index of the row at each position of it."""
        order = np.argsort(self.lengths, kind="stable")
        return self._batches(order, batch_size), order

    def _epoch_order(self, batch_size: int, seed: int, epoch: int) -> np.ndarray:
        """Row indices of an epoch: shuffled, sorted by length in pools of 50 batches, then shuffled by batch."""
        random = np.random.default_rng([seed, epoch])
        groups, size = len(self) // self.group, batch_size // self.group
        lengths = self.lengths.reshape(groups, self.group).max(1)
        order = random.permutation(groups)
        order = np.resize(order, self.num_steps(batch_size) * size)  # wraps around
        pools = [order[i : i + 50 * size] for i in range(0, len(order), 50 * size)]
        order = np.concatenate([p[np.argsort(lengths[p], kind="stable")] for p in pools])
        order = random.permutation(order.reshape(-1, size)).reshape(-1)
        return (order[:, None] * self.group + np.arange(self.group)).reshape(-1)

    def _batches(self, order: np.ndarray, batch_size: int, gradient_accumulation_steps: int = 1) -> tf.data.Dataset:
        rows = tf.constant(order)
        labeled = tf.constant(self._labeled_tokens(order, batch_size, gradient_accumulation_steps), tf.float32)
        parts = [part for part in (self.targets, self.weights) if part is not None]
        columns = tf.nest.map_structure(tf.constant, parts)

        def make(step: tf.Tensor) -> Any:
            index = rows[step * batch_size : (step + 1) * batch_size]
            second = None if self.second is None else self.second.take(index)
            first = self.first.take(index)
            inputs = pack(self.tokenizer, first, second, self.max_length, self.pad_to)
            if self.token_labels is not None:
                return inputs, *self._token_targets(first, tf.shape(inputs["token_ids"])[1], labeled[step])
            chosen = tf.nest.map_structure(lambda column: tf.gather(column, index), columns)
            return (inputs, *chosen) if chosen else inputs

        steps = tf.data.Dataset.range(-(-len(order) // batch_size))
        return ready(steps.map(make, num_parallel_calls=tf.data.AUTOTUNE))

    def _labeled_tokens(self, order: np.ndarray, batch_size: int, gradient_accumulation_steps: int) -> np.ndarray:
        """(batches,) mean number of labeled tokens over all batches that belong to the same optimizer step."""
        batches = -(-len(order) // batch_size)
        if self.token_labels is None:
            return np.zeros(batches)
        before = np.concatenate([[0], np.cumsum(self.token_labels >= 0)])
        starts = self.first.starts.numpy()
        kept = np.minimum(self.first.lengths.numpy(), self.max_length - self.tokenizer.template.num_special(pair=False))
        count = before[starts + kept] - before[starts]
        of_batch = np.add.reduceat(count[order], np.arange(0, len(order), batch_size))
        groups = np.arange(batches) // gradient_accumulation_steps
        return (np.bincount(groups, of_batch) / np.bincount(groups))[groups]

    def _token_targets(self, first: Spans, width: tf.Tensor, labeled_tokens: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """(B, T) labels, and weights scaled so that Keras' mean over B·T equals the mean over the labeled tokens."""
        before = self.tokenizer.template.num_before("A", pair=False)
        position = tf.range(width, dtype=tf.int64)[None, :] - before
        kept = tf.minimum(first.lengths, self.max_length - self.tokenizer.template.num_special(pair=False))[:, None]
        labels = first._replace(tokens=tf.concat([self.token_labels, [-1]], 0)).at(position)
        labeled = (position >= 0) & (position < kept) & (labels >= 0)
        weights = tf.cast(labeled, tf.float32)
        weights *= tf.math.divide_no_nan(tf.cast(tf.size(weights), tf.float32), labeled_tokens)
        return tf.where(labeled, labels, 0), weights


def tokenize_spans(tokenizer: Tokenizer, texts: Sequence[str]) -> Spans:
    """Tokenize texts into one flat array."""
    # in batches, because the ragged intermediate of a whole data set would be several times its size
    parts = [tokenizer(texts[i : i + 10_000]) for i in range(0, len(texts), 10_000)]
    return Spans.from_ragged(tf.concat(parts, 0) if len(parts) > 1 else parts[0])


def ready(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Shard by rows, not by files, in distributed training, and prefetch batches."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def in_parts(dataset: tf.data.Dataset, parts: int) -> tf.data.Dataset:
    """Divide each batch into smaller ones, for gradient accumulation. Their weights stay those of the large batch.

    Args:
        dataset: batches whose number of rows is a multiple of `parts`.
        parts: number of batches to make of each.
    """
    if parts == 1:
        return dataset

    def divided(value: tf.Tensor) -> tf.Tensor:
        rows = value.shape[0] // parts if value.shape[0] else None
        shape = tf.concat([[parts, tf.shape(value)[0] // parts], tf.shape(value)[1:]], 0)
        return tf.ensure_shape(tf.reshape(value, shape), (parts, rows, *value.shape[1:]))

    def divide(*batch: Any) -> tf.data.Dataset:
        tensors = tf.nest.map_structure(divided, batch)
        return tf.data.Dataset.range(parts).map(lambda i: tf.nest.map_structure(lambda value: value[i], tensors))

    return ready(dataset.flat_map(divide))
