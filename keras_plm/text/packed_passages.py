from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from .datasets import ready, shuffled_rows
from .masking import mask_tokens
from .next_sentence_pairs import SentencePairs
from .packed_texts import best_fit
from .packing import Spans, pack, packed_length
from .tokenizer import Tokenizer

_DRAWN_AT_ONCE = 100_000  # passages


@dataclass(frozen=True)
class PackedPassages:
    """Rows with several passages for masked-token and next-sentence pre-training. No passage sees another.

        padding_mask     1     1   1    1   2    2   2    2   2    0       the number of the passage
        token_ids      [CLS]  the cat [SEP] [CLS] a dog sleeps [SEP] ·
        position_ids     0     1   2    3   0    1   2    3   4    0

    Attributes:
        pairs: the source of the passages.
        tokenizer: the tokenizer of their tokens.
        mask_rate: fraction of tokens to predict.
        whole_word: whole-word masking.
        next_sentence: True: pairs of texts with their labels; False: single texts.

    Source: Krell et al. 2021, §3, https://arxiv.org/abs/2107.02027
    Differs: longest passages first, each into the row with the least remaining room that has enough (best fit).
    """

    pairs: SentencePairs
    tokenizer: Tokenizer
    mask_rate: float = 0.15
    whole_word: bool = True
    next_sentence: bool = True

    @property
    def length(self) -> int:
        """T, the length of a row."""
        return self.pairs.max_tokens + self.tokenizer.template.num_special(pair=True)

    def __len__(self) -> int:
        return len(self._packed(0)[1])

    def share_of_padding(self, packed: bool = True) -> float:
        """Fraction of all positions that are padding, with several passages in a row or with one."""
        passages, rows = self._packed(0)
        real = sum(self._sizes(passages))
        return 1 - real / (self.length * (len(rows) if packed else len(self.pairs)))

    def training_dataset(self, batch_size: int, num_steps: int, first_step: int = 0, seed: int = 0) -> tf.data.Dataset:
        """Batches of shuffled rows with masked tokens; each batch is a function of (seed, step).

        All epochs of a dataset have the same passages in each row, only other masks; see `Epochs` for other passages.

        Args:
            batch_size: B, rows per batch, summed over all replicas.
            num_steps: the dataset ends before this step.
            first_step: the dataset begins at this step. Its batches are the same as in a dataset that starts at 0.
            seed: random seed of the pairs, the order and the masks.

        Returns:
            Dataset of (inputs, labels, weights) for a `PackedPretrainer`: inputs are `token_ids`, `segment_ids`,
            `padding_mask` with the number of the passage, `position_ids`, (B, T) int32 each, `mask_positions` (B, P)
            and `first_positions` (B, S), the first token of each passage. Labels and weights have `masked_tokens`
            (B, P) and `next_sentence` (B, S). The weights are scaled to an average of 1 over the batch.
        """
        (first, second, is_next), rows = self._packed(seed)
        members = tf.ragged.constant(rows, tf.int64, ragged_rank=1, row_splits_dtype=tf.int64)
        num_positions = int(np.ceil(self.length * self.mask_rate))

        def make(step: tf.Tensor) -> Any:
            chosen = tf.gather(members, shuffled_rows(step, batch_size, len(rows), seed))
            index = chosen.flat_values
            inputs = self._joined(first.take(index), None if second is None else second.take(index), chosen)
            mask_seed = tf.stack([tf.constant(seed, tf.int64), step])
            numbers, starts = inputs["padding_mask"], inputs.pop("first_positions")
            inputs["padding_mask"] = tf.cast(numbers > 0, tf.int32)
            inputs, masked_tokens, weights = mask_tokens(
                self.tokenizer, inputs, mask_seed, num_positions, self.mask_rate, self.whole_word
            )
            inputs |= {"padding_mask": numbers, "first_positions": starts}
            labels, label_weights = {"masked_tokens": masked_tokens}, {"masked_tokens": _scaled(weights)}
            if self.next_sentence:
                labels["next_sentence"] = chosen.with_flat_values(tf.gather(is_next, index)).to_tensor()
                present = tf.sequence_mask(chosen.row_lengths(), dtype=tf.float32)
                label_weights["next_sentence"] = _scaled(present)
            return inputs, labels, label_weights

        return ready(tf.data.Dataset.range(first_step, num_steps).map(make, num_parallel_calls=tf.data.AUTOTUNE))

    def _packed(self, seed: int) -> tuple[tuple[Spans, Spans | None, tf.Tensor], list[list[int]]]:
        """All passages, drawn with this seed, and the numbers of the passages in each row."""
        passages = self._drawn(seed)
        return passages, best_fit(self._sizes(passages).tolist(), self.length)

    def _drawn(self, seed: int) -> tuple[Spans, Spans | None, tf.Tensor]:
        parts = []
        for begin in range(0, len(self.pairs), _DRAWN_AT_ONCE):
            index = tf.range(begin, min(begin + _DRAWN_AT_ONCE, len(self.pairs)), dtype=tf.int64)
            key = tf.constant([seed, begin], tf.int64)
            parts.append(self.pairs.draw(index, key) if self.next_sentence else self.pairs.texts(index, key))
        first, second, is_next = zip(*parts, strict=True)
        return _concatenated(first), None if second[0] is None else _concatenated(second), tf.concat(is_next, 0)

    def _sizes(self, passages: tuple[Spans, Spans | None, tf.Tensor]) -> np.ndarray:
        first, second, _ = passages
        lengths = packed_length(self.tokenizer, first.lengths, None if second is None else second.lengths)
        return np.minimum(lengths.numpy(), self.length)

    def _joined(self, first: Spans, second: Spans | None, members: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """The passages of each row, one after the other."""
        packed = pack(self.tokenizer, first, second, self.length)
        real = packed["padding_mask"] > 0
        sizes = tf.reduce_sum(packed["padding_mask"], 1)
        number = tf.ragged.range(members.row_lengths()).flat_values[:, None] + 1
        packed["padding_mask"] *= tf.cast(number, tf.int32)
        packed["position_ids"] = tf.broadcast_to(tf.range(tf.shape(real)[1]), tf.shape(real))
        of_row = members.with_flat_values(sizes)
        lengths = tf.reduce_sum(of_row, 1)
        starts = tf.cumsum(of_row.to_tensor(), axis=1, exclusive=True)

        def row(value: tf.Tensor) -> tf.Tensor:
            flat = tf.RaggedTensor.from_row_lengths(tf.boolean_mask(value, real), lengths, validate=False)
            return tf.ensure_shape(flat.to_tensor(0, shape=(None, self.length)), (None, self.length))

        joined = {name: row(tf.cast(value, tf.int32)) for name, value in packed.items()}
        present = tf.sequence_mask(members.row_lengths())
        return joined | {"first_positions": tf.where(present, starts, 0)}


def _concatenated(spans: Any) -> Spans:
    """Spans of the same tokens as one."""
    return Spans(
        spans[0].tokens,
        tf.concat([span.starts for span in spans], 0),
        tf.concat([span.lengths for span in spans], 0),
    )


def _scaled(weights: tf.Tensor) -> tf.Tensor:
    return weights * tf.math.divide_no_nan(tf.cast(tf.size(weights), tf.float32), tf.reduce_sum(weights))
