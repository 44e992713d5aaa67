import functools
import operator
from typing import Any, get_args

import keras
from jaxtyping import Float, Int, Shaped
from keras import ops

from keras_plm.config import Adaptation, AttentionBias, check_heads
from keras_plm.tensor_types import Tensor

from .checks import check_counts, check_fractions, check_mask
from .export_hooks import graph_hooks
from .fused_softmax import softmax, softmax_dropout
from .masks import causal_mask, expand_mask, mask_bias
from .normalization import Dropout
from .projection import Projection
from .rematerialization import next_seed
from .rotary import Rotary, rotate

Cache = dict[str, Float[Tensor, "B K S H"]]  # key and value: K heads, S positions


@keras.saving.register_keras_serializable("keras_plm")
class MultiHeadAttention(keras.layers.Layer):
    """Multi-head scaled dot-product attention: self-attention, cross-attention, causal, cached, grouped-query.

    `weights = softmax(q kᵀ / √H + mask)`, `output = concatenate(weights v) W_o`, where
    `q = query W_q`, `k = value W_k` and `v = value W_v`.

    Args:
        num_heads: N, number of query heads.
        dropout: fraction of the attention weights dropped in training, in [0, 1).
        num_key_value_heads: K, number of key and value heads; N / K query heads share each of them. None means N.
        head_dim: H, width of a head; None means D / N, which must then be a whole number.
        bias: which projections have a bias: "all", "inputs" (query, key and value) or "none".
        scale: factor of the scores; None means 1 / √H.
        adaptation: LoRA or fake quantization of the four projections, see `Projection`; None for neither.

    Call args:
        query: (B, T, D) float.
        value: (B, S, D') float, the sequence to attend to; None means the query itself (self-attention).
        attention_mask: (B, S) or (B, T, S) int32 or bool, 1 where a key is visible; None means that all are visible.
        causal: whether keys after the query's own position are hidden.
        window: with `causal`, the number of positions that a query sees, including its own (sliding-window attention);
            None means all positions up to its own.
        rotary: cosines and sines of the query positions, from `rotary_angles`. Queries and keys are rotated by them.
        position_bias: (1 or B, N, T, S) float, added to the scores.
        cache: key/value cache: a dict of `key` and `value`, each (B, K, S, H), from `make_cache` or an earlier call.
            With `cache_index`, the new keys and values are first written to the cache at that position. Without it, the
            cache is used unchanged (cross-attention to an encoder output that was projected once).
        cache_index: int scalar, position of the first query in the cache.
        return_attention: also return the attention weights.

    Returns:
        (B, T, D) output. With `return_attention`, (B, N, T, S) float32 attention weights follow. With `cache`, the new
        cache follows.

    Raises:
        ValueError: `num_heads` does not divide D, `num_key_value_heads` does not divide `num_heads`, `bias` has an
            unknown value, an input has the wrong rank, the dropout is outside [0, 1), or a mask has the wrong rank,
            length or dtype. Keys are made from `value`: there is no third tensor.

    Example:
        >>> MultiHeadAttention(num_heads=2)(keras.ops.ones((3, 5, 8))).shape
        TensorShape([3, 5, 8])

    Source: Vaswani et al. 2017, §3.2.2, https://arxiv.org/abs/1706.03762; grouped-query attention: Ainslie et al. 2023,
        https://arxiv.org/abs/2305.13245
    Differs: from `keras.layers.MultiHeadAttention`: the softmax is always float32, masks may be int32, keys and values
        can be cached, and tensors have at most four axes (five with grouped-query attention), as TFLite allows.
    """

    def __init__(
        self,
        num_heads: int,
        dropout: float = 0.0,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        bias: AttentionBias = "all",
        scale: float | None = None,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_counts(num_heads=num_heads)
        check_fractions(dropout=dropout)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.supports_masking = True
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads or num_heads
        if num_heads % self.num_key_value_heads:
            raise ValueError(f"num_key_value_heads={num_key_value_heads} does not divide num_heads={num_heads}")
        if bias not in get_args(AttentionBias):
            raise ValueError(f"bias={bias!r}; choose 'all', 'inputs' or 'none'")
        self.head_dim = head_dim
        self.bias = bias
        self.scale = scale
        self.dropout = dropout
        self.adaptation = Adaptation.get(adaptation)

    def get_config(self) -> dict[str, Any]:
        names = ("num_heads", "dropout", "num_key_value_heads", "head_dim", "bias", "scale")
        settings = {name: getattr(self, name) for name in names}
        return super().get_config() | settings | {"adaptation": self.adaptation.to_dict()}

    def build(self, query_shape: tuple, value_shape: tuple | None = None) -> None:
        self.width = width = query_shape[-1]
        if self.head_dim is None:
            check_heads(self.num_heads, width)
        self.width_per_head = self.head_dim or width // self.num_heads
        queries, keys = (heads * self.width_per_head for heads in (self.num_heads, self.num_key_value_heads))
        biased = self.bias != "none"
        self.query = self._dense(queries, "query", query_shape, biased)
        self.key = self._dense(keys, "key", value_shape or query_shape, biased)
        self.value = self._dense(keys, "value", value_shape or query_shape, biased)
        self.output_projection = self._dense(width, "output", (*query_shape[:-1], queries), self.bias == "all")
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def _dense(self, units: int, name: str, input_shape: tuple, use_bias: bool) -> Projection:
        options = {"use_bias": use_bias, "dtype": self.dtype_policy, "name": name}
        layer = Projection(units, self.width, self.adaptation, **options)
        layer.build(input_shape)
        return layer

    def call(
        self,
        query: Float[Tensor, "B T D"],
        value: Float[Tensor, "B S width"] | None = None,
        attention_mask: Shaped[Tensor, "B S"] | Shaped[Tensor, "B T S"] | None = None,
        causal: bool = False,
        window: int | None = None,
        rotary: Rotary | None = None,
        position_bias: Float[Tensor, "batch N T S"] | None = None,
        cache: Cache | None = None,
        cache_index: Int[Tensor, ""] | int | None = None,
        return_attention: bool = False,
        training: bool | None = None,
        mask: Shaped[Tensor, "B T"] | None = None,
        value_mask: Shaped[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B T D"] | tuple:
        """See the class. `mask` and `value_mask` are implicit masks, which Keras passes (`mask_zero=True`)."""
        if attention_mask is None:
            attention_mask = mask if value is None else value_mask
        source = query if value is None else value
        if cache is None:
            check_mask(attention_mask, "attention_mask", source.shape[1])
        queries = self._split_heads(self.query(query, training=training), query, self.num_heads)
        queries = queries if rotary is None else rotate(queries, rotary)
        if cache is not None and cache_index is None:
            keys, values = cache["key"], cache["value"]
        else:
            keys = self._split_heads(self.key(source, training=training), source, self.num_key_value_heads)
            values = self._split_heads(self.value(source, training=training), source, self.num_key_value_heads)
            keys = keys if rotary is None else rotate(keys, rotary)
        if cache is not None and cache_index is not None:
            start = (0, 0, cache_index, 0)
            keys = ops.slice_update(cache["key"], start, _heads_first(keys))
            values = ops.slice_update(cache["value"], start, _heads_first(values))

        hooks = graph_hooks()
        scores = self._scores(queries * self._scale, keys, cached=cache is not None)
        if position_bias is not None:
            scores = ops.cast(scores, "float32") + ops.cast(position_bias, "float32")
        masks = [] if attention_mask is None else [expand_mask(attention_mask)]
        if causal:
            first = 0 if cache_index is None else cache_index
            masks.append(causal_mask(ops.shape(scores)[2], ops.shape(scores)[3], first, window))
        biases = [mask_bias(mask, hooks.masked_score) for mask in masks]
        bias = functools.reduce(operator.add, biases) if biases else None
        if return_attention:
            weights = softmax(scores, bias)
            dropped = self.dropout_layer(ops.cast(weights, self.compute_dtype), training=training)
        else:
            rate = self.dropout if training else 0.0
            seed = next_seed(self.dropout_layer.seed_generator) if rate else None
            dropped = softmax_dropout(scores, bias, seed, rate=rate, training=training)
            dropped = ops.cast(dropped, self.compute_dtype)
        mixed = self._mixed(hooks.attention_weights(dropped), values, cached=cache is not None)
        batch, length = ops.shape(query)[0], ops.shape(query)[1]
        mixed = ops.reshape(mixed, (batch, length, self.num_heads * self.width_per_head))
        output = self.output_projection(mixed, training=training)
        results = [output]
        if return_attention:
            results.append(weights)
        if cache is not None:
            results.append({"key": keys, "value": values})
        return results[0] if len(results) == 1 else tuple(results)

    @property
    def _scale(self) -> float:
        return self.width_per_head**-0.5 if self.scale is None else self.scale

    def _split_heads(
        self, x: Float[Tensor, "B T heads"], source: Float[Tensor, "B T width"], heads: int
    ) -> Float[Tensor, "B T heads H"]:
        # read the sizes from the layer's input: tf2onnx confuses the sizes of a matrix product with its rows
        batch, length = ops.shape(source)[0], ops.shape(source)[1]
        return ops.reshape(x, (batch, length, heads, self.width_per_head))

    def _scores(
        self, queries: Float[Tensor, "B T N H"], keys: Float[Tensor, "..."], cached: bool
    ) -> Float[Tensor, "B N T S"]:
        """Products of queries and keys. Axis g: the query heads that share a key head; axis k: the key heads."""
        axes, groups = "bksh" if cached else "bskh", self.num_heads // self.num_key_value_heads
        if groups == 1:
            return ops.einsum(f"btkh,{axes}->bkts", queries, keys)
        batch, length = ops.shape(queries)[0], ops.shape(queries)[1]
        shape = (batch, length, self.num_key_value_heads, groups, self.width_per_head)
        scores = ops.einsum(f"btkgh,{axes}->bkgts", ops.reshape(queries, shape), keys)
        return ops.reshape(scores, (batch, self.num_heads, length, ops.shape(scores)[-1]))

    def _mixed(
        self, weights: Float[Tensor, "B N T S"], values: Float[Tensor, "..."], cached: bool
    ) -> Float[Tensor, "B T *heads H"]:
        """Means of the values, weighted by attention. The letters of the axes are as in `_scores`."""
        axes, groups = "bksh" if cached else "bskh", self.num_heads // self.num_key_value_heads
        if groups == 1:
            return ops.einsum(f"bkts,{axes}->btkh", weights, values)
        batch, _, queries, keys = ops.shape(weights)
        weights = ops.reshape(weights, (batch, self.num_key_value_heads, groups, queries, keys))
        return ops.einsum(f"bkgts,{axes}->btkgh", weights, values)

    def make_cache(self, batch_size: int, length: int) -> Cache:
        """An empty key/value cache for `length` positions. The layer must be built.

        Returns:
            dict of `key` and `value`, each zeros of shape (batch_size, K, length, H).
        """
        shape = (batch_size, self.num_key_value_heads, length, self.width_per_head)
        return {name: ops.zeros(shape, self.compute_dtype) for name in ("key", "value")}

    def project(self, value: Float[Tensor, "B S width"]) -> Cache:
        """Project `value` (B, S, D') once to keys and values, as a cache for cross-attention."""
        heads = self.num_key_value_heads
        return {
            "key": _heads_first(self._split_heads(self.key(value), value, heads)),
            "value": _heads_first(self._split_heads(self.value(value), value, heads)),
        }


def _heads_first(x: Float[Tensor, "B S K H"]) -> Float[Tensor, "B K S H"]:
    """The layout of caches: the keys or values of one head are contiguous in memory."""
    return ops.transpose(x, (0, 2, 1, 3))
