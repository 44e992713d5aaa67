"""Labels of words ↔ labels of tokens. The label of a word is at its first token."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from .datasets import TextRows, tokenize_spans
from .packing import Spans
from .tokenizer import Tokenizer


@dataclass(frozen=True)
class WordRows:
    """Sentences of words as rows of tokens for a tagger. A sentence that is too long becomes several rows.

        words     [CLS] Angela  Merkel       visited  [SEP]
        tokens    [CLS] angela  merk ##el    visited  [SEP]
        labels      –   B-PER  I-PER  –         O       –

    Attributes:
        rows: the tokens, with the labels if they were given.
        sentence: (rows,) the sentence of each row.
        first_word: (rows,) the first word whose label is read from each row; words are numbered over all sentences.
            Rows of a long sentence overlap, and each word is read from the row in which it has more context.
        last_word: (rows,) the end of these words (exclusive).
        position: (words,) the position of each word's first token among all tokens.
        num_words: (sentences,) number of words of each sentence.
    """

    rows: TextRows
    sentence: np.ndarray
    first_word: np.ndarray
    last_word: np.ndarray
    position: np.ndarray
    num_words: np.ndarray

    @classmethod
    def from_words(
        cls,
        tokenizer: Tokenizer,
        sentences: Sequence[Sequence[str]],
        labels: Sequence[Sequence[int]] | None = None,
        max_length: int = 128,
    ) -> "WordRows":
        """Tokenize each word separately.

        A word for which the tokenizer returns nothing (a space, a control character) becomes one unknown token. A word
        that is longer than a row is truncated.

        Args:
            tokenizer: the tokenizer of the model.
            sentences: the words of each sentence.
            labels: the label of each word, for training. With labels, the rows of a long sentence do not overlap.
            max_length: longest row in tokens, including special tokens.

        Raises:
            ValueError: `max_length` leaves no room for a token.
        """
        room = max_length - tokenizer.template.num_special(pair=False)
        if room < 1:
            raise ValueError(f"max_length={max_length} leaves no room for a token between [CLS] and [SEP]")
        pieces, lengths = _pieces(tokenizer, [word for words in sentences for word in words], room)
        position = np.cumsum(lengths) - lengths
        num_words = np.array([len(words) for words in sentences], "int64")
        windows = []
        begin = 0
        for sentence, count in enumerate(num_words):
            ends = position[begin : begin + count] + lengths[begin : begin + count]
            for window in _windows(position[begin : begin + count], ends, room, 0 if labels else room // 4):
                windows.append((sentence, *(begin + word for word in window)))
            begin += count
        table = np.array(windows, "int64").reshape(-1, 5)
        starts = position[table[:, 1]] if len(table) else np.zeros(0, "int64")
        stops = (position + lengths)[table[:, 2] - 1] if len(table) else np.zeros(0, "int64")
        token_labels = None
        if labels is not None:
            token_labels = np.full(len(pieces), -1, "int32")
            token_labels[position] = np.concatenate([np.asarray(row, "int32") for row in labels])
        spans = Spans(tf.concat([pieces, [0]], 0), tf.constant(starts), tf.constant(stops - starts))
        special = tokenizer.template.num_special(pair=False)
        whole = np.add.reduceat(np.append(lengths, 0), np.append(0, np.cumsum(num_words))[:-1]) * (num_words > 0)
        rows = TextRows(
            tokenizer, spans, None, None, max_length, stops - starts + special, 0,
            token_labels=token_labels, num_tokens=whole + special,
        )  # fmt: skip
        return cls(rows, table[:, 0], table[:, 3], table[:, 4], position, num_words)

    def take_words(self, row: int, values: np.ndarray) -> np.ndarray:
        """From the values (T, …) of a row's tokens, take the values (words, …) of the words that are read from it."""
        words = self.position[self.first_word[row] : self.last_word[row]]
        before = self.rows.tokenizer.template.num_before("A", pair=False)
        return values[before + words - int(self.rows.first.starts[row])]


def _pieces(tokenizer: Tokenizer, words: list[str], room: int) -> tuple[np.ndarray, np.ndarray]:
    """The concatenated tokens of all words, and the number of tokens of each word."""
    if not words:
        return np.zeros(0, "int32"), np.zeros(0, "int64")
    # as in Hugging Face: each word is tokenized with a space before it, as inside a text
    spans = tokenize_spans(tokenizer, [f" {word}" for word in words])
    tokens, starts, counts = (part.numpy() for part in spans)
    lengths = np.clip(counts, 1, room)
    first = np.cumsum(lengths) - lengths
    inside = np.arange(lengths.sum()) - np.repeat(first, lengths)
    pieces = tokens[np.minimum(np.repeat(starts, lengths) + inside, len(tokens) - 1)]
    pieces[first[counts == 0]] = tokenizer.unk_id
    return pieces, lengths


def _windows(starts: np.ndarray, ends: np.ndarray, room: int, overlap: int) -> list[tuple[int, int, int, int]]:
    """(first word, end word, first word read, end word read) of each row of a sentence; ends are exclusive.

    Args:
        starts: position of each word's first token.
        ends: position after each word's last token.
        room: maximum number of tokens per row.
        overlap: maximum number of tokens that two neighboring rows share.
    """
    count = len(starts)
    bounds: list[tuple[int, int]] = []
    first = 0
    while count and (not bounds or bounds[-1][1] < count):
        last = int(np.searchsorted(ends, starts[first] + room, side="right"))
        bounds.append((first, last))
        # The next row starts inside this row, but never at its first word; otherwise the loop would not end.
        first = max(first + 1, int(np.searchsorted(starts, ends[last - 1] - overlap)))
        first = min(first, last)
    cuts = [0, *((a[1] + b[0]) // 2 for a, b in zip(bounds, bounds[1:], strict=False)), count]
    return [(*bound, cuts[i], cuts[i + 1]) for i, bound in enumerate(bounds)]
