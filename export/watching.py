"""What the layers of a model make of some texts."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_plm.models import named_weights

from .tasks import TaskModel

_ROWS = 16  # of a batch

Seer = Callable[[str, np.ndarray, np.ndarray], None]


def watch(model: TaskModel, rows: list[dict[str, np.ndarray]], kernels: list[str], see: Seer) -> None:
    """Run a model, and show the inputs and outputs of each layer that sees all tokens, without padding.

    Layers that see one vector a text (poolers, heads of classifiers) are not shown.

    Args:
        model: a task model.
        rows: inputs of shape (1, T).
        kernels: paths of the kernels of the layers to show.
        see: called for each of them and each batch with the path of the kernel, the inputs (tokens, D) and the outputs
            (tokens, U).
    """
    paths = {id(variable): path for path, variable in named_weights(model).items() if path in kernels}
    layers = [layer for layer in model._flatten_layers() if id(getattr(layer, "kernel", None)) in paths]
    mask = np.zeros((0, 0), bool)
    # A block that gives all tokens and the first one alone is called for both: its keys and values count once.
    passes = model.config.num_layers if model.config.shared_layers else 1
    seen: Counter[str] = Counter()

    def watched(path: str, call: Callable) -> Callable:
        def showing(x: Any, *args: Any, **options: Any) -> Any:
            output = call(x, *args, **options)
            tokens = len(x.shape) == 3 and x.shape[1] == mask.shape[1]  # not the first one alone, nor a pooled vector
            if tokens and seen[path] < passes:
                seen[path] += 1
                see(path, *(ops.convert_to_numpy(values)[mask] for values in (x, output)))
            return output

        return showing

    calls = [layer.call for layer in layers]
    for layer, call in zip(layers, calls, strict=True):
        layer.call = watched(paths[id(layer.kernel)], call)
    try:
        rows = sorted(rows, key=lambda row: int(row["padding_mask"].sum()))
        for i in range(0, len(rows), _ROWS):
            length = int(rows[min(i + _ROWS, len(rows)) - 1]["padding_mask"].sum())
            names = rows[i]
            batch = {name: np.concatenate([row[name][:, :length] for row in rows[i : i + _ROWS]]) for name in names}
            mask = batch["padding_mask"].astype(bool)
            seen.clear()
            model({name: ops.convert_to_tensor(values) for name, values in batch.items()}, training=False)
    finally:
        for layer, call in zip(layers, calls, strict=True):
            layer.call = call
