"""The string signature of a text generator: a graph that tokenizes prompts and continues them."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_plm.tasks.generation_graph import GraphSettings, token_pieces, write_in_graph


def generate_function(model: Any, max_length: int) -> Callable:
    """`prompt`, `max_new_tokens`, `temperature`, `top_p` and `seed`, (B,) each → `text`, `finish_reason`, (B,) each.

    See `GraphSettings`.

    Args:
        model: a `TextGenerator` whose tokenizer has `token_bytes`.
        max_length: maximum number of tokens of a prompt with its continuation; prompts that are longer lose their
            first tokens.

    Raises:
        ValueError: the text of a token depends on the tokens beside it, as in WordPiece.
    """
    tokenizer, pieces = model.needs_tokenizer(), token_pieces(model)
    empty = tf.constant(model.texts_to_ids([""])[0], tf.int32)
    before = tf.constant(tokenizer.ids_around[0], tf.int32)

    def respond(
        prompt: tf.Tensor, max_new_tokens: tf.Tensor, temperature: tf.Tensor, top_p: tf.Tensor, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        rows = tokenizer(prompt)
        batch = tf.shape(prompt)[0]
        rows = tf.concat([tf.tile(before[None], [batch, 1]), tf.cast(rows, tf.int32)], 1)
        is_empty = rows.row_lengths() == 0
        rows = tf.concat([rows, tf.RaggedTensor.from_tensor(tf.tile(empty[None], [batch, 1]))], 1)
        lengths = tf.cast(rows.row_lengths(), tf.int32) - tf.where(is_empty, 0, tf.size(empty))
        kept = tf.minimum(lengths, max_length - 1)
        width = tf.reduce_max(tf.concat([kept, [1]], 0))
        # the padding comes first, so that all rows write their next token at the same position
        places = tf.range(width)[None] - (width - kept)[:, None]
        token_ids = tf.gather(rows.to_tensor(0), tf.maximum(places + (lengths - kept)[:, None], 0), batch_dims=1)
        visible = tf.cast(places >= 0, tf.int32)
        limits = tf.minimum(max_new_tokens, max_length - kept)
        caches = model.decoder.make_caches(batch, width + tf.reduce_max(tf.concat([limits, [0]], 0)))
        settings = GraphSettings(limits, temperature, top_p, seed)
        return write_in_graph(model, token_ids, visible, caches, settings, pieces)

    return respond
