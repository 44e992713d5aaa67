"""The string signature of an encoder-decoder: a graph that tokenizes texts, reads them, and writes."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_plm.tasks.generation_graph import GraphSettings, token_pieces, write_in_graph


def generate_function(model: Any, max_length: int) -> Callable:
    """`source`, `max_new_tokens`, `temperature`, `top_p` and `seed`, (B,) each → `text`, `finish_reason`, (B,) each.

    See `GraphSettings`.

    Args:
        model: a `Seq2Seq` whose tokenizer has `token_bytes`.
        max_length: maximum number of tokens of a source, and of a text with its start tokens. Sources that are longer
            lose their last tokens.

    Raises:
        ValueError: the text of a token depends on the tokens beside it, as in WordPiece.
    """
    tokenizer, pieces = model.needs_tokenizer(), token_pieces(model)
    start = tf.constant(model.start_ids, tf.int32)
    before, after = (tf.constant(ids, tf.int32) for ids in tokenizer.ids_around)
    empty = tf.constant(model.empty_source, tf.int32)
    # SentencePiece puts a space before the first word
    first_word = b"".join(pieces[token_id] for token_id in tokenizer.encode("a").token_ids)
    room = max_length - len(tokenizer.ids_around[0]) - len(tokenizer.ids_around[1])

    def respond(
        source: tf.Tensor, max_new_tokens: tf.Tensor, temperature: tf.Tensor, top_p: tf.Tensor, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        batch = tf.shape(source)[0]
        first, last, prompt = (tf.tile(ids[None], [batch, 1]) for ids in (before, after, start))
        tokens = tf.cast(tokenizer(source), tf.int32)[:, :room]
        if not (len(before) or len(after)):
            borders = tf.tile(empty[None], [batch, 1])
            tokens = tf.concat([tokens, tf.ragged.boolean_mask(borders, (tokens.row_lengths() == 0)[:, None])], 1)
        rows = tf.concat([first, tokens, last], 1)
        lengths = tf.cast(rows.row_lengths(), tf.int32)
        mask = tf.sequence_mask(lengths, tf.reduce_max(tf.concat([lengths, [1]], 0)), tf.int32)
        token_ids = rows.to_tensor(0, shape=tf.shape(mask))
        limits = tf.minimum(max_new_tokens, max_length - tf.size(start))
        steps = tf.reduce_max(tf.concat([limits, [0]], 0))
        caches = model.encoder_decoder.make_caches(token_ids, mask, tf.size(start) + steps)
        settings = GraphSettings(limits, temperature, top_p, seed)
        found = write_in_graph(model, prompt, tf.ones_like(prompt), caches, settings, pieces)
        if first_word.startswith(b" "):
            found["text"] = tf.strings.regex_replace(found["text"], "^ ", "")
        return found

    return respond
