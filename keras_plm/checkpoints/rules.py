"""How other people's tensors and our weights belong together: one rule reads and writes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Some of their tensors ↔ some of our weights with the same numbers.

    Their tensors, transposed if they have it so, are parts of one array along an axis, and so are our weights. Most
    rules have one of each.

    Attributes:
        theirs: their names, `{i}` being the number of a block.
        ours: paths of our weights.
        transposed: they have (outputs, inputs), where we have (inputs, outputs).
        axis: of ours, along which several are joined.
        skipped_rows: rows of theirs before the first of ours; written as zeros.
        tied: theirs is a second copy of what another rule has: compared, and not written.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    transposed: bool = False
    axis: int = -1
    skipped_rows: int = 0
    tied: bool = False

    def of_block(self, i: int) -> Self:
        """The rule of a block of that number."""
        theirs, ours = (tuple(name.format(i=i) for name in names) for names in (self.theirs, self.ours))
        return replace(self, theirs=theirs, ours=ours)

    def to_ours(self, tensors: Sequence[np.ndarray], shapes: Sequence[Shape]) -> list[np.ndarray]:
        """Our weights from their tensors.

        Args:
            tensors: theirs, of `their_shapes`.
            shapes: of our weights.
        """
        turned = [t[self.skipped_rows :].T if self.transposed else t[self.skipped_rows :] for t in tensors]
        whole = turned[0] if len(turned) == 1 else np.concatenate(turned, self.axis)
        if len(shapes) == 1:
            return [whole]
        return np.split(whole, np.cumsum([shape[self.axis] for shape in shapes])[:-1], self.axis)

    def to_theirs(self, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The inverse of `to_ours`; several of theirs are equal parts."""
        whole = weights[0] if len(weights) == 1 else np.concatenate(weights, self.axis)
        if whole.shape[self.axis] % len(self.theirs):
            raise ValueError(f"{self.ours} of shape {whole.shape} cannot be cut into {len(self.theirs)} equal parts")
        parts = [whole] if len(self.theirs) == 1 else np.split(whole, len(self.theirs), self.axis)
        turned = [np.ascontiguousarray(part.T) if self.transposed else np.ascontiguousarray(part) for part in parts]
        if not self.skipped_rows:
            return turned
        return [np.pad(part, ((self.skipped_rows, 0), *[(0, 0)] * (part.ndim - 1))) for part in turned]

    def their_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """The shapes of their tensors for those of our weights."""
        whole = list(shapes[0])
        if len(shapes) > 1 or len(self.theirs) > 1:
            whole[self.axis] = sum(shape[self.axis] for shape in shapes) // len(self.theirs)
        turned = whole[::-1] if self.transposed else whole
        turned[0] += self.skipped_rows
        return [tuple(turned)] * len(self.theirs)


def weight(theirs: str, ours: str, skipped_rows: int = 0) -> tuple[Rule]:
    """The same numbers in the same order."""
    return (Rule(theirs=(theirs,), ours=(ours,), skipped_rows=skipped_rows),)


def kernel(theirs: str, ours: str) -> tuple[Rule]:
    """A kernel, which torch has transposed."""
    return (Rule(theirs=(theirs,), ours=(ours,), transposed=True),)


def dense(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A dense layer's kernel and bias."""
    return (*kernel(f"{theirs}.weight", f"{ours}/kernel"), *weight(f"{theirs}.bias", f"{ours}/bias"))


def norm(theirs: str, ours: str) -> tuple[Rule, ...]:
    """A layer normalization's two weights."""
    return (*weight(f"{theirs}.weight", f"{ours}/gamma"), *weight(f"{theirs}.bias", f"{ours}/beta"))


def split(theirs: str, ours: Sequence[str], transposed: bool = True) -> tuple[Rule, ...]:
    """A dense layer of theirs that is several of ours, such as query, key and value in one.

    Args:
        theirs: name of the layer.
        ours: paths of our layers, in the order of their outputs.
        transposed: False for the layers of GPT-2, which have (inputs, outputs) as ours.
    """
    kernels, biases = (tuple(f"{path}/{what}" for path in ours) for what in ("kernel", "bias"))
    return (
        Rule(theirs=(f"{theirs}.weight",), ours=kernels, transposed=transposed),
        Rule(theirs=(f"{theirs}.bias",), ours=biases),
    )


def concatenate(theirs: Sequence[str], ours: str) -> tuple[Rule]:
    """Several kernels of theirs, of equal size, that are one of ours."""
    return (Rule(theirs=tuple(theirs), ours=(ours,), transposed=True),)


def tie(theirs: str, ours: str) -> tuple[Rule]:
    """A second copy of a weight, if it is there at all."""
    return (Rule(theirs=(theirs,), ours=(ours,), tied=True),)


def their_names(rules: Iterable[Rule], tied: bool | None = None) -> set[str]:
    """The names of their tensors; with `tied` only of the rules that are so."""
    return {name for rule in rules if tied in (None, rule.tied) for name in rule.theirs}


def our_paths(rules: Iterable[Rule]) -> set[str]:
    """The paths of our weights."""
    return {path for rule in rules for path in rule.ours}
