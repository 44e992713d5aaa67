from typing import Any, NamedTuple

import tensorflow as tf

from .tokenizer import Tokenizer


class Spans(NamedTuple):
    """Rows of tokens as slices of one flat array. No row is copied before it is packed.

    Attributes:
        tokens: (any,) int32, all tokens; never empty.
        starts: (B,) int64, index of each row's first token.
        lengths: (B,) int64, number of its tokens.
    """

    tokens: tf.Tensor
    starts: tf.Tensor
    lengths: tf.Tensor

    @classmethod
    def from_ragged(cls, rows: Any) -> "Spans":
        """The spans of a RaggedTensor (B, None)."""
        tokens = tf.concat([rows.flat_values, [0]], 0)  # never empty, so that `at` can gather
        return cls(tokens, rows.row_starts(), rows.row_lengths())

    def take(self, index: tf.Tensor) -> "Spans":
        """The rows with these indices."""
        return Spans(self.tokens, tf.gather(self.starts, index), tf.gather(self.lengths, index))

    def shorten(self, lengths: tf.Tensor) -> "Spans":
        """The first `lengths` tokens of each row."""
        return Spans(self.tokens, self.starts, lengths)

    def at(self, positions: tf.Tensor) -> tf.Tensor:
        """(B, T) tokens at these positions of each row; a position outside the row returns an arbitrary token."""
        index = self.starts[:, None] + positions
        return tf.gather(self.tokens, tf.clip_by_value(index, 0, tf.size(self.tokens, tf.int64) - 1))


def packed_length(tokenizer: Tokenizer, first: tf.Tensor, second: tf.Tensor | None = None) -> tf.Tensor:
    """Number of tokens of a row, including special tokens, before truncation."""
    special = tokenizer.template.num_special(second is not None)
    return first + special if second is None else first + second + special


def pack(
    tokenizer: Tokenizer,
    first: Spans,
    second: Spans | None = None,
    max_length: int = 128,
    pad_to: int | None = None,
) -> dict[str, tf.Tensor]:
    """Make rows of tokens from the tokenizer's template, with segment ids and padding mask.

    For BERT:

        token_ids    [CLS] the  cat  sat [SEP] it  ran [SEP] [PAD]
        segment_ids     0    0    0    0    0   1    1     1    0
        padding_mask    1    1    1    1    1   1    1     1    0

    Args:
        tokenizer: defines the template and the ids of the special tokens.
        first: B rows of tokens.
        second: B rows of tokens, or None for single texts.
        max_length: maximum number of tokens of a row, including special tokens. If a pair is too long, its longer text
            is truncated first.
        pad_to: T; None means the longest row of the batch, but at most `max_length`. It is rounded up to a multiple of
            4 (up to 32 tokens) or of 8 (above).

    Returns:
        `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each.

    Raises:
        ValueError: `max_length` leaves no room for one token of each text.

    Source: Devlin et al. 2019, figure 2, https://arxiv.org/abs/1810.04805
    """
    template = tokenizer.template
    special = template.num_special(second is not None)
    if max_length < special + (1 if second is None else 2):
        raise ValueError(f"max_length={max_length} leaves no room for tokens in addition to the special tokens")
    if second is None:
        kept_first = tf.minimum(first.lengths, max_length - special)
        kept_second = tf.zeros_like(kept_first)
        length = packed_length(tokenizer, kept_first)
    else:
        room = max_length - special
        half = tf.constant(room // 2, tf.int64)
        kept_second = tf.minimum(second.lengths, tf.maximum(room - first.lengths, half))
        kept_first = tf.minimum(first.lengths, room - kept_second)
        length = packed_length(tokenizer, kept_first, kept_second)
    if pad_to is None:
        # Each width is compiled once, and each column of padding costs time, relatively more in short rows.
        longest = tf.reduce_max(tf.concat([length, [special]], 0))  # also defined for an empty batch
        unit = tf.where(longest <= 32, tf.constant(4, tf.int64), 8)
        width = tf.minimum((longest + unit - 1) // unit * unit, max_length)
    else:
        width = tf.constant(pad_to, tf.int64)

    position = tf.range(width)[None, :]
    ids = tf.fill([tf.size(first.lengths), tf.cast(width, tf.int32)], tokenizer.pad_id)
    segments = tf.zeros_like(ids)
    texts = {"A": (first, kept_first), "B": (second, kept_second)}
    start = tf.zeros_like(kept_first)
    for name, segment in template.parts(second is not None):
        rows, length_of = texts.get(name, (None, tf.ones_like(start)))
        end = start + length_of
        inside = (position >= start[:, None]) & (position < end[:, None])
        tokens = tokenizer.role_id(name) if rows is None else rows.at(position - start[:, None])
        ids = tf.where(inside, tokens, ids)
        segments = tf.where(inside, segment, segments) if segment else segments
        start = end
    packed = {
        "token_ids": ids,
        "segment_ids": segments,
        "padding_mask": tf.cast(position < length[:, None], tf.int32),
    }
    if pad_to is not None:
        packed = {name: tf.ensure_shape(value, (None, pad_to)) for name, value in packed.items()}
    return packed
