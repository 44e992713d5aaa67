"""The string signature of tasks with one vector per text: its graph, and a check of its outputs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.text import Spans, TextRows, pack


def pooled_function(model: Any, serve: Any, max_length: int, pairs: bool) -> tuple[Callable, list[str]]:
    """A function from `text`, or from `first` and `second`, (B,) strings, to the outputs of the model.

    Args:
        model: the model; its tokenizer is used, and its prompt is added to each text.
        serve: token ids → named outputs.
        max_length: longest row in tokens; longer texts are truncated.
        pairs: whether the function takes two strings.
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
    """The outputs of the Keras model for the strings of `pooled_function`."""
    first, *second = given.values()
    texts = [model.prompt + text for text in first]
    rows = TextRows.from_texts(model.needs_tokenizer(), texts, second[0] if second else None, max_length=max_length)
    packed = pack(model.needs_tokenizer(), rows.first, rows.second, max_length)
    return model({name: value.numpy() for name, value in packed.items()}, training=False)


def difference(wanted: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> str | None:
    """The first output that differs, and by how much; None if all are equal."""
    for name, values in wanted.items():
        error = float(np.abs(found[name] - values).max())
        if not error <= 1e-4 * max(1.0, float(np.abs(values).max())):
            return f"{name} by {error:.2g}"
    return None
