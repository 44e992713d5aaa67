"""Capture the inputs and outputs of layers on some texts."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from keras import ops

from keras_plm.models import named_weights
from keras_plm.text import TextRows

_ROWS = 16  # rows per batch

Seer = Callable[[str, np.ndarray, np.ndarray], None]


def text_rows(model: Any, texts: list, length: int) -> TextRows:
    """Tokenize texts, or (first, second) pairs, into rows of at most `length` tokens.

    Raises:
        ValueError: the model has no tokenizer.
    """
    if model.tokenizer is None:
        raise ValueError(f"this {type(model).__name__} has no tokenizer, but texts need one: pass tokenizer=…")
    pairs = not isinstance(texts[0], str)
    first, second = ([text[i] for text in texts] for i in (0, 1)) if pairs else (list(texts), None)
    return TextRows.from_texts(model.tokenizer, first, second, max_length=length)


def text_batches(model: Any, rows: TextRows) -> list[dict[str, np.ndarray]]:
    """Batches of the inputs of a model; rows of similar length are batched together."""
    batches = rows.evaluation_dataset(_ROWS)[0]
    return [{name: np.asarray(batch[name]) for name in model.input} for batch in batches]


def layers_with(model: Any, kernels: list[str]) -> dict[str, Any]:
    """The layers of some kernels, by the paths of the kernels."""
    paths = {id(variable): path for path, variable in named_weights(model).items() if path in kernels}
    layers = ((paths.get(id(getattr(layer, "kernel", None))), layer) for layer in model._flatten_layers())
    return {path: layer for path, layer in layers if path is not None}


@contextmanager
def shown(layers: dict[str, Any], see: Callable[[str, Any, Any], None]) -> Iterator[None]:
    """A context in which `see` is called after each of these layers, with its name, first argument and output."""

    def showing(name: str, call: Callable) -> Callable:
        def shows(x: Any, *args: Any, **options: Any) -> Any:
            output = call(x, *args, **options)
            see(name, x, output)
            return output

        return shows

    calls = {name: layer.call for name, layer in layers.items()}
    for name, layer in layers.items():
        layer.call = showing(name, calls[name])
    try:
        yield
    finally:
        for name, layer in layers.items():
            layer.call = calls[name]


def watch(model: Any, rows: TextRows, kernels: list[str], see: Seer) -> None:
    """Run a model, and capture the inputs and outputs of layers that process all tokens, without padding.

    Layers that process one vector per text (poolers, classification heads) are not captured.

    Args:
        model: a backbone or a task model.
        rows: the rows to run.
        kernels: paths of the kernels of the layers to capture.
        see: called for each layer and each batch with the path of the kernel, the inputs (tokens, D) and the outputs
            (tokens, U).
    """
    mask = np.zeros((0, 0), bool)
    # The last block is called twice, for all tokens and for the first token alone. Its keys and values count once.
    passes = model.config.num_layers if getattr(model.config, "shared_layers", False) else 1
    seen: Counter[str] = Counter()

    def see_tokens(path: str, inputs: Any, outputs: Any) -> None:
        tokens = len(inputs.shape) == 3 and inputs.shape[1] == mask.shape[1]  # neither one token nor a pooled vector
        if tokens and seen[path] < passes:
            seen[path] += 1
            see(path, *(ops.convert_to_numpy(values)[mask] for values in (inputs, outputs)))

    with shown(layers_with(model, kernels), see_tokens):
        for batch in text_batches(model, rows):
            mask = batch["padding_mask"].astype(bool)
            seen.clear()
            model(batch, training=False)
