"""Layer-wise compression: kernels change one by one, and each compensates for the kernels before it."""

from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from typing import Any

import numpy as np
from keras import ops
from rich.progress import track

from keras_plm.models import AnyModel, Encoder, copy_model
from keras_plm.text import TextRows

from .activation_capture import layers_with, shown, text_batches
from .error_compensation import Inputs

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]


def changed_model(
    model: AnyModel, kernels: list[str], rows: TextRows, change: Change, progress: bool = False
) -> AnyModel:
    """A copy of a model with changed kernels in its blocks, whose outputs on some rows are near to the original's.

    The inputs of a kernel depend on the earlier changes. Therefore the kernel is first fitted: with these inputs, it
    should give the outputs of the original model. Then the fitted kernel is changed. Zeros stay zero.

    Args:
        model: an `Encoder` or a task model.
        kernels: paths of kernels of its blocks.
        rows: texts similar to the texts in production.
        change: returns a new kernel (D, U), from the kernel and from (D, D), the sum of x xᵀ over its inputs x.
        progress: show a progress bar.

    Source: Li et al. 2025, §3, https://arxiv.org/abs/2504.02692
    Differs: the kernel is fitted by least squares before it is changed.
    """
    changed, batches = copy_model(model), text_batches(model, rows)
    old, new = _Walk(model, kernels, batches), _Walk(changed, kernels, batches)
    blocks = list(zip(old.blocks, new.blocks, strict=True))
    for before, after in track(blocks, "changing the blocks", disable=not progress):
        for paths in old.in_order(before):
            weights = {path: new.layers[path].kernel for path in paths}
            known = {path: Inputs(weight.shape) for path, weight in weights.items()}
            for batch in range(len(batches)):
                calls = zip(old.seen(before, paths, batch), new.seen(after, paths, batch), strict=True)
                for (path, _, wanted), (_, inputs, outputs) in calls:
                    known[path].add(inputs, wanted - outputs)
            for path, weight in weights.items():
                weight.assign(change(known[path].nearest(np.asarray(weight)), known[path].products))
        old.go_through(before)
        new.go_through(after)
    return changed


class _Walk:
    """Runs a model on some batches, block by block: all batches pass a block before the next block runs.

    A block that is shared by all layers runs as many times as there are layers.
    """

    def __init__(self, model: Any, kernels: list[str], batches: list[dict[str, np.ndarray]]) -> None:
        encoder = model if isinstance(model, Encoder) else model.encoder
        self.blocks = list(dict.fromkeys(encoder.blocks))
        self.layers = layers_with(model, kernels)
        self._times = len(encoder.blocks) // len(self.blocks)
        self._masks = [batch["padding_mask"] for batch in batches]
        self._states = [encoder.embedding(batch["token_ids"], batch["segment_ids"]) for batch in batches]

    def in_order(self, block: Any) -> list[list[str]]:
        """The paths of a block's kernels, in the order of their calls; kernels with the same input form a group."""
        calls: list[tuple[str, Any]] = []
        with shown(self.layers, lambda path, inputs, _: calls.append((path, inputs))):
            block(self._states[0], padding_mask=self._masks[0])
        return [[path for path, _ in group] for _, group in groupby(calls, lambda call: id(call[1]))]

    def seen(self, block: Any, paths: list[str], batch: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """For some layers of a block and one batch: path, inputs (tokens, D), outputs (tokens, U)."""
        calls: list[tuple[str, Any, Any]] = []

        def see(*call: Any) -> None:
            calls.append(call)
            if len(calls) == len(paths) * self._times:  # stop here: the rest of the block takes a third of the time
                raise _SeenError

        with shown({path: self.layers[path] for path in paths}, see), suppress(_SeenError):
            self._result(block, batch)
        mask = self._masks[batch].astype(bool)
        return [(path, *(ops.convert_to_numpy(values)[mask] for values in both)) for path, *both in calls]

    def go_through(self, block: Any) -> None:
        """Run a block on all batches."""
        self._states = [self._result(block, batch) for batch in range(len(self._states))]

    def _result(self, block: Any, batch: int) -> Any:
        hidden = self._states[batch]
        for _ in range(self._times):
            hidden = block(hidden, padding_mask=self._masks[batch])
        return hidden


class _SeenError(Exception):
    """Everything needed was captured."""
