"""Strings in: the graphs that tokenize, run the model and say the answer in words, one for each task."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_plm.layers.conditional_random_field import best_path
from keras_plm.text import Spans, Tokenizer, WordPieceTokenizer, pack, split_words_in_graph
from keras_plm.text.tags import continues

from .signature import Signature
from .tasks import TaskModel

Serve = Callable[..., dict[str, tf.Tensor]]


def text_function(
    model: TaskModel, signature: Signature, serve: Serve, max_length: int, pairs: bool
) -> tuple[Any, dict]:
    """A function of strings, and the specifications of its arguments.

    Args:
        model: the Keras model.
        signature: of the artefact.
        serve: token ids → named outputs.
        max_length: longest row in tokens; longer texts lose their end.
        pairs: a classifier takes `first` and `second` in place of `text`.
    """
    tokenizer = model.tokenizer
    assert tokenizer is not None
    if signature.task == "Tagger":
        return _tags(model, tokenizer, serve, max_length), _strings("text")
    if signature.task == "QuestionAnswerer":
        return _answers(model, tokenizer, serve, max_length), _strings("question", "context")
    labels = signature.labels if signature.task == "Classifier" and not signature.settings["multi_label"] else None

    prompt = signature.settings.get("prompt")

    def respond(first: tf.Tensor, second: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        first = tf.strings.join([prompt, first]) if prompt else first
        spans = Spans.from_ragged(tokenizer(first))
        second_spans = None if second is None else Spans.from_ragged(tokenizer(second))
        result = serve(**pack(tokenizer, spans, second_spans, max_length))
        if labels is not None:
            result = {**result, "label": tf.gather(tf.constant(labels), tf.argmax(result["probabilities"], -1))}
        return result

    if pairs:
        return (lambda first, second: respond(first, second)), _strings("first", "second")
    return (lambda text: respond(text)), _strings("text")


def _strings(*names: str) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec((None,), tf.string, name=name) for name in names}


def _tags(model: Any, tokenizer: Tokenizer, serve: Serve, max_length: int) -> Callable:
    """`text` (B,) → `words`, `tags` ("" after the last), `starts`, `ends` (characters) and `scores`, (B, W) each."""
    steps, words_of = model.step_scores(), _tag_names(model)

    def respond(text: tf.Tensor) -> dict[str, tf.Tensor]:
        room = max_length - tokenizer.num_special(pair=False)
        # a word has a piece at least: those behind find no room, and a text of a megabyte is no longer than that
        words, starts, ends = (part[:, :room] for part in split_words_in_graph(text, model.words_alone))
        rows = _with_unknown(tokenizer, tokenizer(tf.strings.join([" ", words.flat_values])))
        pieces, position = word_pieces(words, rows, room)
        result = serve(**pack(tokenizer, Spans.from_ragged(pieces), None, max_length))["probabilities"]
        place = tf.cast(position.to_tensor(-1), tf.int32) + 1  # after [CLS]; 0 where there is no word, or no room
        visible = place > 0
        rows = tf.gather(result, tf.where(visible, place, 0), batch_dims=1)
        if steps is None:
            path = tf.argmax(rows, -1, output_type=tf.int32)
        else:
            # a row without words has no path to look for, but the graph wants a column
            padded = tf.pad(rows, [[0, 0], [0, 1], [0, 0]], constant_values=1.0)
            mask = tf.pad(visible, [[0, 0], [0, 1]])
            path = best_path(tf.math.log(tf.maximum(padded, 1e-30)), mask, *steps)[:, :-1]
        scores = tf.gather(rows, path, batch_dims=2)
        return {
            "words": tf.where(visible, words.to_tensor(""), ""),
            "tags": tf.where(visible, words_of(path), ""),
            "starts": tf.where(visible, _characters(text, starts).to_tensor(0), 0),
            "ends": tf.where(visible, _characters(text, ends).to_tensor(0), 0),
            "scores": tf.where(visible, scores, 0.0),
        }

    return respond


def _tag_names(model: Any) -> Callable:
    """(B, W) numbers of tags → their names; where an I may begin an entity, it is written as B."""
    names = tf.constant(model.labels)
    if not model.i_begins:
        return lambda path: tf.gather(names, path)
    beginning = tf.constant([f"B-{label[2:]}" if label.startswith("I-") else label for label in model.labels])
    linked = tf.constant([[continues(first, second) for second in model.labels] for first in model.labels])

    def name(path: tf.Tensor) -> tf.Tensor:
        goes_on = tf.gather_nd(linked, tf.stack([path[:, :-1], path[:, 1:]], -1))
        goes_on = tf.pad(goes_on, [[0, 0], [1, 0]])[:, : tf.shape(path)[1]]
        return tf.where(goes_on, tf.gather(names, path), tf.gather(beginning, path))

    return name


def _answers(model: Any, tokenizer: Tokenizer, serve: Serve, max_length: int) -> Callable:
    """`question`, `context` → `answer` ("" for none), `start`, `end` (characters), `score` and `null_score`, (B,) each.

    The answer is of whole words. A context that is too long loses its end: there are no windows in a graph.
    """
    if not isinstance(tokenizer, WordPieceTokenizer):
        raise TypeError(
            f"a question answerer with a {type(tokenizer).__name__} cannot take strings: its pieces have no offsets "
            f"in a graph; export it to TFLite or ONNX, which take token ids"
        )
    longest, threshold = model.max_answer, model.null_threshold
    special = tokenizer.num_special(pair=True)
    max_question = min(64, max_length // 2)

    def respond(question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        words, starts, ends = split_words_in_graph(context, tokenizer.words_alone)
        # no more words than a row has room for: a context of a megabyte is no longer than that from here on
        words, starts, ends = (part[:, : max_length - special] for part in (words, starts, ends))
        rows = _with_unknown(tokenizer, tokenizer(words.flat_values))
        asked = tokenizer(question)[:, :max_question]
        room = max_length - special - asked.row_lengths()
        pieces, word, is_first, is_last = _pieces_of_words(words, rows, max_length - special)
        kept = tf.minimum(pieces.row_lengths(), room)
        spans = Spans.from_ragged(pieces).shorten(kept)
        result = serve(**pack(tokenizer, Spans.from_ragged(asked), spans, max_length))
        place = tf.range(tf.shape(word)[1], dtype=tf.int64)[None]
        inside = place < kept[:, None]
        position = tf.where(inside, place + asked.row_lengths()[:, None] + special - 1, 0)
        none = tf.constant(-1e9)
        begins = tf.where(inside & is_first, tf.gather(result["start"], position, batch_dims=1), none)
        finishes = tf.where(inside & is_last, tf.gather(result["end"], position, batch_dims=1), none)
        # (B, C, longest): every legal pair of ends
        band = tf.signal.frame(tf.pad(finishes, [[0, 0], [0, longest]], constant_values=-1e9), longest, 1)
        scores = begins[:, :, None] + band[:, : tf.shape(word)[1]]
        # one more column for a context without words
        flat = tf.pad(tf.reshape(scores, (tf.shape(scores)[0], -1)), [[0, 0], [0, 1]], constant_values=-2e9)
        best = tf.argmax(flat, -1, output_type=tf.int32)
        score, null = tf.gather(flat, best, batch_dims=1), result["start"][:, 0] + result["end"][:, 0]
        answered = score > none
        if threshold is not None:
            answered &= null - score <= threshold
        padded_word = tf.pad(word, [[0, 0], [0, longest]])
        bytes_of = [tf.pad(side.to_tensor(0), [[0, 0], [0, 1]]) for side in (starts, ends)]
        ends_of = best // longest, best // longest + best % longest
        words_of = [tf.gather(padded_word, tf.where(answered, end, 0), batch_dims=1) for end in ends_of]
        from_byte, to_byte = (
            tf.cast(tf.where(answered, tf.gather(side, tf.maximum(index, 0), batch_dims=1), 0), tf.int32)
            for side, index in zip(bytes_of, words_of, strict=True)
        )
        return {
            "answer": tf.strings.substr(context, from_byte, to_byte - from_byte),
            "start": _length(context, from_byte),
            "end": _length(context, to_byte),
            "score": score,
            "null_score": null,
        }

    return respond


def word_pieces(words: tf.RaggedTensor, rows: tf.RaggedTensor, room: int) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """(B, None) pieces of the words of each row, and (B, W) the place of each word's first piece in its row.

    Args:
        words: (B, W) words.
        rows: the pieces of each word, all in one line.
        room: pieces of a row; a word that does not fit whole has none and the place -1.
    """
    lengths = rows.row_lengths()
    before = tf.cumsum(lengths, exclusive=True)
    row_start = tf.gather(tf.concat([before, [tf.reduce_sum(lengths)]], 0), words.row_starts())
    place = before - tf.gather(row_start, words.value_rowids())
    fits = place + lengths <= room
    kept = words.with_flat_values(_only(rows, fits)).merge_dims(1, 2)
    return kept, words.with_flat_values(tf.where(fits, place, -1))


def _only(rows: tf.RaggedTensor, kept: tf.Tensor) -> tf.RaggedTensor:
    """The rows, emptied where they are not kept."""
    of_values = tf.repeat(kept, rows.row_lengths())
    lengths = tf.where(kept, rows.row_lengths(), 0)
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(rows.flat_values, of_values), lengths)


def _with_unknown(tokenizer: Tokenizer, rows: tf.RaggedTensor) -> tf.RaggedTensor:
    """A word without pieces is one unknown piece."""
    missing = tf.cast(rows.row_lengths() == 0, tf.int64)
    filler = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(missing)], tokenizer.unk_id), missing)
    return tf.concat([rows, filler], 1)


def _pieces_of_words(
    words: tf.RaggedTensor, rows: tf.RaggedTensor, room: int
) -> tuple[tf.RaggedTensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """(B, None) pieces, `room` of a row at most; (B, C) the word of each, and whether it is its first and last piece.

    Args:
        words: (B, W) words.
        rows: the pieces of each word, all in one line.
        room: pieces of a row; a context of a megabyte is no longer than that from here on.
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


def _characters(text: tf.Tensor, places: tf.RaggedTensor) -> tf.RaggedTensor:
    """Bytes → characters, in time linear in the text."""
    _, begins = tf.strings.unicode_decode_with_offsets(text, "UTF-8")
    num_bytes = tf.cast(tf.strings.length(text), tf.int64)
    before = tf.cumsum(num_bytes, exclusive=True)  # all texts in one line
    of_all = begins.flat_values + tf.gather(before, begins.value_rowids())
    wanted = places.flat_values + tf.gather(before, places.value_rowids())
    characters = tf.searchsorted(of_all, wanted, out_type=tf.int64) - tf.gather(
        begins.row_starts(), places.value_rowids()
    )
    return places.with_flat_values(tf.cast(characters, tf.int32))


def _length(texts: tf.Tensor, num_bytes: tf.Tensor) -> tf.Tensor:
    """Characters of the first bytes of each text."""
    return tf.strings.length(tf.strings.substr(texts, tf.zeros_like(num_bytes), num_bytes), unit="UTF8_CHAR")
