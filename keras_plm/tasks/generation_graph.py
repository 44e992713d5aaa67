"""Generation inside a graph, for the string signatures of SavedModels: token by token, then text."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_plm.models import Caches

_STOP, _LENGTH = "stop", "length"
ARGUMENTS = {"max_new_tokens": tf.int32, "temperature": tf.float32, "top_p": tf.float32, "seed": tf.int32}


class GraphSettings(NamedTuple):
    """The generation settings of each row, (B,) each, in the order of `ARGUMENTS`.

    Attributes:
        max_new_tokens: maximum number of new tokens.
        temperature: 0 for greedy decoding, otherwise the temperature of sampling.
        top_p: sample from the most probable tokens which together have this probability.
        seed: random seed; the text of a row depends on this row only.
    """

    max_new_tokens: tf.Tensor
    temperature: tf.Tensor
    top_p: tf.Tensor
    seed: tf.Tensor


def token_pieces(model: Any) -> list[bytes]:
    """The text of each token of the vocabulary, which `write_in_graph` joins; empty for special tokens.

    Raises:
        ValueError: the text of a token depends on the tokens beside it, as in WordPiece.
    """
    tokenizer = model.needs_tokenizer()
    return [b"" if i in tokenizer.left_out_ids else piece for i, piece in enumerate(tokenizer.token_bytes())]


def write_in_graph(
    model: Any, token_ids: tf.Tensor, visible: tf.Tensor, caches: Caches, settings: GraphSettings, pieces: list[bytes]
) -> dict[str, tf.Tensor]:
    """Read prompts and write after them.

    Args:
        model: a model with `step` that generates text.
        token_ids: (B, P) int32, the prompts, with padding before them.
        visible: (B, P) int32, 0 for padding.
        caches: empty caches of the model, for the prompts and the largest number of new tokens.
        settings: the settings of each row; the prompts leave room for the new tokens.
        pieces: see `token_pieces`.

    Returns:
        `text` and `finish_reason` ("stop" or "length"), (B,) strings each.
    """
    names, end_ids = model.backbone.cache_names, tf.constant(model.end_ids, tf.int32)
    limits = settings.max_new_tokens
    batch, width = tf.unstack(tf.shape(token_ids))
    steps = tf.reduce_max(tf.concat([limits, [0]], 0))
    mask = tf.concat([visible, tf.zeros([batch, steps], tf.int32)], 1)
    shapes = [tf.TensorShape([None if n is None or axis in (0, 2) else n for axis, n in enumerate(cache.shape)])
              for cache in tf.nest.flatten(caches)]  # fmt: skip
    logits, new = model.step(tf.where(visible > 0, token_ids, 0), mask, caches, 0)
    written = tf.zeros([batch, 0], tf.int32)
    running, stopped = limits > 0, tf.zeros([batch], tf.bool)

    def proceeds(step: Any, running: Any, *others: Any) -> Any:
        return (step < steps) & tf.reduce_any(running)

    def proceed(
        step: Any, running: Any, stopped: Any, logits: Any, mask: Any, written: Any, *caches: Any
    ) -> tuple[Any, ...]:
        # ids behind the vocabulary have no text: the embedding matrix may be padded
        tokens = _choose(logits[:, : len(pieces)], settings, step)
        ended = tf.reduce_any(tokens[:, None] == end_ids[None], 1)
        stopped |= running & ended
        running &= ~ended
        written = tf.concat([written, tf.where(running, tokens, -1)[:, None]], 1)
        running &= step + 1 < limits
        column = tf.one_hot(width + step, width + steps, dtype=tf.int32)[None]
        mask += column * tf.cast(running, tf.int32)[:, None]
        packed = tf.nest.pack_sequence_as(names, caches)
        logits, new = model.step(tf.where(running, tokens, 0)[:, None], mask, packed, width + step)
        return (step + 1, running, stopped, logits, mask, written, *tf.nest.flatten(new))

    found = tf.while_loop(
        proceeds,
        proceed,
        (tf.constant(0), running, stopped, logits, mask, written, *tf.nest.flatten(new)),
        shape_invariants=(
            tf.TensorShape([]), *[tf.TensorShape([None])] * 2, tf.TensorShape([None, None]),
            tf.TensorShape([None, None]), tf.TensorShape([None, None]), *shapes,
        ),
    )  # fmt: skip
    tokens = found[5]
    joined = tf.strings.reduce_join(tf.where(tokens >= 0, tf.gather(tf.constant(pieces), tf.maximum(tokens, 0)), ""), 1)
    text = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", replace_control_characters=False)
    return {"text": text, "finish_reason": tf.where(found[2], _STOP, _LENGTH)}


def _choose(logits: Any, settings: GraphSettings, step: Any) -> tf.Tensor:
    """(B,) int32: the most probable token where the temperature is 0, otherwise a drawn one."""
    _, temperature, top_p, seed = settings
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
