from collections.abc import Callable
from typing import Any, get_args

import keras
from jaxtyping import Float, Int, Shaped
from keras import ops

from keras_plm.config import Adaptation, AttentionBias, Norm
from keras_plm.tensor_types import Tensor

from .adapter import Adapter
from .attention import MultiHeadAttention
from .checks import check_counts, check_fractions, check_mask
from .feed_forward import FeedForward
from .normalization import Dropout, ResidualNorm, RMSNorm
from .rematerialization import computed_again

_SETTINGS = (
    "num_heads", "intermediate_dim", "activation", "dropout", "attention_dropout", "layer_norm_epsilon",
    "normalize_first", "head_dim", "norm", "gated", "attention_bias", "feed_forward_bias", "attention_scale",
)  # fmt: skip


@keras.saving.register_keras_serializable("keras_plm")
class EncoderBlock(keras.layers.Layer):
    """Self-attention and feed-forward, each with dropout, a residual connection and layer normalization.

    Post-norm (BERT): `x = norm(x + attention(x))`, `x = norm(x + feed_forward(x))`.
    Pre-norm: `x = x + attention(norm(x))`, `x = x + feed_forward(norm(x))`.

    Args:
        num_heads: N; it must divide D unless `head_dim` is given.
        intermediate_dim: F.
        activation: activation function of the feed-forward.
        dropout: fraction dropped from each sub-layer's output in training.
        attention_dropout: fraction of attention weights dropped in training.
        layer_norm_epsilon: added to the variance.
        normalize_first: pre-norm instead of post-norm.
        head_dim: H, width of a head; None means D / N.
        norm: "layer", or "rms" for RMS normalization, which requires pre-norm.
        gated: gated feed-forward, see `FeedForward`.
        attention_bias: which projections of the attention have a bias: "all", "inputs" or "none".
        feed_forward_bias: whether the dense layers of the feed-forward have biases.
        attention_scale: factor of the attention scores, see `MultiHeadAttention`; None means 1 / √H.
        adaptation: LoRA or fake quantization of the dense layers, see `Projection`, and bottleneck adapters after
            attention and feed-forward, see `Adapter`; None for none of them.

    Call args:
        hidden: (B, T, D) float.
        padding_mask: (B, T) or (B, T, T) int32 or bool, 1 where a position is visible; None means that all are visible.
        num_queries: Q; only the first Q positions are computed, but they attend to all positions. None means T. With
            fake quantization, calls with `num_queries` or `query_positions` run in inference mode, because the ranges
            must come from all positions.
        query_positions: (B, Q) int32 in [0, T); only these positions are computed, but they attend to all positions.
        position_bias: (1 or B, N, T, T) float, added to the attention scores.
        return_attention: also return the attention weights.

    Returns:
        (B, Q, D); with `return_attention` also (B, N, Q, T) float32.

    Raises:
        ValueError: `num_heads` does not divide D, a count is below 1, a dropout is outside [0, 1), the input has the
            wrong rank, a mask has the wrong rank, length or dtype, `num_queries` is above T, or `query_positions` are
            combined with `num_queries` or a `position_bias`.

    Example:
        >>> EncoderBlock(num_heads=2, intermediate_dim=16)(keras.ops.ones((3, 5, 8))).shape
        TensorShape([3, 5, 8])

    Source: Vaswani et al. 2017, §3.1, https://arxiv.org/abs/1706.03762; pre-norm: Xiong et al. 2020,
        https://arxiv.org/abs/2002.04745
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        activation: str = "gelu_tanh",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        layer_norm_epsilon: float = 1e-12,
        normalize_first: bool = False,
        head_dim: int | None = None,
        norm: Norm = "layer",
        gated: bool = False,
        attention_bias: AttentionBias = "all",
        feed_forward_bias: bool = True,
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
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.normalize_first = normalize_first
        self.head_dim = head_dim
        self.norm = norm
        self.gated = gated
        self.attention_bias = attention_bias
        self.feed_forward_bias = feed_forward_bias
        self.attention_scale = attention_scale
        self.adaptation = Adaptation.get(adaptation)
        self.rematerialize = False  # see the function of this name

    def get_config(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in _SETTINGS}
        return super().get_config() | settings | {"adaptation": self.adaptation.to_dict()}

    def build(self, input_shape: tuple) -> None:
        policy = self.dtype_policy
        options = {"adaptation": self.adaptation, "dtype": policy}
        self.attention = MultiHeadAttention(
            self.num_heads,
            self.attention_dropout,
            head_dim=self.head_dim,
            bias=self.attention_bias,
            scale=self.attention_scale,
            **options,
            name="attention",
        )
        self.feed_forward = FeedForward(
            self.intermediate_dim,
            self.activation,
            self.gated,
            self.feed_forward_bias,
            **options,
            name="feed_forward",
        )
        self.attention_norm = self._norm("attention_norm")
        self.feed_forward_norm = self._norm("feed_forward_norm")
        self.dropout_layer = Dropout(self.dropout, dtype=policy)
        for layer in (
            self.attention,
            self.feed_forward,
            self.attention_norm,
            self.feed_forward_norm,
        ):
            layer.build(input_shape)
        self.attention_adapter = self._adapter("attention_adapter", input_shape)
        self.feed_forward_adapter = self._adapter("feed_forward_adapter", input_shape)

    def _norm(self, name: str) -> Any:
        if self.norm == "rms":
            return RMSNorm(self.layer_norm_epsilon, dtype=self.dtype_policy, name=name)
        return ResidualNorm(self.layer_norm_epsilon, self.dropout, dtype=self.dtype_policy, name=name)

    def _adapter(self, name: str, input_shape: tuple) -> Callable[[Tensor], Tensor]:
        if not self.adaptation.adapter_dim:
            return lambda x: x
        adapter = Adapter(self.adaptation.adapter_dim, self.activation, dtype=self.dtype_policy, name=name)
        adapter.build(input_shape)
        return adapter

    def call(
        self,
        hidden: Float[Tensor, "B S D"],
        padding_mask: Shaped[Tensor, "B S"] | Shaped[Tensor, "B T S"] | None = None,
        num_queries: int | None = None,
        return_attention: bool = False,
        position_bias: Float[Tensor, "batch N T S"] | None = None,
        training: bool | None = None,
        mask: Shaped[Tensor, "B S"] | None = None,
        query_positions: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T D"] | tuple[Float[Tensor, "B T D"], Float[Tensor, "B N T S"]]:
        """See the class. `mask` is the implicit mask, which Keras passes (`mask_zero=True`)."""
        padding_mask = mask if padding_mask is None else padding_mask
        _check_inputs(hidden, padding_mask, num_queries, query_positions, position_bias)
        options: dict[str, Any] = {
            "num_queries": num_queries,
            "query_positions": query_positions,
            "return_attention": return_attention,
            "training": training,
        }
        if training and self.rematerialize and not return_attention:
            tensors = [hidden] if position_bias is None else [hidden, position_bias]
            generator = self.dropout_layer.seed_generator or self.attention.dropout_layer.seed_generator
            return computed_again(
                lambda hidden, bias=None: self._call(hidden, padding_mask, bias, **options), generator, *tensors
            )
        return self._call(hidden, padding_mask, position_bias, **options)

    def _call(
        self,
        hidden: Float[Tensor, "B S D"],
        padding_mask: Shaped[Tensor, "B S"] | Shaped[Tensor, "B T S"] | None,
        position_bias: Float[Tensor, "batch N T S"] | None,
        num_queries: int | None,
        query_positions: Int[Tensor, "B T"] | None,
        return_attention: bool,
        training: bool | None,
    ) -> Float[Tensor, "B T D"] | tuple[Float[Tensor, "B T D"], Float[Tensor, "B N T S"]]:
        x = self.attention_norm(hidden, training=training) if self.normalize_first else hidden
        queries, seen = x, None
        if num_queries is not None:
            queries, seen, hidden = x[:, :num_queries], x, hidden[:, :num_queries]
        elif query_positions is not None:
            queries, seen = take_positions(x, query_positions), x
            hidden = take_positions(hidden, query_positions)
            if padding_mask is not None and len(padding_mask.shape) == 3:
                padding_mask = take_positions(padding_mask, query_positions)
        if seen is not None and self.adaptation.quantization_aware:
            training = False
        attended = self.attention(
            queries,
            seen,
            attention_mask=padding_mask,
            position_bias=position_bias,
            return_attention=return_attention,
            training=training,
        )
        attended, weights = attended if return_attention else (attended, None)
        attended = self.attention_adapter(attended)
        if self.normalize_first:
            hidden = hidden + self.dropout_layer(attended, training=training)
            x = self.feed_forward_norm(hidden, training=training)
            inner = self.feed_forward_adapter(self.feed_forward(x, training=training))
            hidden = hidden + self.dropout_layer(inner, training=training)
        else:
            hidden = self.attention_norm(attended, hidden, training=training)
            inner = self.feed_forward_adapter(self.feed_forward(hidden, training=training))
            hidden = self.feed_forward_norm(inner, hidden, training=training)
        return (hidden, weights) if return_attention else hidden

    def compute_output_spec(
        self,
        hidden: keras.KerasTensor,
        padding_mask: keras.KerasTensor | None = None,
        num_queries: int | None = None,
        return_attention: bool = False,
        position_bias: keras.KerasTensor | None = None,
        training: bool | None = None,
        mask: keras.KerasTensor | None = None,
        query_positions: keras.KerasTensor | None = None,
    ) -> Any:
        # otherwise Keras traces `call` twice: 0.1 s per block, two thirds of the time to create a small model
        padding_mask = mask if padding_mask is None else padding_mask
        _check_inputs(hidden, padding_mask, num_queries, query_positions, position_bias)
        batch, keys, width = hidden.shape
        queries = keys if num_queries is None else num_queries
        queries = queries if query_positions is None else query_positions.shape[1]
        output = keras.KerasTensor((batch, queries, width), self.compute_dtype)
        weights = keras.KerasTensor((batch, self.num_heads, queries, keys), "float32")
        return (output, weights) if return_attention else output


def take_positions(x: Shaped[Tensor, "B S D"], positions: Int[Tensor, "B T"]) -> Shaped[Tensor, "B T D"]:
    """The vectors at some positions of each row; positions are in [0, S)."""
    return ops.take_along_axis(x, ops.expand_dims(ops.cast(positions, "int32"), -1), axis=1)


def _check_inputs(
    hidden: Tensor,
    padding_mask: Tensor | None,
    num_queries: int | None,
    query_positions: Tensor | None,
    position_bias: Tensor | None,
) -> None:
    check_mask(padding_mask, "padding_mask", hidden.shape[1])
    if query_positions is not None and not (num_queries is None and position_bias is None):
        raise ValueError("query_positions cannot be combined with num_queries or position_bias")
    if num_queries is not None and not 1 <= num_queries <= (hidden.shape[1] or num_queries):
        raise ValueError(f"num_queries={num_queries}, but there are {hidden.shape[1]} positions")
