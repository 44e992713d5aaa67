"""Weights of four bits, each rounded so that it makes up for the roundings before it."""

from collections import Counter

import numpy as np
from rich.progress import track

from keras_plm.models import remake, weight_arrays
from keras_plm.training import dtype_policy

from .schemes import Scheme
from .sensitivity import LARGEST, part_of, scales
from .tasks import TaskModel
from .watching import watch

_DAMPING = 0.01  # of the mean of the diagonal: inputs that are nearly the same have no inverse
# For each row of a kernel so many inputs, or they are learnt by heart: with as many inputs as rows the error on other
# inputs can be three times that of plain rounding.
_INPUTS = 2
_TOGETHER = 64  # rows of a kernel whose errors are handed on at once: a hundred small products cost more than a large


def rounded_for(
    model: TaskModel, rows: list[dict[str, np.ndarray]], scheme: Scheme, progress: bool = False
) -> TaskModel:
    """A copy of a model whose kernels hold 15 values a group, those that change its products on some rows least.

    The largest weight of each group is 7 steps, so that a quantizer that takes its scale from the largest finds them
    (in blocks of 32 but for the scale's own rounding, 0.2 %). Zeros stay zeros: a pruned model stays pruned. Kernels
    that see one vector a text (poolers, heads of classifiers), and all if there are few tokens, are rounded plainly.

    Args:
        model: a task model in float32.
        rows: inputs of shape (1, T).
        scheme: of four bits; its parts in eight bits stay as they are.
        progress: show a progress bar.

    Source: Frantar et al. 2023, §4, https://arxiv.org/abs/2210.17323
    Differs: the inputs with the largest values go first (as `act_order` in the authors' code); the outermost weights
        are clipped: the scale of each group is the one of least error, weighed by those inputs; and the inputs are
        those of the model before any rounding.
    """
    weights = weight_arrays(model)
    kernels = [
        path
        for path in weights
        if (part := part_of(path)) is not None and part not in scheme.eight_bits and path != "embedding/tokens"
    ]
    products = _input_products(model, rows, kernels)
    for path in track(kernels, "rounding the kernels", disable=not progress):
        size = len(weights[path])
        among = products.pop(path) if path in products else np.eye(size)
        weights[path] = rounded_kernel(weights[path], among, scheme.block or size)
    with dtype_policy("float32"):
        return remake(model, model.config, weights.__getitem__)


def rounded_kernel(kernel: np.ndarray, products: np.ndarray, group: int) -> np.ndarray:
    """A kernel (D, U) rounded to four bits.

    Args:
        kernel: float.
        products: (D, D), the sum of x xᵀ over inputs x.
        group: so many weights of an output, one after the other, share a scale; it divides D.
    """
    importance = np.diag(products).astype(np.float64)
    steps = scales(kernel, importance, group)
    held = _largest(kernel, group)
    order = np.argsort(-importance, kind="stable")
    damped = products.astype(np.float64)[np.ix_(order, order)]
    damped[np.diag_indices(len(damped))] += _DAMPING * importance.mean() or 1.0  # of inputs that are all zero
    spread = np.linalg.cholesky(np.linalg.inv(damped)).T  # of an error of row i over the rows after it
    left, steps, held = kernel[order].astype(np.float64), steps[order], held[order]
    rounded = np.zeros_like(left)
    for first in range(0, len(left), _TOGETHER):
        now = slice(first, min(first + _TOGETHER, len(left)))
        errors = np.zeros_like(left[now])
        for i in range(now.start, now.stop):
            levels = np.clip(np.round(left[i] / steps[i]), -LARGEST, LARGEST)
            was = kernel[order[i]]
            rounded[i] = steps[i] * np.where(held[i], np.sign(was) * LARGEST, np.where(was == 0, 0, levels))
            errors[i - first] = (left[i] - rounded[i]) / spread[i, i]
            left[i : now.stop] -= np.outer(spread[i, i : now.stop], errors[i - first])
        left[now.stop :] -= spread[now, now.stop :].T @ errors
    result = np.empty_like(rounded)
    result[order] = rounded
    return result.astype(np.float32)


def _input_products(model: TaskModel, rows: list, kernels: list[str]) -> dict[str, np.ndarray]:
    """For the kernel of each layer that sees all tokens, by its path, the sum of x xᵀ over its inputs without padding.

    Kernels with too few inputs are left out.
    """
    found: dict[str, np.ndarray] = {}
    counts: Counter[str] = Counter()

    def see(path: str, inputs: np.ndarray, _outputs: np.ndarray) -> None:
        found[path] = found.get(path, 0) + inputs.T @ inputs
        counts[path] += len(inputs)

    watch(model, rows, kernels, see)
    return {path: sums for path, sums in found.items() if counts[path] >= _INPUTS * len(sums)}


def _largest(kernel: np.ndarray, group: int) -> np.ndarray:
    """Where the largest weight of each group is, (D, U) bool."""
    groups = np.abs(kernel).reshape(-1, group, kernel.shape[1])
    held = np.zeros(groups.shape, bool)
    np.put_along_axis(held, groups.argmax(1, keepdims=True), True, axis=1)
    return held.reshape(kernel.shape)
