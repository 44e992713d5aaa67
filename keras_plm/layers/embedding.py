from collections.abc import Callable
from typing import Any

import keras
from jaxtyping import Float, Int, Shaped
from keras import ops

from keras_plm.config import Adaptation
from keras_plm.tensor_types import Tensor

from .checks import check_counts, check_fractions
from .export_hooks import graph_hooks
from .fake_quantization import rounded_weights
from .initialization import scaled_normal, scaled_sinusoids, sinusoids
from .normalization import Dropout, ResidualNorm

_POSITIONS = ("learned", "sinusoidal", "sinusoidal_halves", "none")


@keras.saving.register_keras_serializable("keras_plm")
class TokenEmbedding(keras.layers.Layer):
    """Sum of token, position and segment embeddings, followed by normalization and dropout.

    `output = dropout(norm(tokens[token_ids] + positions[position_ids] + segments[segment_ids]))`. With `embedding_dim`,
    a dense layer follows: `output W + b`.

    Args:
        vocabulary_size: V.
        hidden_dim: D.
        max_sequence_length: number of learned positions.
        positions: "learned", "sinusoidal", "sinusoidal_halves" (see `initialization.sinusoids`) or "none".
        num_segments: number of segment types; 0 means no segment embedding.
        dropout: fraction dropped in training.
        layer_norm_epsilon: added to the variance; None means no normalization.
        embedding_dim: E, width of the embedding matrices; a dense layer projects them to D. None means width D, without
            this layer.
        embedding_rank: R; the embedding matrix is the product of a (V, R) and an (R, E) matrix. None means one matrix.
        scaled: multiply the rows of the embedding matrix by √D.
        tied: the layer uses the embedding matrix of another layer, which each call gets.
        adaptation: fake quantization of the embedding matrix; None for none.

    Call args:
        token_ids: (B, T) int32 in [0, V).
        segment_ids: (B, T) int32 in [0, num_segments); None means all 0.
        position_ids: (B, T) int32 in [0, max_sequence_length), the positions of the tokens; None means 0 … T - 1.
        embedding_matrix: (V, E), the weight of another layer, if `tied`.

    Returns:
        (B, T, D) float.

    Raises:
        ValueError: `positions` has an unknown value, or a static T is above `max_sequence_length`.

    Example:
        >>> embed = TokenEmbedding(vocabulary_size=11, hidden_dim=8, max_sequence_length=7)
        >>> embed(keras.ops.ones((3, 5), "int32")).shape
        TensorShape([3, 5, 8])

    Source: Devlin et al. 2019, figure 2, https://arxiv.org/abs/1810.04805; sinusoids: Vaswani et al.
        2017, §3.5, https://arxiv.org/abs/1706.03762; narrow embedding matrices: Lan et al. 2020, §3.1,
        https://arxiv.org/abs/1909.11942
    Differs: learned positions are initialized with sinusoids (`initialization.scaled_sinusoids`). An output head can
        use the embedding matrix (`embedding_matrix`), so that both have tied weights.
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_dim: int,
        max_sequence_length: int = 512,
        positions: str = "learned",
        num_segments: int = 2,
        dropout: float = 0.0,
        layer_norm_epsilon: float | None = 1e-12,
        embedding_dim: int | None = None,
        embedding_rank: int | None = None,
        scaled: bool = False,
        tied: bool = False,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        counts = {"vocabulary_size": vocabulary_size, "hidden_dim": hidden_dim}
        check_counts(max_sequence_length=max_sequence_length, **counts)
        check_fractions(dropout=dropout)
        self.input_spec = keras.layers.InputSpec(ndim=2)
        if positions not in _POSITIONS:
            raise ValueError(f"positions={positions!r}; choose one of {', '.join(_POSITIONS)}")
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.max_sequence_length = max_sequence_length
        self.positions = positions
        self.num_segments = num_segments
        self.dropout = dropout
        self.layer_norm_epsilon = layer_norm_epsilon
        self.embedding_dim = embedding_dim
        self.embedding_rank = embedding_rank
        self.scaled = scaled
        self.tied = tied
        self.width = embedding_dim or hidden_dim
        self.adaptation = Adaptation.get(adaptation)

    def get_config(self) -> dict[str, Any]:
        names = ("vocabulary_size", "hidden_dim", "max_sequence_length", "positions", "num_segments", "dropout")
        settings = {name: getattr(self, name) for name in (*names, "layer_norm_epsilon", "embedding_dim")}
        more = {
            "embedding_rank": self.embedding_rank,
            "scaled": self.scaled,
            "tied": self.tied,
            "adaptation": self.adaptation.to_dict(),
        }
        return super().get_config() | settings | more

    def build(self, input_shape: tuple) -> None:
        if not self.tied:
            self.embedding_matrix = self._matrix("tokens", self.vocabulary_size, width=self.embedding_rank)
        if self.embedding_rank is not None:
            self.widen = self._matrix("widen", self.embedding_rank)
        if self.positions == "learned":
            self.position_matrix = self._matrix("positions", self.max_sequence_length, scaled_sinusoids(self.width))
        if self.num_segments:
            self.segment_matrix = self._matrix("segments", self.num_segments)
        if self.layer_norm_epsilon is not None:
            self.norm = ResidualNorm(self.layer_norm_epsilon, dtype=self.dtype_policy, name="norm")
            self.norm.build((*input_shape, self.width))
        if self.embedding_dim is not None:
            self.projection = keras.layers.Dense(
                self.hidden_dim,
                kernel_initializer=scaled_normal(self.hidden_dim),
                dtype=self.dtype_policy,
                name="projection",
            )
            self.projection.build((*input_shape, self.width))
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)

    def _matrix(self, name: str, rows: int, initializer: Any = None, width: int | None = None) -> keras.Variable:
        return self.add_weight(
            shape=(rows, width or self.width),
            initializer=initializer or scaled_normal(self.width),
            name=name,
            autocast=name != "tokens",  # the largest weight of most models: do not cast all rows for a few
        )

    def call(
        self,
        token_ids: Shaped[Tensor, "B T"],
        segment_ids: Shaped[Tensor, "B T"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        embedding_matrix: Float[Tensor, "V E"] | None = None,
        training: bool | None = None,
    ) -> Float[Tensor, "B T D"]:
        """See the class."""
        self._check_length(token_ids)
        # a symbolic build under tf.distribute passes ids in the compute dtype
        token_ids = ops.cast(token_ids, "int32")
        look_up = graph_hooks().look_up or self._look_up
        matrix = embedding_matrix if self.tied else self.embedding_matrix
        hidden = ops.cast(look_up(matrix, token_ids), self.compute_dtype)
        if self.embedding_rank is not None:
            hidden = ops.matmul(hidden, self.widen)
        if self.scaled:
            hidden = hidden * self.hidden_dim**0.5
        if self.positions != "none":
            hidden = hidden + self._positions(token_ids, position_ids)
        if self.num_segments:
            if segment_ids is None or self.num_segments == 1:  # RoBERTa has one type, also for pairs
                segment_ids = ops.zeros_like(token_ids)
            hidden = hidden + self._segments(ops.cast(segment_ids, "int32"), training)
        if self.layer_norm_epsilon is not None:
            hidden = self.norm(hidden, training=training)
        hidden = self.dropout_layer(hidden, training=training)
        return hidden if self.embedding_dim is None else self.projection(hidden)

    def compute_output_spec(self, token_ids: keras.KerasTensor, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        # computed without tracing `call`, as in `EncoderBlock`
        self._check_length(token_ids)
        return keras.KerasTensor((*token_ids.shape, self.hidden_dim), self.compute_dtype)

    def _check_length(self, token_ids: Tensor) -> None:
        length = token_ids.shape[1]
        if self.positions != "none" and isinstance(length, int) and length > self.max_sequence_length:
            raise ValueError(f"{length} tokens are more than max_sequence_length={self.max_sequence_length}")

    @property
    def _look_up(self) -> Callable[[Tensor, Tensor], Tensor]:
        return _take_rounded_rows if self.adaptation.quantization_aware else _take_rows

    def _segments(self, segment_ids: Int[Tensor, "B T"], training: bool | None) -> Float[Tensor, "B T D"]:
        if not training:  # one-hot vectors are wrong in int8 TFLite
            return ops.take(self.segment_matrix, segment_ids, axis=0)
        # the gradient of a matrix product is a matrix product; the gradient of a look-up is a slow scatter
        one_hot = ops.one_hot(segment_ids, self.num_segments, dtype=self.compute_dtype)
        return ops.matmul(one_hot, self.segment_matrix)

    def _positions(
        self, token_ids: Int[Tensor, "B T"], position_ids: Int[Tensor, "B T"] | None
    ) -> Float[Tensor, "*B T E"]:
        matrix = (
            ops.convert_to_tensor(self.position_matrix)
            if self.positions == "learned"
            else ops.convert_to_tensor(
                sinusoids(self.max_sequence_length, self.width, self.positions == "sinusoidal_halves"),
                self.compute_dtype,
            )
        )
        if position_ids is not None:
            return ops.take(matrix, position_ids, axis=0)
        return ops.slice(matrix, (0, 0), (ops.shape(token_ids)[1], self.width))


def _take_rows(matrix: Float[Tensor, "V E"], token_ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T E"]:
    return ops.take(matrix, token_ids, axis=0)


def _take_rounded_rows(matrix: Float[Tensor, "V E"], token_ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T E"]:
    """Rows rounded like the whole matrix. If the whole matrix were rounded, its gradient would be dense."""
    return rounded_weights(_take_rows(matrix, token_ids), of=matrix)
