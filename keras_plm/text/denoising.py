"""Noise for the pre-training of encoder-decoders, which learn to restore the text."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import tensorflow as tf

from .datasets import ready, shuffled_rows
from .tokenizer import Tokenizer

Noise = Literal["spans", "infilling"]
SENTINEL = "<extra_id_{}>"  # stands for the n-th span in a text, as in T5
# the tokens that a new vocabulary needs: sentinels in T5's order, and a mask
SENTINELS = tuple(SENTINEL.format(number) for number in reversed(range(100)))
MASK = "<mask>"
_MEAN_LENGTH = 3  # tokens of a span
_UNUSED = 1 << 30


class NoiseSpans(NamedTuple):
    """The spans of each row that are noise, in order. Two spans are never adjacent.

    Attributes:
        gaps: (B, S) int32, number of kept tokens before the span; a very large number if the span is not used.
        ends: (B, S) int32, number of noise tokens in the spans up to this one.
    """

    gaps: tf.Tensor
    ends: tf.Tensor


class DenoisingRows:
    """Rows of a corpus for an encoder-decoder that restores their noise.

    The texts are joined, each with the token that ends it, and cut into rows of equal length. The noise is drawn anew
    for each batch.

        row          a b c d e f g
        spans        token_ids  a <0> d e <1> g eos      targets  <0> b c <1> f eos
        infilling    token_ids  a mask d e mask g eos    targets  a b c d e f g eos

    Args:
        texts: token ids of each text, without special tokens.
        tokenizer: knows the special tokens.
        start: token ids that the decoder reads before it writes, at least one.
        end: token ids that end a target.
        max_length: maximum number of tokens of what the encoder reads and of what the decoder reads.
        noise: "spans", or "infilling" with spans of all lengths, also without tokens.
        rate: fraction of the tokens that are noise, in (0, 1).

    Attributes:
        length: number of tokens of a row before the noise.
        num_tokens: number of tokens of all rows.

    Raises:
        ValueError: the vocabulary has no mask or too few sentinels, `max_length` is too short, or the texts have
            fewer tokens than a row; or `noise` is unknown.

    Source: spans: Raffel et al. 2020, §3.1.4, https://arxiv.org/abs/1910.10683; infilling: Lewis et al. 2020, §2.2,
        https://arxiv.org/abs/1910.13461
    Differs: from T5: a row need not begin with kept tokens and end with noise. From BART: sentences are not shuffled.
    """

    def __init__(
        self,
        texts: Sequence[Sequence[int] | np.ndarray],
        tokenizer: Tokenizer,
        start: Sequence[int],
        end: Sequence[int],
        max_length: int,
        noise: Noise = "spans",
        rate: float = 0.15,
    ) -> None:
        if noise not in get_args(Noise):
            raise ValueError(f"noise={noise!r}; choose one of {', '.join(get_args(Noise))}")
        before, after = tokenizer.ids_around
        self._before, self._after, self._start, self._end = list(before), list(after), list(start), list(end)
        self.noise, self.rate = noise, rate
        self.length = self._row_length(max_length)
        if self.length < 2:
            raise ValueError(f"max_length={max_length} leaves no room for a row of two tokens")
        ends = np.asarray(list(end or after), "int32")
        parts = [part for text in texts for part in (np.asarray(text, "int32"), ends)]
        joined = np.concatenate(parts or [np.zeros(0, "int32")])
        if len(joined) < self.length:
            raise ValueError(
                f"the texts have {len(joined):,} tokens, but a row has {self.length}: give more text, or a smaller "
                "max_length"
            )
        rows = len(joined) // self.length
        self.num_tokens = rows * self.length
        self._rows = tf.constant(joined[: self.num_tokens].reshape(rows, self.length))
        self._marks = tf.constant(self._mark_ids(tokenizer), tf.int32)

    def __len__(self) -> int:
        return int(self._rows.shape[0])

    def training_dataset(self, batch_size: int, num_steps: int, first_step: int = 0, seed: int = 0) -> tf.data.Dataset:
        """Batches of shuffled rows with noise; each batch is a function of (seed, step).

        Args:
            batch_size: rows per batch, summed over all replicas.
            num_steps: the dataset ends before this step.
            first_step: the dataset begins at this step. Its batches are the same as in a dataset that starts at 0.
            seed: random seed of the order and the noise.

        Returns:
            Dataset of (inputs, targets, weights) as from `SourceTargetRows`.
        """

        def make(step: tf.Tensor) -> Any:
            rows = tf.gather(self._rows, shuffled_rows(step, batch_size, len(self), seed))
            return self._batch(rows, tf.stack([tf.cast(seed, tf.int64), step]))

        return ready(tf.data.Dataset.range(first_step, num_steps).map(make, num_parallel_calls=tf.data.AUTOTUNE))

    def _batch(self, rows: tf.Tensor, seed: tf.Tensor) -> Any:
        spans = random_spans(seed, tf.shape(rows)[0], self.length, self._num_noise(self.length), self.noise)
        wanted = rows if self.noise == "infilling" else removed(rows, spans, self._marks)
        before, after, first, end = (
            _repeated(ids, rows) for ids in (self._before, self._after, self._start, self._end)
        )
        shown, mask = noised(tf.concat([rows, after], 1), spans, self._marks)
        targets, zeros = tf.concat([wanted, end], 1), tf.zeros_like(first)[:, 1:]
        weights = tf.concat([tf.zeros_like(zeros, tf.float32), tf.ones_like(targets, tf.float32)], 1)
        weights *= tf.cast(tf.size(weights), tf.float32) / tf.reduce_sum(weights)
        read = tf.concat([first, targets[:, :-1]], 1)
        inputs = {
            "token_ids": tf.concat([before, shown], 1),
            "padding_mask": tf.concat([tf.ones_like(before), mask], 1),
            "decoder_token_ids": read,
            "decoder_padding_mask": tf.ones_like(read),
        }
        return inputs, tf.concat([zeros, targets], 1), weights

    def _num_noise(self, length: int) -> int:
        return min(max(round(length * self.rate), 1), length - 1)

    def _row_length(self, max_length: int) -> int:
        """The longest row whose source and target fit."""
        around, ends = len(self._before) + len(self._after), len(self._start) + len(self._end) - 1
        if self.noise == "infilling":  # the target has the whole row; a span without tokens lengthens the source
            return max_length - max(around + 1, ends)

        def fits(length: int) -> bool:
            noise = self._num_noise(length)
            spans = num_spans(length, noise, self.noise)
            return length - noise + spans + around <= max_length and noise + spans + ends <= max_length

        return max((length for length in range(2, 4 * max_length) if fits(length)), default=0)

    def _mark_ids(self, tokenizer: Tokenizer) -> list[int]:
        """The token that stands for each span."""
        count = num_spans(self.length, self._num_noise(self.length), self.noise)
        if self.noise == "infilling":
            if tokenizer.special.mask is None:
                raise ValueError("noise='infilling' needs a vocabulary with a mask token")
            return [tokenizer.mask_id] * count
        known = set(tokenizer.vocabulary)
        missing = next((n for n in range(count) if SENTINEL.format(n) not in known), None)
        if missing == 0:
            raise ValueError(
                f"the vocabulary has no sentinels such as {SENTINEL.format(0)}: take noise='infilling', or a model "
                "with the vocabulary of T5"
            )
        if missing is not None:
            raise ValueError(
                f"noise='spans' needs {count} sentinels for rows of {self.length} tokens, but the vocabulary has no "
                f"{SENTINEL.format(missing)}: give a smaller max_length or noise_rate"
            )
        return [tokenizer.id(SENTINEL.format(n)) for n in range(count)]


def num_spans(length: int, num_noise: int, noise: Noise) -> int:
    """S, the number of spans of a row; with "infilling", the largest number."""
    if noise == "infilling":
        return min(-(-num_noise // 2), num_noise, length - num_noise + 1)
    return min(max(round(num_noise / _MEAN_LENGTH), 1), length - num_noise + 1)


def random_spans(seed: tf.Tensor, batch: tf.Tensor, length: int, num_noise: int, noise: Noise) -> NoiseSpans:
    """Draw the spans of rows.

    Args:
        seed: (2,) integers; equal seeds give equal spans.
        batch: B.
        length: number of tokens of a row.
        num_noise: number of noise tokens of a row. With "infilling" it is the largest number.
        noise: with "spans", the lengths are a random division of `num_noise`; with "infilling", they have a Poisson
            distribution with mean 3.
    """
    count, kept = num_spans(length, num_noise, noise), length - num_noise
    length_seed, gap_seed = tf.unstack(tf.random.split(seed, 2))
    if noise == "infilling":
        drawn = tf.random.stateless_poisson([batch, count], length_seed, float(_MEAN_LENGTH), tf.int32)
        # each span has a mark, so a row with many empty spans would grow: it grows by one token at most
        ends = tf.minimum(tf.maximum(tf.cumsum(drawn, axis=1), tf.range(count)), num_noise)
        used = tf.concat([tf.ones([batch, 1], tf.bool), ends[:, :-1] < num_noise], 1)
    else:
        borders = _distinct(length_seed, batch, count - 1, num_noise - 1) + 1
        ends = tf.concat([borders, tf.fill([batch, 1], num_noise)], 1)
        used = tf.ones([batch, count], tf.bool)
    # the number of spans does not depend on their place: the gaps of unused spans are left out before they are sorted
    gaps = tf.where(used, _distinct(gap_seed, batch, count, kept + 1, ordered=False), _UNUSED)
    return NoiseSpans(tf.sort(gaps, axis=1), ends)


def _distinct(seed: tf.Tensor, batch: tf.Tensor, count: int, limit: int, ordered: bool = True) -> tf.Tensor:
    """(B, count) int32: different numbers below `limit`."""
    found = tf.argsort(tf.random.stateless_uniform([batch, limit], seed), axis=1)[:, :count]
    return tf.sort(found, axis=1) if ordered else found


def noised(rows: tf.Tensor, spans: NoiseSpans, marks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Replace each span by its mark.

    Args:
        rows: (B, T) int32 tokens.
        spans: the spans.
        marks: (S,) int32, the token that stands for each span.

    Returns:
        (B, T') int32 tokens, and their mask: 0 after the last token of a row.
    """
    length, count = tf.shape(rows)[1], tf.shape(marks)[0]
    used = tf.cast(spans.gaps < _UNUSED, tf.int32)
    num_used = tf.reduce_sum(used, 1, keepdims=True)
    removed_tokens = tf.reduce_max(spans.ends * used, 1, keepdims=True)
    size = length - removed_tokens + num_used
    width = tf.reduce_max(size)
    place = tf.tile(tf.range(width)[None], [tf.shape(rows)[0], 1])
    at = spans.gaps + tf.range(count)  # places of the marks
    begun = tf.searchsorted(at, place, side="right")  # number of marks up to each place
    is_mark = tf.gather(at, tf.maximum(begun - 1, 0), batch_dims=1) == place
    hidden = tf.gather(tf.pad(spans.ends, [[0, 0], [1, 0]]), begun, batch_dims=1)  # noise tokens before the place
    tokens = tf.gather(rows, tf.clip_by_value(place - begun + hidden, 0, length - 1), batch_dims=1)
    tokens = tf.where(is_mark & (begun > 0), tf.gather(marks, tf.maximum(begun - 1, 0)), tokens)
    mask = tf.cast(place < size, tf.int32)
    return tokens * mask, mask


def removed(rows: tf.Tensor, spans: NoiseSpans, marks: tf.Tensor) -> tf.Tensor:
    """The tokens of each span behind its mark, (B, N + S) int32. All spans must be used."""
    before = tf.pad(spans.ends, [[0, 0], [1, 0]])[:, :-1]  # noise tokens before each span
    at = before + tf.range(tf.shape(marks)[0])
    width = tf.reduce_max(spans.ends) + tf.shape(marks)[0]
    place = tf.tile(tf.range(width)[None], [tf.shape(rows)[0], 1])
    span = tf.searchsorted(at, place, side="right") - 1
    is_mark = tf.gather(at, span, batch_dims=1) == place
    source = tf.gather(spans.gaps, span, batch_dims=1) + place - span - 1  # kept tokens + noise tokens before it
    tokens = tf.gather(rows, tf.clip_by_value(source, 0, tf.shape(rows)[1] - 1), batch_dims=1)
    return tf.where(is_mark, tf.gather(marks, span), tokens)


def _repeated(token_ids: Sequence[int], rows: tf.Tensor) -> tf.Tensor:
    """These tokens for each of the rows."""
    return tf.tile(tf.constant(token_ids, tf.int32, shape=(1, len(token_ids))), [tf.shape(rows)[0], 1])
