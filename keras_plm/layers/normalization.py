from typing import Any

import keras
from jaxtyping import Float

from keras_plm.tensor_types import Tensor

from .checks import check_fractions
from .export_hooks import graph_hooks
from .fused import dropout, rms_normalize
from .fused_norm import residual_norm
from .rematerialization import next_seed


class _Seeded(keras.layers.Layer):
    """Saves the dropout state with the weights. Keras does not save it, so a resumed training would differ."""

    seed_generator: Any  # None without dropout

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.seed_generator is not None:
            store["seed"] = keras.ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        if self.seed_generator is not None and "seed" in store.keys():  # noqa: SIM118
            self.seed_generator.state.assign(store["seed"])
        super().load_own_variables({k: store[k] for k in store.keys() if k != "seed"})  # noqa: SIM118


@keras.saving.register_keras_serializable("keras_plm")
class ResidualNorm(_Seeded):
    """Layer normalization of a tensor, or of its sum with a residual.

    `output = norm(residual + dropout(x))`, or `norm(x)` without a residual. The statistics are computed in float32.

    Args:
        epsilon: added to the variance.
        dropout: fraction of `x` dropped before the sum in training.

    Call args:
        x: (B, T, D) float.
        residual: (B, T, D) float, or None.

    Returns:
        (B, T, D) float.

    Source: Ba et al. 2016, https://arxiv.org/abs/1607.06450
    Differs: from `keras.layers.LayerNormalization`: it includes the residual and dropout. In training, all three are
        one pass over memory.
    """

    def __init__(self, epsilon: float = 1e-12, dropout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_fractions(dropout=dropout)
        self.supports_masking = True
        self.epsilon = epsilon
        self.dropout = dropout
        self.seed_generator = keras.random.SeedGenerator() if dropout else None

    def build(self, x_shape: tuple, residual_shape: tuple | None = None) -> None:
        width = (x_shape[-1],)
        self.gamma = self.add_weight(shape=width, initializer="ones", name="gamma", autocast=False)
        self.beta = self.add_weight(shape=width, initializer="zeros", name="beta", autocast=False)

    def call(
        self,
        x: Float[Tensor, "B *T D"],
        residual: Float[Tensor, "B *T D"] | None = None,
        training: bool | None = None,
    ) -> Float[Tensor, "B *T D"]:
        """See the class."""
        normalized = graph_hooks().normalized
        rate = self.dropout if training and residual is not None else 0.0
        seed = next_seed(self.seed_generator) if rate else 0
        return normalized(
            residual_norm(x, residual, self.gamma, self.beta, seed, epsilon=self.epsilon, rate=rate, training=training)
        )


@keras.saving.register_keras_serializable("keras_plm")
class RMSNorm(keras.layers.Layer):
    """RMS normalization: `output = gamma · x / √(mean(x²) + epsilon)`. The mean is computed in float32.

    Args:
        epsilon: added to the mean square.

    Call args:
        x: (B, T, D) float.

    Returns:
        (B, T, D) float.

    Source: Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.epsilon = epsilon

    def build(self, x_shape: tuple) -> None:
        self.gamma = self.add_weight(shape=(x_shape[-1],), initializer="ones", name="gamma", autocast=False)

    def call(self, x: Float[Tensor, "B *T D"], training: bool | None = None) -> Float[Tensor, "B *T D"]:
        """See the class."""
        return graph_hooks().normalized(rms_normalize(x, self.gamma, epsilon=self.epsilon, training=training))


@keras.saving.register_keras_serializable("keras_plm")
class Dropout(_Seeded):
    """Dropout with a mask that is a hash of (seed, position): see `fused.dropout`.

    Args:
        rate: fraction dropped in training, in [0, 1).

    Call args:
        x: float tensor with at least two axes.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_fractions(rate=rate)
        self.supports_masking = True
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator() if rate else None
        self.built = True

    def call(self, x: Float[Tensor, "..."], training: bool | None = None) -> Float[Tensor, "..."]:
        """See the class."""
        if not training or not self.rate:
            return x
        return dropout(x, next_seed(self.seed_generator), rate=self.rate, training=True)
