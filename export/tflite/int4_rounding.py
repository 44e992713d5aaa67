"""Four-bit weights: the parts of a model, and the step size of each group."""

from typing import Any

import numpy as np

LARGEST = 7  # the largest four-bit weight, in steps
_CLIPPED = [1 - 0.05 * i for i in range(12)]  # clipping limits to try, as fractions of the largest weight


def part_of(path: str) -> str | None:
    """The part that a weight belongs to; None if the weight stays in float32."""
    if path in ("embedding/tokens", "decoder_embedding/tokens", "embedding/widen", "embedding/projection/kernel"):
        return "embedding"
    if not path.endswith("kernel"):
        return None
    first = path.split("/")[0]
    return first if "block_" in first else "head"


def four_bits(weights: Any, path: str, block: int | None = None) -> np.ndarray:
    """Weights rounded to 15 values, with one scale per token of an embedding matrix or per output of a kernel.

    With `block`, each group of this number of weights has its own scale.
    """
    weights = np.asarray(weights, np.float32)
    of_outputs = weights.T if path.endswith("embedding/tokens") else weights
    steps = scales(of_outputs, np.ones(len(of_outputs)), block or len(of_outputs))
    rounded = np.clip(np.round(of_outputs / steps), -LARGEST, LARGEST) * steps
    return rounded.T if path.endswith("embedding/tokens") else rounded


def scales(weights: np.ndarray, importance: np.ndarray, group: int) -> np.ndarray:
    """The four-bit step size for each weight (D, U). It minimizes the squared error of the weight's group.

    Args:
        weights: float weights.
        importance: (D,), weight of the squared errors of each row.
        group: number of consecutive weights of an output that share a step size; it divides D.
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
