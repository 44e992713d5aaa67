"""The tokens of words, in a graph: the position of each word's first token, and the word of each token."""

import tensorflow as tf

from .tokenizer import Tokenizer


def word_pieces(words: tf.RaggedTensor, rows: tf.RaggedTensor, room: int) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """(B, None) tokens of the words of each row, and (B, W) the position of each word's first token in its row.

    Args:
        words: (B, W) words.
        rows: the tokens of each word; the words of all texts are concatenated.
        room: maximum number of tokens per row; a word that does not fit has no tokens and position -1.
    """
    lengths = rows.row_lengths()
    before = tf.cumsum(lengths, exclusive=True)
    row_start = tf.gather(tf.concat([before, [tf.reduce_sum(lengths)]], 0), words.row_starts())
    place = before - tf.gather(row_start, words.value_rowids())
    fits = place + lengths <= room
    kept = words.with_flat_values(_only(rows, fits)).merge_dims(1, 2)
    return kept, words.with_flat_values(tf.where(fits, place, -1))


def _only(rows: tf.RaggedTensor, kept: tf.Tensor) -> tf.RaggedTensor:
    """The rows; rows that are not kept become empty."""
    of_values = tf.repeat(kept, rows.row_lengths())
    lengths = tf.where(kept, rows.row_lengths(), 0)
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(rows.flat_values, of_values), lengths)


def with_unknown(tokenizer: Tokenizer, rows: tf.RaggedTensor) -> tf.RaggedTensor:
    """Give each word without tokens one unknown token."""
    missing = tf.cast(rows.row_lengths() == 0, tf.int64)
    filler = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(missing)], tokenizer.unk_id), missing)
    return tf.concat([rows, filler], 1)


def pieces_of_words(
    words: tf.RaggedTensor, rows: tf.RaggedTensor, room: int
) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """(B, None) tokens; and for each token, (B, C): its word, whether it is the word's first token, and its last.

    Args:
        words: (B, W) words.
        rows: the tokens of each word; the words of all texts are concatenated.
        room: maximum number of tokens per row; later tokens are dropped.
    """
    lengths = rows.row_lengths()
    number = tf.range(tf.size(lengths, tf.int64)) - tf.gather(words.row_starts(), words.value_rowids())
    within = tf.range(tf.size(rows.flat_values, tf.int64)) - tf.repeat(tf.cumsum(lengths, exclusive=True), lengths)
    columns = (
        rows.flat_values,
        tf.repeat(tf.cast(number, tf.int32), lengths),
        within == 0,
        within == tf.repeat(lengths, lengths) - 1,
    )
    nested = [words.with_flat_values(rows.with_flat_values(column)) for column in columns]
    pieces, word, first, last = (column.merge_dims(1, 2)[:, :room] for column in nested)
    return pieces, word.to_tensor(-1), first.to_tensor(False), last.to_tensor(False)


def bytes_to_characters(text: tf.Tensor, places: tf.RaggedTensor) -> tf.RaggedTensor:
    """Convert byte positions to character positions, in linear time."""
    _, begins = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
    num_bytes = tf.cast(tf.strings.length(text), tf.int64)
    before = tf.cumsum(num_bytes, exclusive=True)  # offset of each text in the concatenation of all texts
    of_all = begins.flat_values + tf.gather(before, begins.value_rowids())
    wanted = places.flat_values + tf.gather(before, places.value_rowids())
    characters = tf.searchsorted(of_all, wanted, out_type=tf.int64) - tf.gather(
        begins.row_starts(), places.value_rowids()
    )
    return places.with_flat_values(tf.cast(characters, tf.int32))


def num_characters(texts: tf.Tensor, num_bytes: tf.Tensor) -> tf.Tensor:
    """Number of characters in the first `num_bytes` bytes of each text."""
    return tf.strings.length(tf.strings.substr(texts, tf.zeros_like(num_bytes), num_bytes), unit="UTF8_CHAR")
