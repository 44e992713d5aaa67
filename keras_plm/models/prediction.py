from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_plm.text import TextRows


def predict_texts(
    model: Any,
    first: Sequence[str],
    second: Sequence[str] | None = None,
    max_length: int | None = None,
    batch_size: int = 32,
) -> np.ndarray:
    """A model's output of texts or of pairs, in their order.

    Args:
        model: a model of one output, (B, C), with a tokenizer.
        first: texts.
        second: the texts they are paired with, or None.
        max_length: longest row in tokens; longer ones lose their end. None means the model's limit.
        batch_size: rows at a time; rows of similar length go together.

    Returns:
        (rows, C) float32.

    Raises:
        ValueError: no tokenizer, one string in place of a list, lists of unequal length.
    """
    if model.tokenizer is None:
        raise ValueError(f"this {type(model).__name__} has no tokenizer: pass tokenizer=… or feed it token ids")
    if isinstance(first, str) or isinstance(second, str):
        raise ValueError("pass a list of texts, not one string")
    if second is not None and len(first) != len(second):
        raise ValueError(f"{len(first)} first texts, but {len(second)} second ones")
    num_outputs = model.output_shape[-1]
    if not len(first):
        return np.zeros((0, num_outputs), "float32")
    limit = min(max_length or model.config.max_sequence_length, model.config.max_sequence_length)
    rows = TextRows.from_texts(model.tokenizer, first, second, max_length=limit)
    dataset, order = rows.evaluation_dataset(batch_size)
    outputs = np.empty((len(rows), num_outputs), "float32")
    for step, inputs in enumerate(dataset):
        outputs[order[step * batch_size :][: len(inputs["token_ids"])]] = model.predict_on_batch(inputs)
    return outputs
