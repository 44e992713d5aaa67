from typing import Any

import keras
from jaxtyping import Float, Int, Shaped
from keras import ops

from keras_plm.config import Adaptation, check_heads
from keras_plm.tensor_types import Tensor

from .checks import check_counts, check_fractions, check_mask
from .export_hooks import graph_hooks
from .masks import causal_mask, expand_mask, masked_scores
from .normalization import Dropout
from .projection import Projection

Cache = dict[str, Float[Tensor, "B S N H"]]  # key and value


@keras.saving.register_keras_serializable("keras_plm")
class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention of several heads: self, cross, causal and cached.

    `weights = softmax(q kᵀ / √H + mask)`, `output = concatenate(weights v) W_o`, where
    `q = query W_q`, `k = value W_k` and `v = value W_v`.

    Args:
        num_heads: N; it must divide the width D of the query.
        dropout: fraction of the attention weights dropped in training, in [0, 1).
        adaptation: LoRA or fake quantization of the four products with weights, see `Projection`; None for neither.

    Call args:
        query: (B, T, D) float.
        value: (B, S, D') float to attend to; None means the query itself (self-attention).
        attention_mask: (B, S) or (B, T, S) int32 or bool, 1 where a key may be seen; None means all.
        causal: a query sees no key after its own position.
        cache: dict of `key` and `value`, each (B, S, N, H), from `make_cache` or an earlier call. With
            `cache_index` the projected keys and values are written there at that position first; without,
            the cache is used as it is (cross-attention whose encoder has been projected once).
        cache_index: int scalar, position of the first query in the cache.
        return_attention: also return the attention weights.

    Returns:
        (B, T, D) output; followed by (B, N, T, S) float32 attention weights if `return_attention`,
        followed by the new cache if `cache` is given.

    Raises:
        ValueError: `num_heads` does not divide D, inputs of another rank, a dropout outside [0, 1), or a mask of
            another rank, length or dtype. Keys are made of `value`: there is no third tensor.

    Example:
        >>> MultiHeadAttention(num_heads=2)(keras.ops.ones((3, 5, 8))).shape
        TensorShape([3, 5, 8])

    Source: Vaswani et al. 2017, §3.2.2, https://arxiv.org/abs/1706.03762
    Differs: from `keras.layers.MultiHeadAttention`: the softmax is always float32, masks may be int32,
        keys and values can be cached, and no tensor has more than four axes (TFLite allows five).
    """

    def __init__(
        self,
        num_heads: int,
        dropout: float = 0.0,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_counts(num_heads=num_heads)
        check_fractions(dropout=dropout)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.supports_masking = True
        self.num_heads = num_heads
        self.dropout = dropout
        self.adaptation = Adaptation.get(adaptation)

    def get_config(self) -> dict[str, Any]:
        settings = {"num_heads": self.num_heads, "dropout": self.dropout, "adaptation": self.adaptation.to_dict()}
        return super().get_config() | settings

    def build(self, query_shape: tuple, value_shape: tuple | None = None) -> None:
        width = query_shape[-1]
        check_heads(self.num_heads, width)
        self.head_dim = width // self.num_heads
        self.query = self._dense(width, "query", query_shape)
        self.key = self._dense(width, "key", value_shape or query_shape)
        self.value = self._dense(width, "value", value_shape or query_shape)
        self.output_projection = self._dense(width, "output", query_shape)
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def _dense(self, units: int, name: str, input_shape: tuple) -> Projection:
        layer = Projection(units, adaptation=self.adaptation, dtype=self.dtype_policy, name=name)
        layer.build(input_shape)
        return layer

    def call(
        self,
        query: Float[Tensor, "B T D"],
        value: Float[Tensor, "B S width"] | None = None,
        attention_mask: Shaped[Tensor, "B S"] | Shaped[Tensor, "B T S"] | None = None,
        causal: bool = False,
        cache: Cache | None = None,
        cache_index: Int[Tensor, ""] | int | None = None,
        return_attention: bool = False,
        training: bool | None = None,
        mask: Shaped[Tensor, "B T"] | None = None,
        value_mask: Shaped[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B T D"] | tuple:
        """See the class; `mask` and `value_mask` are those that Keras attaches to inputs (`mask_zero=True`)."""
        if attention_mask is None:
            attention_mask = mask if value is None else value_mask
        source = query if value is None else value
        if cache is None:
            check_mask(attention_mask, "attention_mask", source.shape[1])
        queries = self._split_heads(self.query(query, training=training), query)
        if cache is not None and cache_index is None:
            keys, values = cache["key"], cache["value"]
        else:
            keys = self._split_heads(self.key(source, training=training), source)
            values = self._split_heads(self.value(source, training=training), source)
        if cache is not None and cache_index is not None:
            start = (0, cache_index, 0, 0)
            keys = ops.slice_update(cache["key"], start, keys)
            values = ops.slice_update(cache["value"], start, values)

        hooks = graph_hooks()
        scores = ops.einsum("btnh,bsnh->bnts", queries * self.head_dim**-0.5, keys)
        scores = ops.cast(scores, "float32")
        if attention_mask is not None:
            scores = masked_scores(scores, expand_mask(attention_mask), hooks.masked_score)
        if causal:
            first = 0 if cache_index is None else cache_index
            visible = causal_mask(ops.shape(scores)[2], ops.shape(scores)[3], first)
            scores = masked_scores(scores, visible, hooks.masked_score)
        weights = ops.softmax(scores)
        dropped = self.dropout_layer(ops.cast(weights, self.compute_dtype), training=training)
        mixed = ops.einsum("bnts,bsnh->btnh", hooks.attention_weights(dropped), values)
        batch, length = ops.shape(query)[0], ops.shape(query)[1]
        mixed = ops.reshape(mixed, (batch, length, self.num_heads * self.head_dim))
        output = self.output_projection(mixed, training=training)
        results = [output]
        if return_attention:
            results.append(weights)
        if cache is not None:
            results.append({"key": keys, "value": values})
        return results[0] if len(results) == 1 else tuple(results)

    def _split_heads(self, x: Float[Tensor, "B T D"], source: Float[Tensor, "B T width"]) -> Float[Tensor, "B T N H"]:
        # the sizes are those of the layer's input: tf2onnx mistakes those of a product for its rows
        batch, length = ops.shape(source)[0], ops.shape(source)[1]
        return ops.reshape(x, (batch, length, self.num_heads, self.head_dim))

    def make_cache(self, batch_size: int, length: int) -> Cache:
        """An empty cache for `length` positions; the layer must be built.

        Returns:
            dict of `key` and `value`, zeros of (batch_size, length, N, H).
        """
        shape = (batch_size, length, self.num_heads, self.head_dim)
        return {name: ops.zeros(shape, self.compute_dtype) for name in ("key", "value")}

    def project(self, value: Float[Tensor, "B S width"]) -> Cache:
        """Keys and values of `value` (B, S, D') as a cache, to be computed once for cross-attention."""
        return {
            "key": self._split_heads(self.key(value), value),
            "value": self._split_heads(self.value(value), value),
        }
