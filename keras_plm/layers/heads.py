from typing import Any

import keras
from jaxtyping import Float, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor

from .activations import activate
from .checks import check_counts, check_fractions
from .encoder_block import take_positions
from .initialization import scaled_normal
from .normalization import Dropout, ResidualNorm


@keras.saving.register_keras_serializable("keras_plm")
class MaskedTokenHead(keras.layers.Layer):
    """Vocabulary logits at the masked positions only, computed with the embedding matrix (tied weights).

    `logits = norm(act(hidden[mask_positions] W)) embedding_matrixᵀ + bias`

    Args:
        vocabulary_size: V.
        activation: activation function of the dense layer.
        layer_norm_epsilon: added to the variance.

    Call args:
        hidden: (B, T, D) float.
        mask_positions: (B, P) int32 in [0, T); None means that `hidden` has only the masked positions.
        embedding_matrix: (V, E), the weight of the token embedding; the dense layer projects D to E.

    Returns:
        (B, P, V) logits in the compute dtype.

    Source: Devlin et al. 2019, §3.1 task 1, https://arxiv.org/abs/1810.04805
    Differs: logits are computed only at the masked positions. With 15 % masked tokens, the largest matrix product of a
        small model has 6.7 times less work.
    """

    def __init__(
        self,
        vocabulary_size: int,
        activation: str = "gelu_tanh",
        layer_norm_epsilon: float = 1e-12,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_counts(vocabulary_size=vocabulary_size)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.vocabulary_size = vocabulary_size
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(
        self, hidden_shape: tuple, mask_positions_shape: tuple | None = None, embedding_matrix_shape: tuple = ()
    ) -> None:
        width = embedding_matrix_shape[-1]
        self.dense = keras.layers.Dense(
            width,
            kernel_initializer=scaled_normal(width),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.norm = ResidualNorm(self.layer_norm_epsilon, dtype=self.dtype_policy, name="norm")
        self.dense.build(hidden_shape)
        self.norm.build((*hidden_shape[:-1], width))
        self.bias = self.add_weight(shape=(self.vocabulary_size,), initializer="zeros", name="bias")

    def call(
        self,
        hidden: Float[Tensor, "B T D"],
        mask_positions: Shaped[Tensor, "B P"] | None,
        embedding_matrix: Float[Tensor, "V E"],
    ) -> Float[Tensor, "B P V"]:
        """See the class."""
        masked = hidden if mask_positions is None else take_positions(hidden, mask_positions)
        masked = self.norm(activate(self.dense(masked), self.activation))
        # one product over all rows, so that TensorFlow adds the bias in the same kernel
        rows = ops.reshape(masked, (-1, ops.shape(masked)[-1]))
        logits = ops.matmul(rows, ops.transpose(ops.cast(embedding_matrix, rows.dtype))) + self.bias
        return ops.reshape(logits, (ops.shape(masked)[0], ops.shape(masked)[1], self.vocabulary_size))


@keras.saving.register_keras_serializable("keras_plm")
class NextTokenHead(keras.layers.Layer):
    """Vocabulary logits of the next token, computed with the embedding matrix or with the head's own kernel.

    `logits = hidden embedding_matrixᵀ`, or `hidden W`; with a bias, `+ b`.

    Args:
        vocabulary_size: V.
        tied: whether the logits are computed with the embedding matrix; False creates a separate kernel W.
        use_bias: whether there is a bias b.
        scaled: whether the hidden states are divided by √D first (T5 1.0).

    Call args:
        hidden: (B, T, D) float.
        embedding_matrix: (V, D), the weight of the token embedding, if `tied`.

    Returns:
        (B, T, V) logits in the compute dtype.

    Source: Radford et al. 2018, §3.1, https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
    """  # noqa: E501

    def __init__(
        self, vocabulary_size: int, tied: bool = True, use_bias: bool = False, scaled: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_counts(vocabulary_size=vocabulary_size)
        self.input_spec = keras.layers.InputSpec(ndim=3)
        self.vocabulary_size = vocabulary_size
        self.tied = tied
        self.use_bias = use_bias
        self.scaled = scaled

    def build(self, hidden_shape: tuple, embedding_matrix_shape: tuple | None = None) -> None:
        if not self.tied:
            width = hidden_shape[-1]
            shape, initializer = (width, self.vocabulary_size), scaled_normal(width)
            self.kernel = self.add_weight(shape=shape, initializer=initializer, name="kernel")
        if self.use_bias:
            self.bias = self.add_weight(shape=(self.vocabulary_size,), initializer="zeros", name="bias")

    def call(
        self, hidden: Float[Tensor, "B T D"], embedding_matrix: Float[Tensor, "V D"] | None = None
    ) -> Float[Tensor, "B T V"]:
        """See the class."""
        if self.scaled:
            hidden = hidden * hidden.shape[-1] ** -0.5
        kernel = ops.transpose(ops.cast(embedding_matrix, hidden.dtype)) if self.tied else self.kernel
        logits = ops.matmul(hidden, kernel)
        return logits + ops.cast(self.bias, logits.dtype) if self.use_bias else logits


@keras.saving.register_keras_serializable("keras_plm")
class NextSentenceHead(keras.layers.Layer):
    """Logits of (IsNext, NotNext) from the pooled vector.

    Call args:
        pooled: (B, D) float.

    Returns:
        (B, 2) float32 logits; class 0 means that the second segment follows the first.

    Source: Devlin et al. 2019, §3.1 task 2, https://arxiv.org/abs/1810.04805
    """

    def build(self, input_shape: tuple) -> None:
        self.dense = keras.layers.Dense(
            2,
            kernel_initializer=scaled_normal(input_shape[-1]),
            dtype="float32",
            name="dense",
        )
        self.dense.build(input_shape)

    def call(self, pooled: Float[Tensor, "B D"]) -> Float[Tensor, "B 2"]:
        """See the class."""
        return self.dense(pooled)


@keras.saving.register_keras_serializable("keras_plm")
class ClassificationHead(keras.layers.Layer):
    """Dropout and a dense layer: label logits from the vector of a text, or from the vector of each token.

    Args:
        num_classes: C; 1 for regression.
        dropout: fraction dropped in training.

    Call args:
        hidden: (B, D) or (B, T, D) float.

    Returns:
        (B, C) or (B, T, C) float32 logits.

    Source: Devlin et al. 2019, §4.1, https://arxiv.org/abs/1810.04805
    """

    def __init__(self, num_classes: int, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(num_classes=num_classes)
        check_fractions(dropout=dropout)
        self.supports_masking = True
        if num_classes < 1:
            raise ValueError(f"num_classes={num_classes}; it must be at least 1")
        self.num_classes = num_classes
        self.dropout = dropout

    def build(self, input_shape: tuple) -> None:
        self.dropout_layer = Dropout(self.dropout, dtype=self.dtype_policy)
        self.dense = keras.layers.Dense(
            self.num_classes,
            kernel_initializer=scaled_normal(input_shape[-1]),
            dtype="float32",
            name="dense",
        )
        self.dense.build(input_shape)

    def call(self, hidden: Float[Tensor, "B *T D"], training: bool | None = None) -> Float[Tensor, "B *T C"]:
        """See the class."""
        return self.dense(self.dropout_layer(hidden, training=training))
