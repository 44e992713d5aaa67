"""The string signature of a question answerer: a graph that tokenizes, runs the model and finds the best span."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_plm.text import Spans, WordPieceTokenizer, pack, split_words_in_graph
from keras_plm.text.subwords_in_graph import num_characters, pieces_of_words, with_unknown


def answers_function(model: Any, serve: Any, max_length: int) -> Callable:
    """`question`, `context` → `answer` ("" for none), `start`, `end` (characters), `score` and `null_score`, (B,) each.

    The answer consists of whole words. A context that is too long is truncated, because the graph has no windows.
    """
    tokenizer = model.needs_tokenizer()
    if not isinstance(tokenizer, WordPieceTokenizer):
        raise TypeError(
            f"a question answerer with a {type(tokenizer).__name__} cannot take strings, because its tokens have no "
            f"offsets in a graph; export it to TFLite or ONNX, which take token ids"
        )
    longest, threshold = model.max_answer, model.null_threshold
    special = tokenizer.template.num_special(pair=True)
    before = tokenizer.template.num_before("B", pair=True)  # without the question
    max_question = min(64, max_length // 2)

    def respond(question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        words, starts, ends = split_words_in_graph(context, tokenizer.words_alone)
        # keep only as many words as fit in a row, so that a huge context costs nothing from here on
        words, starts, ends = (part[:, : max_length - special] for part in (words, starts, ends))
        rows = with_unknown(tokenizer, tokenizer(words.flat_values))
        asked = tokenizer(question)[:, :max_question]
        room = max_length - special - asked.row_lengths()
        pieces, word, is_first, is_last = pieces_of_words(words, rows, max_length - special)
        kept = tf.minimum(pieces.row_lengths(), room)
        spans = Spans.from_ragged(pieces).shorten(kept)
        result = serve(**pack(tokenizer, Spans.from_ragged(asked), spans, max_length))
        place = tf.range(tf.shape(word)[1], dtype=tf.int64)[None]
        inside = place < kept[:, None]
        position = tf.where(inside, place + asked.row_lengths()[:, None] + before, 0)
        none = tf.constant(-1e9)
        begins = tf.where(inside & is_first, tf.gather(result["start"], position, batch_dims=1), none)
        finishes = tf.where(inside & is_last, tf.gather(result["end"], position, batch_dims=1), none)
        # (B, C, longest): every valid pair of start and end
        band = tf.signal.frame(tf.pad(finishes, [[0, 0], [0, longest]], constant_values=-1e9), longest, 1)
        scores = begins[:, :, None] + band[:, : tf.shape(word)[1]]
        # one extra column, for a context without words
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
            "start": num_characters(context, from_byte),
            "end": num_characters(context, to_byte),
            "score": score,
            "null_score": null,
        }

    return respond
