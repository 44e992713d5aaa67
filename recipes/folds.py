"""Which rows are held out: of each label its share, and questions on one context stay together."""

import numpy as np

from keras_plm.text import Examples, LabelledTexts, Questions


def fold_of_rows(rows: Examples, folds: int, seed: int) -> np.ndarray:
    """(rows,) the fold of each row: dealt out like cards, label by label.

    Args:
        rows: examples.
        folds: parts.
        seed: of the order.
    """
    units, order = _units(rows, seed)
    fold_of = np.empty(len(order), "int64")
    fold_of[order] = np.arange(len(order)) % folds
    return fold_of[units]


def is_held_out(rows: Examples, fraction: float, seed: int) -> np.ndarray:
    """(rows,) bool, whether a row belongs to that fraction.

    Raises:
        ValueError: too few rows: none would be held out, or all.
    """
    units, order = _units(rows, seed)
    borders = np.floor(np.arange(len(order) + 1) * fraction + 1e-9)
    chosen = np.empty(len(order), bool)
    chosen[order] = np.diff(borders) > 0
    if chosen.all() or not chosen.any():
        what = "contexts, which stay whole" if isinstance(rows, Questions) else "rows"
        raise ValueError(f"validation_split={fraction} of {len(order)} {what} leaves none to train or to validate on")
    return chosen[units]


def _units(rows: Examples, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows,) what each row belongs to, and a random order of these units, sorted by label."""
    random = np.random.default_rng(seed)
    if isinstance(rows, Questions):
        contexts = {context: i for i, context in enumerate(dict.fromkeys(rows.contexts))}
        return np.array([contexts[context] for context in rows.contexts]), random.permutation(len(contexts))
    order = random.permutation(len(rows))
    if isinstance(rows, LabelledTexts):
        order = order[np.argsort(np.array([str(value) for value in rows.values])[order], kind="stable")]
    return np.arange(len(rows)), order
