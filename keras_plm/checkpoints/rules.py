"""Rules that map Hugging Face's tensors to our weights. The same rule is used for reading and writing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Some of Hugging Face's tensors ↔ some of our weights with the same numbers.

    Hugging Face's tensors, transposed if necessary and joined along an axis, are one array. Our weights, joined along
    the same axis, are the same array. Most rules have one tensor and one weight.

    Attributes:
        theirs: names of Hugging Face's tensors; `{i}` is the number of a block.
        ours: paths of our weights.
        transposed: whether their tensors are (outputs, inputs) and our weights (inputs, outputs).
        axis: axis of our weights, along which several are joined.
        skipped_rows: number of rows in their tensor before our first row; they are written as zeros.
        is_row: whether their tensor has one more axis than our weight, a first axis of size 1.
        tied: whether their tensor is a copy of a tensor of another rule; a copy is compared, but not written.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transposed: bool = False
    axis: int = -1
    skipped_rows: int = 0
    is_row: bool = False
    tied: bool = False

    def of_block(self, i: int) -> Self:
        """The rule for block `i`."""
        theirs, ours = (tuple(name.format(i=i) for name in names) for names in (self.theirs, self.ours))
        return replace(self, theirs=theirs, ours=ours)

    def to_ours(self, tensors: Sequence[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Convert Hugging Face's tensors to our weights.

        Args:
            tensors: Hugging Face's tensors, with shapes as in `their_shapes`.
            shapes: shapes of our weights.
        """
        if self.is_row:
            return [tensors[0][0]]
        turned = [t[self.skipped_rows :].T if self.transposed else t[self.skipped_rows :] for t in tensors]
        whole = turned[0] if len(turned) == 1 else np.concatenate(turned, self.axis)
        if len(shapes) == 1:
            return [whole]
        return np.split(whole, np.cumsum([shape[self.axis] for shape in shapes])[:-1], self.axis)

    def to_theirs(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The inverse of `to_ours`. If there are several tensors, all have the same size."""
        if self.is_row:
            return [weights[0][None]]
        whole = weights[0] if len(weights) == 1 else np.concatenate(weights, self.axis)
        if whole.shape[self.axis] % len(self.theirs):
            raise ValueError(f"{self.ours} of shape {whole.shape} cannot be split into {len(self.theirs)} equal parts")
        parts = [whole] if len(self.theirs) == 1 else np.split(whole, len(self.theirs), self.axis)
        turned = [np.ascontiguousarray(part.T) if self.transposed else np.ascontiguousarray(part) for part in parts]
        if not self.skipped_rows:
            return turned
        return [np.pad(part, ((self.skipped_rows, 0), *[(0, 0)] * (part.ndim - 1))) for part in turned]

    def their_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shapes of Hugging Face's tensors, from the shapes of our weights."""
        if self.is_row:
            return [(1, *shapes[0])]
        whole = list(shapes[0])
        if len(shapes) > 1 or len(self.theirs) > 1:
            whole[self.axis] = sum(shape[self.axis] for shape in shapes) // len(self.theirs)
        turned = whole[::-1] if self.transposed else whole
        turned[0] += self.skipped_rows
        return [tuple(turned)] * len(self.theirs)


def weight(theirs: str, ours: str, skipped_rows: int = 0) -> tuple[Rule]:
    """A weight with the same numbers in the same order."""
    return (Rule(theirs=(theirs,), ours=(ours,), skipped_rows=skipped_rows),)


def row(theirs: str, ours: str) -> tuple[Rule]:
    """A weight that Hugging Face stores as a row of a matrix."""
    return (Rule(theirs=(theirs,), ours=(ours,), is_row=True),)


def kernel(theirs: str, ours: str) -> tuple[Rule]:
    """A kernel, which is transposed in torch."""
    return (Rule(theirs=(theirs,), ours=(ours,), transposed=True),)


def dense(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A dense layer's kernel and bias."""
    return (*kernel(f"{theirs}.weight", f"{ours}/kernel"), *weight(f"{theirs}.bias", f"{ours}/bias"))


def norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    """The two weights of a layer normalization."""
    return (*weight(f"{theirs}.weight", f"{ours}/gamma"), *weight(f"{theirs}.bias", f"{ours}/beta"))


def split(theirs: str, ours: Sequence[str], transposed: bool = True) -> tuple[Rule, ...]:
    """One of Hugging Face's dense layers that is several of our layers, such as a fused query, key and value.

    Args:
        theirs: name of Hugging Face's layer.
        ours: paths of our layers, in the order of their outputs.
        transposed: False for GPT-2, whose kernels are (inputs, outputs), as ours.
    """
    kernels, biases = (tuple(f"{path}/{what}" for path in ours) for what in ("kernel", "bias"))
    return (
        Rule(theirs=(f"{theirs}.weight",), ours=kernels, transposed=transposed),
        Rule(theirs=(f"{theirs}.bias",), ours=biases),
    )


def concatenate(theirs: Sequence[str], ours: str) -> tuple[Rule]:
    """Several of Hugging Face's kernels, of equal size, that are one of our kernels."""
    return (Rule(theirs=tuple(theirs), ours=(ours,), transposed=True),)


def tie(theirs: str, ours: str) -> tuple[Rule]:
    """A tied copy of a weight, which may be absent."""
    return (Rule(theirs=(theirs,), ours=(ours,), tied=True),)


def their_names(rules: Iterable[Rule], tied: bool | None = None) -> set[str]:
    """The names of Hugging Face's tensors; if `tied` is given, only from rules with this value of `tied`."""
    return {name for rule in rules if tied in (None, rule.tied) for name in rule.theirs}


def our_paths(rules: Iterable[Rule]) -> set[str]:
    """The paths of our weights."""
    return {path for rule in rules for path in rule.ours}
