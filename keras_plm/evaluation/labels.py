"""Scores of texts with one label or several labels."""

from typing import Any

import numpy as np


def label_scores(wanted: Any, found: Any, num_labels: int) -> dict[str, float]:
    """Accuracy, macro-averaged F1 and Matthews correlation of label ids.

    Args:
        wanted: (rows,) correct ids in [0, num_labels).
        found: (rows,) predicted ids.
        num_labels: C. The average is over the labels that occur in `wanted` or `found`, as in scikit-learn.

    Example:
        >>> label_scores([0, 1, 1], [0, 1, 0], 2)["accuracy"]
        0.6666666666666666

    Source: Gorodkin 2004, for more than two labels, https://doi.org/10.1016/j.compbiolchem.2004.09.006
    """
    table = confusion(wanted, found, num_labels).astype(float)
    right, rows, columns = np.diag(table), table.sum(1), table.sum(0)
    total = table.sum()
    occurs = (rows + columns) > 0
    f1 = 2 * right[occurs] / (rows + columns)[occurs]
    scale = np.sqrt((total**2 - (columns**2).sum()) * (total**2 - (rows**2).sum()))
    matthews = (right.sum() * total - (rows * columns).sum()) / scale if scale else 0.0
    return {"accuracy": float(right.sum() / total), "macro_f1": float(f1.mean()), "matthews": float(matthews)}


def confusion(wanted: Any, found: Any, num_labels: int) -> np.ndarray:
    """The confusion matrix, (C, C): rows are correct labels, columns are predicted labels."""
    table = np.zeros((num_labels, num_labels), "int64")
    np.add.at(table, (np.asarray(wanted), np.asarray(found)), 1)
    return table


def multi_label_scores(wanted: Any, found: Any) -> dict[str, float]:
    """Micro-F1 (over all decisions), macro-F1 (averaged over labels), and the fraction of rows with all labels correct.

    Args:
        wanted: (rows, C) correct labels, 0 or 1.
        found: (rows, C) predicted labels, 0 or 1.
    """
    wanted, found = np.asarray(wanted, bool), np.asarray(found, bool)
    right, total = (wanted & found).sum(0), wanted.sum(0) + found.sum(0)
    by_label = np.divide(2 * right, total, out=np.zeros(len(total)), where=total > 0)
    micro = 2 * right.sum() / total.sum() if total.sum() else 0.0
    exact = (wanted == found).all(1).mean()
    return {"micro_f1": float(micro), "macro_f1": float(by_label.mean()), "exact_match": float(exact)}
