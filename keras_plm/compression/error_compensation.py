"""What the other weights of an output can compensate for, once some of them are rounded or gone."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_plm.models import named_weights
from keras_plm.text import TextRows

from .activation_capture import watch

_DAMPING = 0.01  # of the mean of the diagonal: inputs that are nearly the same have no inverse
# Inputs needed for each row of a kernel, or they are memorized: with as many inputs as rows the error on other inputs
# can be three times that of plain rounding.
_INPUTS = 2
_TOGETHER = 64  # rows of a kernel whose errors are handed on at once: a hundred small products cost more than a large
_FITTING = 30  # steps; 10 are within 0.3 % of a hundred
_TINY = 1e-300
_PENALTIES = 0.1, 1.0  # first and last, of what is not sparse yet; the inputs' squares are 1 on the mean
_STEPS = 40

Change = Callable[[int, np.ndarray, np.ndarray], np.ndarray]


def input_products(model: Any, rows: TextRows, kernels: list[str]) -> dict[str, np.ndarray]:
    """For each kernel, by its path, (D, D), the sum of x xᵀ over the inputs x of its layer without padding.

    That of a kernel with too few of them, and of one that does not see all tokens, is the identity.
    """
    shapes = {path: variable.shape for path, variable in named_weights(model).items() if path in kernels}
    known = {path: Inputs(shape) for path, shape in shapes.items()}
    watch(model, rows, kernels, lambda path, inputs, _outputs: known[path].add(inputs))
    return {path: inputs.products for path, inputs in known.items()}


class Inputs:
    """What is known of the inputs x (N, D) of a kernel, and of what its outputs for them, (N, U), lack.

    Args:
        shape: (D, U).
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._products = np.zeros((shape[0], shape[0]), "float32")
        self._lacks = np.zeros(shape, "float32")
        self._count = 0

    def add(self, inputs: np.ndarray, lacks: np.ndarray | None = None) -> None:
        """Some more inputs (N, D), and what is to be added to their outputs, (N, U)."""
        self._products += inputs.T @ inputs
        if lacks is not None:
            self._lacks += inputs.T @ lacks
        self._count += len(inputs)

    @property
    def enough(self) -> bool:
        """Whether there are enough of them not to be memorized."""
        return self._count >= _INPUTS * len(self._products)

    @property
    def products(self) -> np.ndarray:
        """(D, D), the sum of x xᵀ; the identity, for which nothing is compensated for, unless there are enough."""
        return self._products if self.enough else np.eye(len(self._products), dtype="float32")

    def nearest(self, kernel: np.ndarray) -> np.ndarray:
        """The kernel (D, U) whose outputs lack least, where that of what was added is known; its zeros stay."""
        if not self.enough:
            return kernel
        found = (kernel + np.linalg.solve(_damped(self._products), self._lacks)).astype("float32")
        return found if kernel.all() else fitted_kernel(found, np.where(kernel, found, 0), self._products)


def changed_kernel(kernel: np.ndarray, products: np.ndarray, order: np.ndarray, change: Change) -> np.ndarray:
    """A kernel (D, U) whose rows change one after the other, each making up for the errors before it.

    Args:
        kernel: float.
        products: (D, D), the sum of x xᵀ over inputs x.
        order: (D,) in which the rows change.
        change: called for each row with its place in that order, all rows in that order as they are by now (right up to
            the next multiple of `_TOGETHER`), and the (D,) costs of an error in each; gives the row (U,) that is to be.

    Source: Frantar et al. 2023, §3.3, https://arxiv.org/abs/2210.17323
    """
    damped = _damped(products)[np.ix_(order, order)]
    spread = np.linalg.cholesky(np.linalg.inv(damped)).T  # of an error of row i over the rows after it
    costs = 1 / np.diag(spread)
    left = kernel[order].astype(np.float64)
    result = np.empty_like(left)
    for first in range(0, len(left), _TOGETHER):
        now = slice(first, min(first + _TOGETHER, len(left)))
        errors = np.zeros_like(left[now])
        for i in range(now.start, now.stop):
            result[i] = change(i, left, costs)
            errors[i - first] = (left[i] - result[i]) * costs[i]
            left[i : now.stop] -= np.outer(spread[i, i : now.stop], errors[i - first])
        left[now.stop :] -= spread[now, now.stop :].T @ errors
    back = np.empty_like(result)
    back[order] = result
    return back.astype(np.float32)


def sparse_kernel(kernel: np.ndarray, products: np.ndarray, keep: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A kernel (D, U) with zeros where its products with some inputs need it least, and the rest fitted to that.

    Args:
        kernel: float.
        products: (D, D), the sum of x xᵀ over inputs x.
        keep: where weights (D, U), in units of what a change of each alone does, are not to become 0: the largest.

    Source: Meng et al. 2024, §3.2, https://arxiv.org/abs/2406.07831
    Differs: the penalty grows at each of a fixed number of steps. Against zeros that are chosen row after row, as by
        Frantar & Alistarh 2023, https://arxiv.org/abs/2301.00774, the error on other texts is 2 to 14 % smaller with
        two of four, and a fifth with 50 or 80 % (MiniLM).
    """
    damped = _damped(products)
    units = np.sqrt(np.diag(damped))[:, None]
    damped /= units * units.T
    sizes, axes = (values.astype(np.float32) for values in np.linalg.eigh(damped))
    wanted = (damped @ (kernel * units)).astype(np.float32)
    weights = (kernel * units).astype(np.float32)
    sparse, dual = np.where(keep(weights), weights, 0), np.zeros_like(weights)
    for penalty in np.geomspace(*_PENALTIES, _STEPS, dtype="float32"):
        dense = axes @ ((axes.T @ (wanted - dual + penalty * sparse)) / (sizes[:, None] + penalty))
        weights = dense + dual / penalty
        sparse = np.where(keep(weights), weights, 0)
        dual += penalty * (dense - sparse)
    return fitted_kernel(kernel, (sparse / units).astype(np.float32), products)


def fitted_kernel(kernel: np.ndarray, sparse: np.ndarray, products: np.ndarray) -> np.ndarray:
    """A kernel (D, U) with zeros where another has them, whose products are as near as can be to those before.

    The rows that came before a zero could not compensate for it: with them the error is a tenth to a seventh smaller
    (MiniLM, two of four, other texts).

    Args:
        kernel: float, as it was.
        sparse: (D, U), with the zeros, and near to what is looked for.
        products: (D, D), the sum of x xᵀ over inputs x.

    Source: conjugate gradients, Hestenes & Stiefel 1952, https://doi.org/10.6028/jres.049.044, for all outputs at once
    """
    damped, kept = _damped(products), sparse != 0
    found, scale = sparse.astype(np.float64), 1 / np.diag(damped)[:, None]
    left = np.where(kept, damped @ (kernel - found), 0)
    direction = scale * left
    size = (left * direction).sum(0)
    for _ in range(_FITTING):
        change = np.where(kept, damped @ direction, 0)
        step = size / np.maximum((direction * change).sum(0), _TINY)
        found += step * direction
        left -= step * change
        before, size = size, (left * scale * left).sum(0)
        direction = scale * left + size / np.maximum(before, _TINY) * direction
    return found.astype(np.float32)


def fitted_values(kernel: np.ndarray, grouped: np.ndarray, products: np.ndarray) -> np.ndarray:
    """A clustered kernel (D, U): the values that bring its products nearest to what they were; zeros stay zeros.

    Args:
        kernel: float, as it was.
        grouped: (D, U), clustered: equal values stay equal.
        products: (D, D), the sum of x xᵀ over inputs x.
    """
    damped = _damped(products)
    where = [(grouped == value).astype(np.float64) for value in np.unique(grouped) if value]
    seen = [damped @ one for one in where]
    matrix = [[np.vdot(one, other) for other in seen] for one in where]
    values = np.linalg.lstsq(matrix, [np.vdot(one, kernel) for one in seen])[0]
    return sum(value * one for value, one in zip(values, where, strict=True)).astype(np.float32)


def _damped(products: np.ndarray) -> np.ndarray:
    damped = products.astype(np.float64)
    damped[np.diag_indices(len(damped))] += _DAMPING * np.diag(products).mean() or 1.0  # of inputs that are all zero
    return damped
