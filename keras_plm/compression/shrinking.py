"""Initialize a smaller model with a part of a larger model's weights."""

import dataclasses
from typing import Any

import numpy as np

from keras_plm.config import Adaptation, EncoderConfig
from keras_plm.models import AnyModel, remake, weight_arrays
from keras_plm.training.distillation_losses import matched_layers

# the meaning of a weight's last axes, by the end of its path; for all other weights, the last axis is "features"
_AXES = {
    "embedding/positions": ("positions", "features"),
    "query/kernel": ("features", "heads"),
    "query/bias": ("heads",),
    "key/kernel": ("features", "heads"),
    "key/bias": ("heads",),
    "value/kernel": ("features", "heads"),
    "value/bias": ("heads",),
    "output/kernel": ("heads", "features"),
    "expand/kernel": ("features", "neurons"),
    "expand_bias": ("neurons",),
    "contract/kernel": ("neurons", "features"),
    "pooler/kernel": ("features", "features"),
    "masked_tokens/dense/kernel": ("features", "features"),
    "masked_tokens/bias": ("pieces",),
    "head/dense/kernel": ("features", "outputs"),
    "head/dense/bias": ("outputs",),
    "next_sentence/dense/kernel": ("features", "outputs"),
    "next_sentence/dense/bias": ("outputs",),
    "crf/begin": ("outputs",),
    "crf/follow": ("outputs", "outputs"),
    "crf/end": ("outputs",),
}
_SIZES = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim", "max_sequence_length")


def shrink(model: AnyModel, config: EncoderConfig) -> AnyModel:
    """Make a smaller model from a larger one: it keeps the heads, inner neurons and features with the largest weights.

    Its accuracy is low until it is trained. But from little text, it learns far more than random weights do. Train it
    with `Distill` to get near the larger model.

    Args:
        model: an `Encoder` or a task model.
        config: sizes of the smaller model. No size may be larger, and the width of a head, `hidden_dim / num_heads`,
            must be the same.

    Returns:
        A model of the same kind.

    Raises:
        ValueError: a size is larger than the model's, the heads have another width, or the architecture differs in more
            than sizes.

    Example:
        >>> import keras_plm
        >>> from keras_plm.config import MINI, TINY
        >>> shrink(keras_plm.Encoder(MINI), TINY).config == TINY
        True

    Source: Samragh et al. 2023, §3, https://arxiv.org/abs/2312.09299
    Differs: only the size of weights decides what is kept, without data, and nothing is scaled. The kept blocks are
        evenly spaced, as in DistilBERT (Sanh et al. 2019, §2, https://arxiv.org/abs/1910.01108).
    """
    if not isinstance(model.config, EncoderConfig):
        raise ValueError(f"a {type(model).__name__} cannot be shrunk, only models with an encoder")
    _check(model, config)
    there = weight_arrays(model)
    kept = {
        "features": _strongest(_feature_sizes(there), config.hidden_dim),
        "positions": np.arange(config.max_sequence_length),
    }
    blocks = {}
    for i, j in enumerate(matched_layers(config.num_layers, model.config.num_layers)):
        name = f"block_{j}"
        parts = {"heads": _kept_heads(there, name, config), "neurons": _kept_neurons(there, name, config)}
        blocks[f"block_{i}"] = (name, parts)

    def weight_of(path: str) -> np.ndarray:
        first, _, inside = path.partition("/")
        block, parts = blocks.get(first, (first, {}))
        weight = there[f"{block}/{inside}"]
        axes = next((axes for end, axes in _AXES.items() if path.endswith(end)), ("features",))
        for axis, name in enumerate(axes, start=-len(axes)):
            if name in kept | parts:
                weight = np.take(weight, (kept | parts)[name], axis=axis)
        return weight

    return remake(model, weight_of, config)


def smaller_config(config: EncoderConfig, num_layers: int | None = None, num_heads: int | None = None) -> EncoderConfig:
    """The config of a smaller model with fewer blocks, or with fewer heads and less width.

    Args:
        config: config of the larger model.
        num_layers: number of blocks; None means all.
        num_heads: number of heads; None means all. The width of a head stays the same, so the width shrinks in
            proportion, and the inner width with it.
    """
    heads = config.num_heads if num_heads is None else num_heads
    return dataclasses.replace(
        config,
        num_layers=config.num_layers if num_layers is None else num_layers,
        num_heads=heads,
        hidden_dim=config.hidden_dim * heads // config.num_heads,
        intermediate_dim=config.intermediate_dim * heads // config.num_heads,
    )


def _check(model: Any, small: EncoderConfig) -> None:
    large = model.config
    for name in _SIZES:
        if getattr(small, name) > getattr(large, name):
            raise ValueError(f"{name}={getattr(small, name)} is more than the larger model's {getattr(large, name)}")
    for config in (large, small):
        if config.shared_layers or config.embedding_dim or config.embedding_rank:
            raise ValueError(f"shared layers and narrow embedding matrices cannot be shrunk: {config}")
    if model.adaptation != Adaptation():
        raise ValueError(f"LoRA updates, adapters and fake quantization cannot be shrunk: {model.adaptation}")
    width = large.hidden_dim // large.num_heads
    if small.hidden_dim != small.num_heads * width:
        raise ValueError(
            f"hidden_dim={small.hidden_dim} and num_heads={small.num_heads}, but each head must keep its width: {width}"
        )
    sizes = {name: getattr(small, name) for name in (*_SIZES, "dropout", "attention_dropout")}
    if dataclasses.replace(large, **sizes) != small:
        raise ValueError(f"the architectures differ in more than sizes: {large} and {small}")


def _strongest(sizes: np.ndarray, number: int) -> np.ndarray:
    """Indices of the largest sizes, in their original order."""
    return np.sort(np.argsort(-sizes, kind="stable")[:number])


def _feature_sizes(weights: dict[str, np.ndarray]) -> np.ndarray:
    """How much the layers use each feature: sum of squared weights, times the squared scale from the norms."""
    first = ("query/kernel", "key/kernel", "value/kernel", "expand/kernel")
    read = sum(np.square(w).sum(1) for path, w in weights.items() if path.endswith(first))
    norms = [np.square(w) for path, w in weights.items() if path.endswith(("norm/gamma", "norm/beta"))]
    return read * sum(norms)


def _kept_heads(weights: dict[str, np.ndarray], block: str, config: EncoderConfig) -> np.ndarray:
    values = np.square(weights[f"{block}/attention/value/kernel"]).sum(0)
    outputs = np.square(weights[f"{block}/attention/output/kernel"]).sum(1)
    width = config.hidden_dim // config.num_heads
    sizes = values.reshape(-1, width).sum(1) * outputs.reshape(-1, width).sum(1)
    return (_strongest(sizes, config.num_heads)[:, None] * width + np.arange(width)).reshape(-1)


def _kept_neurons(weights: dict[str, np.ndarray], block: str, config: EncoderConfig) -> np.ndarray:
    expand, contract = (weights[f"{block}/feed_forward/{name}/kernel"] for name in ("expand", "contract"))
    return _strongest(np.square(expand).sum(0) * np.square(contract).sum(1), config.intermediate_dim)
