from collections.abc import Callable
from typing import Any, get_args

import keras
from jaxtyping import Float, Int, Shaped

from keras_plm.config import Adaptation, AttentionBias, Norm
from keras_plm.tensor_types import Tensor

from .adapter import Adapter
from .attention import Cache, MultiHeadAttention
from .checks import check_counts, check_fractions, check_mask
from .feed_forward import FeedForward
from .normalization import Dropout, ResidualNorm, RMSNorm
from .rematerialization import computed_again
from .rotary import Rotary

_SETTINGS = (
    "num_heads", "intermediate_dim", "activation", "cross_attention", "dropout", "attention_dropout",
    "layer_norm_epsilon", "normalize_first", "num_key_value_heads", "head_dim", "norm", "gated", "attention_bias",
    "feed_forward_bias", "window", "attention_scale",
)  # fmt: skip


@keras.saving.register_keras_serializable("keras_plm")
class DecoderBlock(keras.layers.Layer):
    """Causal self-attention, optional cross-attention to an encoder, and feed-forward.

    Each sub-layer has dropout, a residual connection and a normalization. The normalization comes after the sub-layer
    (post-norm) or before it (pre-norm), as in `EncoderBlock`.

    Args:
        num_heads: N; it must divide D unless `head_dim` is given.
        intermediate_dim: F.
        activation: activation function of the feed-forward.
        cross_attention: whether the block attends to `encoder_hidden`.
        dropout: fraction dropped from each sub-layer's output in training.
        attention_dropout: fraction of attention weights dropped in training.
        layer_norm_epsilon: added to the variance.
        normalize_first: pre-norm (GPT-2) instead of post-norm.
        num_key_value_heads: K, number of key and value heads, see `MultiHeadAttention`; None means N.
        head_dim: H; None means D / N.
        norm: "layer", or "rms" for RMS normalization, which requires pre-norm.
        gated: gated feed-forward, see `FeedForward`.
        attention_bias: which projections of the attention have a bias: "all", "inputs" or "none".
        feed_forward_bias: whether the dense layers of the feed-forward have biases.
        window: number of positions that a token sees in self-attention, including its own; None means all positions up
            to its own.
        attention_scale: factor of the attention scores, see `MultiHeadAttention`; None means 1 / √H.
        adaptation: LoRA or fake quantization of the dense layers, and bottleneck adapters after self-attention and
            feed-forward, see `EncoderBlock`; None for none of them.

    Call args:
        hidden: (B, T, D) float.
        encoder_hidden: (B, S, D') float; required if `cross_attention`, unless `cache` contains its projection.
        padding_mask: (B, T) int32 or bool, 1 where a key is visible; with a cache (B, cache length). Later tokens are
            always hidden.
        attention_mask: (B, T, S) int32 or bool, 1 where a query sees a key. It replaces `padding_mask`, the causal mask
            and the window.
        rotary: cosines and sines of the positions, see `MultiHeadAttention`.
        position_bias: (1 or B, N, T, S) float, added to the scores of self-attention.
        encoder_padding_mask: (B, S) int32 or bool, 1 where a position of the encoder is visible.
        cache: dict of key/value caches from `make_cache`: `self`, and `cross` if `cross_attention`.
        cache_index: int scalar, position of the first of these T tokens.

    Returns:
        (B, T, D); with a cache also the new cache.

    Raises:
        ValueError: a count is below 1, a dropout is outside [0, 1), or an input or a mask has the wrong rank or length;
            `cross_attention` without `encoder_hidden` and without a cache, or the reverse; `cache` without
            `cache_index`, or the reverse; both masks are given; RMS normalization without pre-norm.

    Example:
        >>> DecoderBlock(num_heads=2, intermediate_dim=16)(keras.ops.ones((3, 5, 8))).shape
        TensorShape([3, 5, 8])

    Source: Vaswani et al. 2017, §3.1, https://arxiv.org/abs/1706.03762
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        activation: str = "gelu_tanh",
        cross_attention: bool = False,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-12,
        normalize_first: bool = False,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        norm: Norm = "layer",
        gated: bool = False,
        attention_bias: AttentionBias = "all",
        feed_forward_bias: bool = True,
        window: int | None = None,
        attention_scale: float | None = None,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if norm not in get_args(Norm) or norm == "rms" and not normalize_first:
            raise ValueError(f"norm={norm!r}; choose 'layer', or 'rms' with normalize_first=True")
        check_counts(num_heads=num_heads, intermediate_dim=intermediate_dim)
        check_fractions(dropout=dropout, attention_dropout=attention_dropout)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.supports_masking = True
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.cross_attention = cross_attention
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.normalize_first = normalize_first
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim
        self.norm = norm
        self.gated = gated
        self.attention_bias = attention_bias
        self.feed_forward_bias = feed_forward_bias
        self.window = window
        self.attention_scale = attention_scale
        self.adaptation = Adaptation.get(adaptation)
        self.rematerialize = False  # see the function of this name

    def get_config(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in _SETTINGS}
        return super().get_config() | settings | {"adaptation": self.adaptation.to_dict()}

    def build(self, hidden_shape: tuple, encoder_hidden_shape: tuple | None = None) -> None:
        policy = self.dtype_policy
        self.dropout_layer = Dropout(self.dropout, dtype=policy)
        self.self_attention = self._attention("self_attention")
        self.self_attention.build(hidden_shape)
        self.self_attention_norm = self._norm("self_attention_norm", hidden_shape)
        if self.cross_attention:
            self.encoder_attention = self._attention("cross_attention")
            self.encoder_attention.build(hidden_shape, encoder_hidden_shape)
            self.encoder_attention_norm = self._norm("cross_attention_norm", hidden_shape)
        options = {"adaptation": self.adaptation, "dtype": policy, "name": "feed_forward"}
        self.feed_forward: Any = FeedForward(
            self.intermediate_dim, self.activation, self.gated, self.feed_forward_bias, **options
        )
        self.feed_forward.build(hidden_shape)
        self.feed_forward_norm = self._norm("feed_forward_norm", hidden_shape)
        self.attention_adapter = self._adapter("attention_adapter", hidden_shape)
        self.feed_forward_adapter = self._adapter("feed_forward_adapter", hidden_shape)

    def _attention(self, name: str) -> MultiHeadAttention:
        return MultiHeadAttention(
            self.num_heads,
            self.attention_dropout,
            num_key_value_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            bias=self.attention_bias,
            scale=self.attention_scale,
            adaptation=self.adaptation,
            dtype=self.dtype_policy,
            name=name,
        )

    def _norm(self, name: str, shape: tuple) -> ResidualNorm | RMSNorm:
        options = {"dtype": self.dtype_policy, "name": name}
        layer: Any = (
            RMSNorm(self.layer_norm_epsilon, **options)
            if self.norm == "rms"
            else ResidualNorm(self.layer_norm_epsilon, self.dropout, **options)
        )
        layer.build(shape)
        return layer

    def _adapter(self, name: str, shape: tuple) -> Callable[[Tensor], Tensor]:
        if not self.adaptation.adapter_dim:
            return lambda x: x
        adapter = Adapter(self.adaptation.adapter_dim, self.activation, dtype=self.dtype_policy, name=name)
        adapter.build(shape)
        return adapter

    def call(
        self,
        hidden: Float[Tensor, "B T D"],
        encoder_hidden: Float[Tensor, "B S width"] | None = None,
        padding_mask: Shaped[Tensor, "B keys"] | None = None,
        encoder_padding_mask: Shaped[Tensor, "B S"] | None = None,
        attention_mask: Shaped[Tensor, "B T keys"] | None = None,
        rotary: Rotary | None = None,
        position_bias: Float[Tensor, "batch N T keys"] | None = None,
        cache: dict[str, Cache] | None = None,
        cache_index: Int[Tensor, ""] | int | None = None,
        training: bool | None = None,
        mask: Shaped[Tensor, "B T"] | None = None,
        hidden_mask: Shaped[Tensor, "B T"] | None = None,
        encoder_hidden_mask: Shaped[Tensor, "B S"] | None = None,
    ) -> Float[Tensor, "B T D"] | tuple[Float[Tensor, "B T D"], dict[str, Cache]]:
        """See the class. The last three are implicit masks, which Keras passes (`mask_zero=True`)."""
        if attention_mask is not None and padding_mask is not None:
            raise ValueError("padding_mask and attention_mask were given; pass only one of them")
        if attention_mask is not None and len(attention_mask.shape) != 3:  # of rank 2, it would not be causal
            raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}; expected (B, T, S)")
        implicit = mask if mask is not None else hidden_mask
        if attention_mask is None and padding_mask is None:
            padding_mask = implicit
        encoder_padding_mask = encoder_hidden_mask if encoder_padding_mask is None else encoder_padding_mask
        self._check(hidden, encoder_hidden, padding_mask, encoder_padding_mask, cache, cache_index)
        if training and self.rematerialize and cache is None:
            # dropout of any kind has a generator; without dropout there is nothing to draw
            generator = self.dropout_layer.seed_generator or self.self_attention.dropout_layer.seed_generator
            masks: dict[str, Any] = {
                "padding_mask": padding_mask,
                "encoder_padding_mask": encoder_padding_mask,
                "attention_mask": attention_mask,
                "rotary": rotary,
            }
            inputs = {"hidden": hidden, "encoder_hidden": encoder_hidden, "position_bias": position_bias}
            names = [name for name, tensor in inputs.items() if tensor is not None]
            return computed_again(
                lambda *tensors: self._call(**dict(zip(names, tensors, strict=True)), **masks, training=training),
                generator,
                *(inputs[name] for name in names),
            )
        return self._call(
            hidden,
            encoder_hidden,
            padding_mask,
            encoder_padding_mask,
            attention_mask,
            rotary,
            position_bias,
            cache,
            cache_index,
            training,
        )

    def _call(
        self,
        hidden: Float[Tensor, "B T D"],
        encoder_hidden: Float[Tensor, "B S width"] | None = None,
        padding_mask: Shaped[Tensor, "B keys"] | None = None,
        encoder_padding_mask: Shaped[Tensor, "B S"] | None = None,
        attention_mask: Shaped[Tensor, "B T keys"] | None = None,
        rotary: Rotary | None = None,
        position_bias: Float[Tensor, "batch N T keys"] | None = None,
        cache: dict[str, Cache] | None = None,
        cache_index: Int[Tensor, ""] | int | None = None,
        training: bool | None = None,
    ) -> Float[Tensor, "B T D"] | tuple[Float[Tensor, "B T D"], dict[str, Cache]]:
        new_cache = {}

        def attend(x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            result = self.self_attention(
                x,
                attention_mask=padding_mask if attention_mask is None else attention_mask,
                causal=attention_mask is None,
                window=self.window,
                rotary=rotary,
                position_bias=position_bias,
                cache=None if cache is None else cache["self"],
                cache_index=cache_index,
                training=training,
            )
            if cache is not None:
                result, new_cache["self"] = result
            return self.attention_adapter(result)

        def attend_to_encoder(x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            result = self.encoder_attention(
                x,
                encoder_hidden,
                attention_mask=encoder_padding_mask,
                cache=None if cache is None else cache["cross"],
                training=training,
            )
            if cache is not None:
                result, new_cache["cross"] = result
            return result

        def feed_forward(x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            return self.feed_forward_adapter(self.feed_forward(x, training=training))

        hidden = self._residual(hidden, attend, self.self_attention_norm, training)
        if self.cross_attention:
            hidden = self._residual(hidden, attend_to_encoder, self.encoder_attention_norm, training)
        hidden = self._residual(hidden, feed_forward, self.feed_forward_norm, training)
        return hidden if cache is None else (hidden, new_cache)

    def compute_output_spec(
        self,
        hidden: keras.KerasTensor,
        encoder_hidden: keras.KerasTensor | None = None,
        padding_mask: keras.KerasTensor | None = None,
        encoder_padding_mask: keras.KerasTensor | None = None,
        **others: Any,
    ) -> keras.KerasTensor:
        # computed without tracing `call`, as in `EncoderBlock`
        self._check(hidden, encoder_hidden, padding_mask, encoder_padding_mask, None, None)
        return keras.KerasTensor(hidden.shape, self.compute_dtype)

    def _check(
        self,
        hidden: Tensor,
        encoder_hidden: Tensor | None,
        padding_mask: Tensor | None,
        encoder_padding_mask: Tensor | None,
        cache: dict[str, Cache] | None,
        cache_index: Tensor | int | None,
    ) -> None:
        if cache is None:
            check_mask(padding_mask, "padding_mask", hidden.shape[1])
        if encoder_hidden is not None:
            check_mask(encoder_padding_mask, "encoder_padding_mask", encoder_hidden.shape[1])
        if self.cross_attention != (encoder_hidden is not None or "cross" in (cache or {})):
            raise ValueError(
                f"cross_attention={self.cross_attention}, but encoder_hidden "
                f"{'is missing' if self.cross_attention else 'was given'}"
            )
        if (cache is None) != (cache_index is None):
            raise ValueError(
                "cache and cache_index belong together: new keys and values are written to the cache at cache_index"
            )

    def _residual(
        self, hidden: Float[Tensor, "B T D"], sublayer: Callable, norm: Any, training: bool | None
    ) -> Float[Tensor, "B T D"]:
        if self.normalize_first:
            inner = sublayer(norm(hidden, training=training))
            return hidden + self.dropout_layer(inner, training=training)
        return norm(sublayer(hidden), hidden, training=training)

    def make_cache(
        self, batch_size: int, length: int, encoder_hidden: Float[Tensor, "B S width"] | None = None
    ) -> dict[str, Cache]:
        """Empty key/value caches for `length` tokens; for cross-attention, the encoder's projected keys and values."""
        cache = {"self": self.self_attention.make_cache(batch_size, length)}
        if self.cross_attention:
            cache["cross"] = self.encoder_attention.project(encoder_hidden)
        return cache
