"""The string signature of a text generator: a graph that tokenizes, generates token by token, and makes text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.models import Caches

_STOP, _LENGTH = "stop", "length"


def generate_function(model: Any, max_length: int) -> Callable:
    """`prompt`, `max_new_tokens`, `temperature`, `top_p` and `seed`, (B,) each → `text`, `finish_reason`, (B,) each.

    A temperature of 0 means greedy decoding. The text of a row depends on this row only.

    Args:
        model: a `TextGenerator` whose tokenizer has `token_bytes`.
        max_length: maximum number of tokens of a prompt with its continuation; prompts that are longer lose their
            first tokens.

    Raises:
        ValueError: the text of a token depends on the tokens beside it, as in WordPiece.
    """
    tokenizer = model.needs_tokenizer()
    pieces = [b"" if i in tokenizer.left_out_ids else piece for i, piece in enumerate(tokenizer.token_bytes())]
    end_ids = tf.constant(model.end_ids, tf.int32)
    empty = tf.constant(model.texts_to_ids([""])[0], tf.int32)
    before = tf.constant(_before(model), tf.int32)
    structure: Caches = [{"self": {"key": 0, "value": 0}} for _ in model.decoder.blocks]

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

        steps = tf.reduce_max(tf.concat([limits, [0]], 0))
        mask = tf.concat([visible, tf.zeros([batch, steps], tf.int32)], 1)
        caches = tf.nest.flatten(model.decoder.make_caches(batch, width + steps))
        logits, new = model.step(
            tf.where(visible > 0, token_ids, 0), mask, tf.nest.pack_sequence_as(structure, caches), 0
        )
        written = tf.zeros([batch, 0], tf.int32)
        running, stopped = limits > 0, tf.zeros([batch], tf.bool)

        def proceeds(step: Any, running: Any, *others: Any) -> Any:
            return (step < steps) & tf.reduce_any(running)

        def proceed(
            step: Any, running: Any, stopped: Any, logits: Any, mask: Any, written: Any, *caches: Any
        ) -> tuple[Any, ...]:
            # ids behind the vocabulary have no text: the embedding matrix may be padded
            tokens = _choose(logits[:, : len(pieces)], temperature, top_p, seed, step)
            ended = tf.reduce_any(tokens[:, None] == end_ids[None], 1)
            stopped |= running & ended
            running &= ~ended
            written = tf.concat([written, tf.where(running, tokens, -1)[:, None]], 1)
            running &= step + 1 < limits
            column = tf.one_hot(width + step, width + steps, dtype=tf.int32)[None]
            mask += column * tf.cast(running, tf.int32)[:, None]
            packed = tf.nest.pack_sequence_as(structure, caches)
            logits, new = model.step(tf.where(running, tokens, 0)[:, None], mask, packed, width + step)
            return (step + 1, running, stopped, logits, mask, written, *tf.nest.flatten(new))

        found = tf.while_loop(
            proceeds,
            proceed,
            (tf.constant(0), running, stopped, logits, mask, written, *tf.nest.flatten(new)),
            shape_invariants=(
                tf.TensorShape([]), *[tf.TensorShape([None])] * 2, tf.TensorShape([None, None]),
                tf.TensorShape([None, None]), tf.TensorShape([None, None]),
                *(tf.TensorShape([None, cache.shape[1], None, cache.shape[3]]) for cache in caches),
            ),
        )  # fmt: skip
        tokens = found[5]
        joined = tf.strings.reduce_join(
            tf.where(tokens >= 0, tf.gather(tf.constant(pieces), tf.maximum(tokens, 0)), ""), 1
        )
        text = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", replace_control_characters=False)
        return {"text": text, "finish_reason": tf.where(found[2], _STOP, _LENGTH)}

    return respond


def _before(model: Any) -> list[int]:
    tokenizer = model.needs_tokenizer()
    parts = tokenizer.template.parts(False)[: tokenizer.template.num_before("A", pair=False)]
    return [tokenizer.role_id(part.name) for part in parts]


def _choose(logits: Any, temperature: Any, top_p: Any, seed: Any, step: Any) -> tf.Tensor:
    """(B,) int32: the most probable token where the temperature is 0, otherwise a drawn one."""
    logits = tf.debugging.check_numerics(logits, "the model gives logits that are no numbers")
    scaled = logits / tf.maximum(temperature, 1e-4)[:, None]
    ordered = tf.sort(scaled, direction="DESCENDING")
    probabilities = tf.nn.softmax(ordered)
    # the tokens before which less than top_p was reached
    kept = tf.cumsum(probabilities, -1, exclusive=True) < tf.maximum(top_p, 1e-6)[:, None]
    lowest = tf.reduce_min(tf.where(kept, ordered, ordered.dtype.max), -1, keepdims=True)
    seeds = tf.stack([seed, tf.fill(tf.shape(seed), step)], 1)
    uniform = tf.map_fn(
        lambda pair: tf.random.stateless_uniform(tf.shape(logits)[1:], pair, np.finfo("float32").tiny), seeds,
        fn_output_signature=tf.float32,
    )  # fmt: skip
    noise = -tf.math.log(-tf.math.log(uniform))  # the highest logit with Gumbel noise is a draw from the softmax
    drawn = tf.argmax(tf.where(scaled >= lowest, scaled + noise, scaled.dtype.min), -1, tf.int32)
    return tf.where(temperature > 0, drawn, tf.argmax(logits, -1, tf.int32))
