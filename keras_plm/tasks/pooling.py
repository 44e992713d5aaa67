from typing import Literal, get_args

from jaxtyping import Float, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor

Pooling = Literal["mean", "max", "cls"]


def mean_of_tokens(hidden: Float[Tensor, "B T D"], padding_mask: Shaped[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """The mean of the hidden states of the tokens that are not padding, in float32.

    Source: Reimers & Gurevych 2019, §3, https://arxiv.org/abs/1908.10084
    """
    hidden = ops.cast(hidden, "float32")
    mask = ops.expand_dims(ops.cast(padding_mask, "float32"), -1)
    return ops.sum(hidden * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)


def max_of_tokens(hidden: Float[Tensor, "B T D"], padding_mask: Shaped[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """The maximum, in each dimension, of the hidden states of the tokens that are not padding, in float32.

    Source: Reimers & Gurevych 2019, §3, https://arxiv.org/abs/1908.10084
    Differs: padding gets the row's smallest state, not -1e9. With calibrated activations (int8x16), -1e9 would make
        the shared scale useless for all other values. A row with only padding returns the smallest state.
    """
    hidden = ops.cast(hidden, "float32")
    kept = ops.expand_dims(ops.cast(padding_mask, "bool"), -1)
    return ops.max(ops.where(kept, hidden, ops.min(hidden, axis=1, keepdims=True)), axis=1)


def pooled_tokens(
    hidden: Float[Tensor, "B T D"], padding_mask: Shaped[Tensor, "B T"], pooling: Pooling
) -> Float[Tensor, "B D"]:
    """The vector of a text: "mean" or "max" of the tokens that are not padding, or "cls", the first token."""
    if pooling == "mean":
        return mean_of_tokens(hidden, padding_mask)
    if pooling == "max":
        return max_of_tokens(hidden, padding_mask)
    return ops.cast(hidden[:, 0, :], "float32")


def check_pooling(pooling: str) -> None:
    """Raise ValueError if `pooling` is not one of `Pooling`."""
    if pooling not in get_args(Pooling):
        raise ValueError(f"pooling={pooling!r}; choose one of {list(get_args(Pooling))}")
