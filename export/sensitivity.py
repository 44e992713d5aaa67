from typing import Any

import numpy as np

from keras_plm.models import remake, weight_arrays
from keras_plm.tasks import TaskModel, task_of
from keras_plm.text import list_of_texts
from keras_plm.training import dtype_policy

from .proof import by_row, expected, shift
from .schemes import parts_of
from .signature import example_rows, float32_copy

LARGEST = 7  # of a weight of four bits, in steps
_CLIPPED = [1 - 0.05 * i for i in range(12)]  # of the largest weight: the one of least squared error is taken


def sensitivity(model: TaskModel, texts: Any) -> dict[str, float]:
    """How much each part of a model alone changes its answers when its weights have four bits, plainly rounded.

    Args:
        model: a task model.
        texts: some hundred like those it will see; texts, or (first, second) pairs.

    Returns:
        The shift of the answers (see `proof.prove`) for each part: the table of pieces, each block, and the head. The
        most sensitive part first: it is the one to keep in eight bits, as in `to_tflite(…, "int4+int8:block_0")`.

    Raises:
        ValueError: no texts.

    Example:
        >>> sensitivity(reviews, texts)  # doctest: +SKIP
        {'block_1': 0.21, 'table': 0.12, 'block_0': 0.08, 'head': 0.01}

    Source: Dong et al. 2019, §3, https://arxiv.org/abs/1905.03696
    Differs: what a part costs is measured, and not estimated from second derivatives.
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
            changed = answers(remake(model, model.config, rounded.__getitem__))
        found[part] = max(shift(changed[name], values, name == "probabilities") for name, values in wanted.items())
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def part_of(path: str) -> str | None:
    """The part that a weight belongs to; None for those that stay in float32."""
    if path in ("embedding/tokens", "embedding/widen", "embedding/projection/kernel"):
        return "table"
    if not path.endswith("kernel"):
        return None
    first = path.split("/")[0]
    return first if first.startswith("block_") else "head"


def four_bits(weights: Any, path: str) -> np.ndarray:
    """Weights rounded to 15 values, with a scale for each piece of a table and for each output of a kernel."""
    weights = np.asarray(weights, np.float32)
    of_outputs = weights.T if path == "embedding/tokens" else weights
    steps = scales(of_outputs, np.ones(len(of_outputs)), len(of_outputs))
    rounded = np.clip(np.round(of_outputs / steps), -LARGEST, LARGEST) * steps
    return rounded.T if path == "embedding/tokens" else rounded


def scales(weights: np.ndarray, importance: np.ndarray, group: int) -> np.ndarray:
    """The step of four bits for each weight (D, U): that of the least squared error of its group.

    Args:
        weights: float.
        importance: (D,), what an error of each row counts.
        group: so many weights of an output, one after the other, share a step; it divides D.
    """
    groups = weights.reshape(-1, group, weights.shape[1])
    counts = importance.reshape(-1, group, 1)
    largest = np.maximum(np.abs(groups).max(1, keepdims=True), 1e-8)
    best, least = largest, np.full(largest.shape, np.inf)
    for share in _CLIPPED:
        step = share * largest / LARGEST
        rounded = np.clip(np.round(groups / step), -LARGEST, LARGEST) * step
        error = (counts * np.square(rounded - groups)).sum(1, keepdims=True)
        best, least = np.where(error < least, step, best), np.minimum(error, least)
    return np.broadcast_to(best, groups.shape).reshape(weights.shape)
