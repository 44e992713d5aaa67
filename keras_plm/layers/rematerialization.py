"""Rematerialization: what a block computes is not kept for the backward pass, but computed again."""

import threading
from collections.abc import Callable
from typing import Any

import keras
from jaxtyping import Float, Integer
from keras import ops

from keras_plm.tensor_types import Tensor

_local = threading.local()
_STRIDE = 0x9E3779B9  # 2³² divided by the golden ratio: the seeds of a block are far apart


def rematerialize(model: keras.Model, enabled: bool = True) -> None:
    """Let the blocks of a model compute their inner tensors again in the backward pass. Call it before `fit`.

    The memory of a training step is then that of one block, and the input of each block. The step has a third more
    operations. The gradients are the same, also with dropout.

    Args:
        model: a model with `EncoderBlock`s or `DecoderBlock`s.
        enabled: False switches it off.

    Raises:
        ValueError: a block has fake quantization, whose ranges would be updated twice, or there is no such block.

    Source: Chen et al. 2016, https://arxiv.org/abs/1604.06174
    Differs: from `keras.RematScope`, which would draw other dropout masks when it computes a layer again.
    """
    blocks = [layer for layer in model._flatten_layers() if hasattr(layer, "rematerialize")]
    if enabled and not blocks:
        raise ValueError(f"{model.name} has no Transformer block")
    if enabled and any(block.adaptation.quantization_aware for block in blocks):
        raise ValueError("rematerialization and quantization-aware training cannot be combined")
    for block in blocks:
        block.rematerialize = enabled


def computed_again(
    function: Callable[..., Float[Tensor, "..."]], generator: Any, *tensors: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """`function(*tensors)`, whose inner tensors are computed again in the backward pass.

    Args:
        function: a pure function, except for the weights and the dropout of layers that it calls.
        generator: the seed generator of one of these layers; None if there is no dropout.
        *tensors: all float tensors that need a gradient. Others can be variables of the closure.
    """
    # drawn here, so that both computations have the same dropout masks
    seed = None if generator is None else generator.next()

    def run(*arguments: Any) -> Any:
        before = getattr(_local, "seeds", None)
        _local.seeds = None if seed is None else _Seeds(seed)
        try:
            return function(*arguments)
        finally:
            _local.seeds = before

    return keras.remat(run)(*tensors)


def next_seed(generator: Any) -> Integer[Tensor, " 2"]:
    """The next seed of a layer: of its own generator, or inside `computed_again` one that both computations have."""
    seeds = getattr(_local, "seeds", None)
    return generator.next() if seeds is None else seeds.next()


class _Seeds:
    """The seeds of all layers of a block, made from one.

    Args:
        seed: (2,) integers.
    """

    def __init__(self, seed: Integer[Tensor, " 2"]) -> None:
        self.seed, self.count = seed, 0

    def next(self) -> Integer[Tensor, " 2"]:
        """Another seed."""
        self.count += 1
        return self.seed + ops.convert_to_tensor([0, self.count * _STRIDE % 2**31], self.seed.dtype)
