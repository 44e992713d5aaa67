from typing import Literal

from jaxtyping import Float, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor

Pooling = Literal["mean", "cls"]


def mean_of_tokens(hidden: Float[Tensor, "B T D"], padding_mask: Shaped[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """The mean of the hidden states of the tokens that are not padding, in float32.

    Source: Reimers & Gurevych 2019, §3, https://arxiv.org/abs/1908.10084
    """
    hidden = ops.cast(hidden, "float32")
    mask = ops.expand_dims(ops.cast(padding_mask, "float32"), -1)
    return ops.sum(hidden * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)


def check_pooling(pooling: str) -> None:
    """Raise ValueError for another name than "mean" and "cls"."""
    if pooling not in ("mean", "cls"):
        raise ValueError(f"pooling={pooling!r}; choose 'mean' or 'cls'")
