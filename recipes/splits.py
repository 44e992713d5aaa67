"""Held-out examples, stratified by label. Questions on the same context stay together."""

import numpy as np

from keras_plm.text import Examples


def fold_of_rows(rows: Examples, folds: int, seed: int) -> np.ndarray:
    """(rows,) the fold of each row. The rows of each label go to the folds in turn.

    Args:
        rows: the examples.
        folds: number of folds.
        seed: random seed of the order.
    """
    units, order = _units(rows, seed)
    fold_of = np.empty(len(order), "int64")
    fold_of[order] = np.arange(len(order)) % folds
    return fold_of[units]


def is_held_out(rows: Examples, fraction: float, seed: int) -> np.ndarray:
    """(rows,) bool, whether a row is held out.

    Raises:
        ValueError: there are too few rows: none would be held out, or all.
    """
    units, order = _units(rows, seed)
    borders = np.floor(np.arange(len(order) + 1) * fraction + 1e-9)
    chosen = np.empty(len(order), bool)
    chosen[order] = np.diff(borders) > 0
    if chosen.all() or not chosen.any():
        what = "examples" if rows.groups() is None else "groups (such as contexts), which are not divided,"
        raise ValueError(f"validation_split={fraction} of {len(order)} {what} leaves none for training or validation")
    return chosen[units]


def _units(rows: Examples, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) the unit (group, or the row itself) of each row, and a random order of the units, sorted by label."""
    random = np.random.default_rng(seed)
    groups, strata = rows.groups(), rows.strata()
    if groups is not None:
        numbers = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        return np.array([numbers[group] for group in groups]), random.permutation(len(numbers))
    order = random.permutation(len(rows))
    if strata is not None:
        order = order[np.argsort(np.array(strata)[order], kind="stable")]
    return np.arange(len(rows)), order
