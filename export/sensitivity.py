from typing import Any

import numpy as np

from keras_plm.models import remake, weight_arrays
from keras_plm.tasks import TaskModel, task_of
from keras_plm.text import list_of_texts
from keras_plm.training import dtype_policy

from .signature import example_rows, float32_copy
from .tflite.int4_rounding import four_bits, part_of
from .tflite.schemes import parts_of
from .verify import by_row, expected, shift


def sensitivity(model: TaskModel, texts: Any) -> dict[str, float]:
    """Measure how much the answers change when one part of a model is rounded to four bits (round to nearest).

    Args:
        model: a task model.
        texts: a few hundred texts, or (first, second) pairs, similar to the texts in production.

    Returns:
        The shift of the answers (see `verify.verify`) for each part: the embedding matrix, each block, and the head.
        The most sensitive part comes first. Keep it in eight bits, as in `to_tflite(…, "int4+int8:block_0")`.

    Raises:
        ValueError: there are no texts.

    Example:
        >>> sensitivity(reviews, texts)  # doctest: +SKIP
        {'block_1': 0.21, 'embedding': 0.12, 'block_0': 0.08, 'head': 0.01}

    Source: Dong et al. 2019, §3, https://arxiv.org/abs/1905.03696
    Differs: the sensitivity of a part is measured, not estimated from second derivatives.
    """
    texts = list_of_texts(texts, "texts")
    if not texts:
        raise ValueError("there are no texts to measure on")
    model = float32_copy(model)
    rows = example_rows(model, texts, model.longest_row)
    batches = [
        {name: np.concatenate([row[name] for row in rows[i : i + 32]]) for name in rows[0]}
        for i in range(0, len(rows), 32)
    ]
    weights = weight_arrays(model)

    def answers(changed: TaskModel) -> dict[str, np.ndarray]:
        outputs = [(expected(changed, batch), batch["padding_mask"]) for batch in batches]
        names, per_token = outputs[0][0], task_of(model).per_token
        return {name: np.concatenate([by_row(o[name], mask, per_token) for o, mask in outputs]) for name in names}

    wanted, found = answers(model), {}
    for part in parts_of(model.config):
        rounded = {path: four_bits(w, path) if part_of(path) == part else w for path, w in weights.items()}
        with dtype_policy("float32"):
            changed = answers(remake(model, rounded.__getitem__))
        found[part] = max(shift(changed[name], values, name == "probabilities") for name, values in wanted.items())
    return dict(sorted(found.items(), key=lambda item: -item[1]))
