"""Scores of numbers."""

from typing import Any

import numpy as np

ERRORS = frozenset({"rmse"})  # the scores of which less is better


def correlations(wanted: Any, found: Any) -> dict[str, float]:
    """Pearson's correlation, Spearman's rank correlation and the root mean squared error; 0 where one side is constant.

    Args:
        wanted: (rows,) numbers.
        found: the same, as the model has them.

    Example:
        >>> scores = correlations([1, 2, 3], [1, 4, 9])
        >>> scores["spearman"], round(scores["pearson"], 3)
        (1.0, 0.99)
    """
    x, y = np.asarray(wanted, float), np.asarray(found, float)
    error = float(np.sqrt(np.mean((x - y) ** 2)))
    return {"pearson": _correlation(x, y), "spearman": _correlation(_ranks(x), _ranks(y)), "rmse": error}


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    # compared with the size of the numbers: equal ones leave rounding errors behind
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    return float(np.clip((x * y).sum() / scale, -1, 1)) if scale > 1e-30 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]
