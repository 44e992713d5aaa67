import math
from typing import Any

import keras
from jaxtyping import Float, Int, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor

from .checks import check_counts


@keras.saving.register_keras_serializable("keras_plm")
class RelativePositionBias(keras.layers.Layer):
    """T5's relative position bias: a learned number for each head and distance, added to the attention scores.

    Small distances have their own bucket. Larger distances share buckets, whose widths grow with the distance.

    Args:
        num_heads: N.
        num_buckets: number of buckets, at least 4.
        max_distance: this distance and all larger ones share the last bucket; above `num_buckets` / 2.
        bidirectional: whether keys after the query have other buckets than keys before it (encoder). False: they share
            the bucket of distance 0, because a causal mask hides them (decoder).

    Call args:
        queries: (B, T, …), any tensor with an element for each query.
        keys: (B, S, …), any tensor with an element for each key.
        first_position: int scalar, position of the first query among the keys.

    Returns:
        (1, N, T, S) in the compute dtype.

    Source: Raffel et al. 2020, §2.1, https://arxiv.org/abs/1910.10683, and its published code
    """

    def __init__(
        self, num_heads: int, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_counts(num_heads=num_heads)
        if num_buckets < 4 or max_distance <= num_buckets // 2:
            raise ValueError(f"num_buckets={num_buckets}, max_distance={max_distance}; give 4 or more, and above half")
        self.num_heads = num_heads
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional

    def get_config(self) -> dict[str, Any]:
        names = ("num_heads", "num_buckets", "max_distance", "bidirectional")
        return super().get_config() | {name: getattr(self, name) for name in names}

    def build(self, *shapes: Any) -> None:
        shape = (self.num_buckets, self.num_heads)
        self.biases = self.add_weight(shape=shape, initializer="zeros", name="biases")

    def call(
        self,
        queries: Shaped[Tensor, "batch T *others"],
        keys: Shaped[Tensor, "batch S *others"],
        first_position: Int[Tensor, ""] | int = 0,
    ) -> Float[Tensor, "1 N T S"]:
        """See the class."""
        positions = ops.arange(ops.shape(queries)[1], dtype="int32") + first_position
        distance = ops.expand_dims(ops.arange(ops.shape(keys)[1], dtype="int32"), 0) - ops.expand_dims(positions, 1)
        biases = ops.take(ops.cast(self.biases, self.compute_dtype), self._buckets(distance), axis=0)
        return ops.expand_dims(ops.transpose(biases, (2, 0, 1)), 0)

    def _buckets(self, distance: Int[Tensor, "T S"]) -> Int[Tensor, "T S"]:
        """The bucket of each distance, key position - query position."""
        buckets, offset = self.num_buckets, 0
        if self.bidirectional:
            buckets //= 2
            offset = ops.cast(distance > 0, "int32") * buckets
            distance = ops.abs(distance)
        else:
            distance = ops.maximum(-distance, 0)
        exact = buckets // 2
        # growing widths: the logarithm of exact … max_distance is divided equally
        ratio = ops.log(ops.cast(ops.maximum(distance, 1), "float32") / exact) / math.log(self.max_distance / exact)
        large = exact + ops.cast(ratio * (buckets - exact), "int32")
        return ops.where(distance < exact, distance, ops.minimum(large, buckets - 1)) + offset
