"""Scores of regression."""

from typing import Any

import numpy as np

ERRORS = frozenset({"rmse"})  # scores for which lower is better


def correlations(wanted: Any, found: Any) -> dict[str, float]:
    """Pearson correlation, Spearman rank correlation and root mean squared error.

    A correlation is 0 if one side is constant.

    Args:
        wanted: (rows,) target numbers.
        found: (rows,) predicted numbers.

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
    # constant values can leave small rounding errors instead of zeros
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    return float(np.clip((x * y).sum() / scale, -1, 1)) if scale > 1e-30 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """The ranks of values; equal values get the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]
