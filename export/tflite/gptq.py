"""GPTQ: four-bit weights, each rounded to compensate for the rounding errors of the weights before it."""

import numpy as np
from rich.progress import track

from keras_plm.compression.error_compensation import changed_kernel, input_products
from keras_plm.models import remake, weight_arrays
from keras_plm.tasks import TaskModel
from keras_plm.text import TextRows
from keras_plm.training import dtype_policy

from .int4_rounding import LARGEST, four_bits, part_of, scales
from .schemes import EMBEDDING_MATRIX, Scheme

_MATRIX = "embedding/tokens"


def rounded_for(model: TaskModel, rows: TextRows, scheme: Scheme, progress: bool = False) -> TaskModel:
    """A copy of a model whose kernels are rounded to 15 values per group, with little change of the layers' outputs.

    The largest weight of each group is exactly 7 steps. A quantizer that derives the scale from the largest weight
    therefore finds the same values. (In blocks of 32 the scale itself is rounded, by 0.2 %.) Zeros stay zero, so a
    pruned model stays pruned. Kernels that see one vector per text (poolers, classification heads) are rounded to
    nearest, and so are all kernels if there are too few tokens. The embedding matrix of a text generator is rounded to
    nearest too.

    Args:
        model: a task model in float32.
        rows: texts similar to the texts in production.
        scheme: a four-bit scheme; its 8-bit parts are not changed.
        progress: show a progress bar.

    Source: Frantar et al. 2023, §4, https://arxiv.org/abs/2210.17323
    Differs: rows with the largest inputs are rounded first (`act_order` in the authors' code). The largest weights are
        clipped: each group has the scale with the lowest error, weighted by the inputs. All inputs come from the
        unrounded model.
    """
    weights = weight_arrays(model)
    kernels = [
        path
        for path in weights
        if (part := part_of(path)) is not None and part not in scheme.eight_bits and path != _MATRIX
    ]
    products = input_products(model, rows, kernels)
    for path in track(kernels, "rounding the kernels", disable=not progress):
        weights[path] = rounded_kernel(weights[path], products.pop(path), scheme.block or len(weights[path]))
    if scheme.generates and EMBEDDING_MATRIX not in scheme.eight_bits:  # also the kernel of a tied head
        weights[_MATRIX] = four_bits(weights[_MATRIX], _MATRIX, scheme.block)
    with dtype_policy("float32"):
        return remake(model, weights.__getitem__)


def rounded_kernel(kernel: np.ndarray, products: np.ndarray, group: int) -> np.ndarray:
    """A kernel (D, U) rounded to four bits.

    Args:
        kernel: the float kernel.
        products: (D, D), the sum of x xᵀ over inputs x.
        group: number of consecutive weights of an output that share a scale; it divides D.
    """
    importance = np.diag(products).astype(np.float64)
    steps = scales(kernel, importance, group)
    held = _largest(kernel, group)
    order = np.argsort(-importance, kind="stable")
    steps, held, was = steps[order], held[order], kernel[order]

    def change(i: int, left: np.ndarray, _costs: np.ndarray) -> np.ndarray:
        levels = np.clip(np.round(left[i] / steps[i]), -LARGEST, LARGEST)
        return steps[i] * np.where(held[i], np.sign(was[i]) * LARGEST, np.where(was[i] == 0, 0, levels))

    return changed_kernel(kernel, products, order, change)


def _largest(kernel: np.ndarray, group: int) -> np.ndarray:
    """(D, U) bool, True at the largest weight of each group."""
    groups = np.abs(kernel).reshape(-1, group, kernel.shape[1])
    held = np.zeros(groups.shape, bool)
    np.put_along_axis(held, groups.argmax(1, keepdims=True), True, axis=1)
    return held.reshape(kernel.shape)
