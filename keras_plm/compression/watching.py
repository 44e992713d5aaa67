"""What the layers of a model make of some texts."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from keras_plm.models import named_weights
from keras_plm.text import TextRows

_ROWS = 16  # of a batch

Seer = Callable[[str, np.ndarray, np.ndarray], None]


def text_rows(model: Any, texts: list, length: int) -> TextRows:
    """Texts, or (first, second) pairs of them, as tokens: rows of at most `length`.

    Raises:
        ValueError: a model without tokenizer.
    """
    if model.tokenizer is None:
        raise ValueError(f"this {type(model).__name__} has no tokenizer, and texts need one: pass tokenizer=…")
    pairs = not isinstance(texts[0], str)
    first, second = ([text[i] for text in texts] for i in (0, 1)) if pairs else (list(texts), None)
    return TextRows.from_texts(model.tokenizer, first, second, max_length=length)


def watch(model: Any, rows: TextRows, kernels: list[str], see: Seer) -> None:
    """Run a model, and show the inputs and outputs of each layer that sees all tokens, without padding.

    Layers that see one vector a text (poolers, heads of classifiers) are not shown.

    Args:
        model: an `Encoder` or a task model.
        rows: what to run.
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
        for batch in rows.evaluation_dataset(_ROWS)[0]:
            mask = batch["padding_mask"].numpy().astype(bool)
            seen.clear()
            model(batch, training=False)
    finally:
        for layer, call in zip(layers, calls, strict=True):
            layer.call = call
