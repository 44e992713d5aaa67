"""Strings in: the graph of a task that gives one vector for a text, and its check."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.text import Spans, TextRows, pack


def pooled_function(model: Any, serve: Any, max_length: int, pairs: bool) -> tuple[Callable, list[str]]:
    """A function of `text`, or of `first` and `second`, (B,) strings, that gives the outputs of the model.

    Args:
        model: whose tokenizer cuts the strings, and whose prompt is put before each.
        serve: token ids → named outputs.
        max_length: longest row in tokens; longer texts lose their end.
        pairs: it takes two strings.
    """
    tokenizer, prompt = model.needs_tokenizer(), model.prompt

    def respond(first: tf.Tensor, second: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        first = tf.strings.join([prompt, first]) if prompt else first
        spans = Spans.from_ragged(tokenizer(first))
        second_spans = None if second is None else Spans.from_ragged(tokenizer(second))
        return serve(**pack(tokenizer, spans, second_spans, max_length))

    if pairs:
        return (lambda first, second: respond(first, second)), ["first", "second"]
    return (lambda text: respond(text)), ["text"]


def keras_outputs(model: Any, given: dict[str, list[str]], max_length: int) -> Any:
    """What a Keras model gives for the strings of `pooled_function`."""
    first, *second = given.values()
    texts = [model.prompt + text for text in first]
    rows = TextRows.from_texts(model.needs_tokenizer(), texts, second[0] if second else None, max_length=max_length)
    packed = pack(model.needs_tokenizer(), rows.first, rows.second, max_length)
    return model({name: value.numpy() for name, value in packed.items()}, training=False)


def difference(wanted: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> str | None:
    """The first output that is another one; None if there is none."""
    for name, values in wanted.items():
        error = float(np.abs(found[name] - values).max())
        if not error <= 1e-4 * max(1.0, float(np.abs(values).max())):
            return f"{name} by {error:.2g}"
    return None
