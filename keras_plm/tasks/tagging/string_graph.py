"""The string signature of a tagger: a graph that splits words, tokenizes, runs the model and decodes the tags."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_plm.layers.viterbi import best_path
from keras_plm.text import Spans, pack, split_words_in_graph
from keras_plm.text.subwords_in_graph import bytes_to_characters, with_unknown, word_pieces
from keras_plm.text.tags import continues


def tags_function(model: Any, serve: Any, max_length: int) -> Callable:
    """`text` (B,) → `words`, `tags` ("" after the last), `starts`, `ends` (characters) and `scores`, (B, W) each."""
    tokenizer, steps, named = model.needs_tokenizer(), model.step_scores(), _tag_names(model)

    def respond(text: tf.Tensor) -> dict[str, tf.Tensor]:
        before = tokenizer.template.num_before("A", pair=False)
        room = max_length - tokenizer.template.num_special(pair=False)
        # each word has at least one token, so later words cannot fit, and a huge text costs nothing from here on
        words, starts, ends = (part[:, :room] for part in split_words_in_graph(text, model.words_alone))
        rows = with_unknown(tokenizer, tokenizer(tf.strings.join([" ", words.flat_values])))
        pieces, position = word_pieces(words, rows, room)
        result = serve(**pack(tokenizer, Spans.from_ragged(pieces), None, max_length))["probabilities"]
        place = tf.cast(position.to_tensor(-1), tf.int32)  # -1 if there is no word, or the word does not fit
        visible = place >= 0
        rows = tf.gather(result, tf.where(visible, place + before, 0), batch_dims=1)
        if steps is None:
            path = tf.argmax(rows, -1, output_type=tf.int32)
        else:
            # a row without words has no path, but the graph needs a column
            padded = tf.pad(rows, [[0, 0], [0, 1], [0, 0]], constant_values=1.0)
            mask = tf.pad(visible, [[0, 0], [0, 1]])
            path = best_path(tf.math.log(tf.maximum(padded, 1e-30)), mask, *steps)[:, :-1]
        scores = tf.gather(rows, path, batch_dims=2)
        return {
            "words": tf.where(visible, words.to_tensor(""), ""),
            "tags": tf.where(visible, named(path), ""),
            "starts": tf.where(visible, bytes_to_characters(text, starts).to_tensor(0), 0),
            "ends": tf.where(visible, bytes_to_characters(text, ends).to_tensor(0), 0),
            "scores": tf.where(visible, scores, 0.0),
        }

    return respond


def _tag_names(model: Any) -> Callable:
    """(B, W) tag ids → their names. If an I tag may begin an entity, it is written as B there."""
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
