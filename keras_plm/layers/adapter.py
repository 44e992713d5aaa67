from typing import Any

import keras
from jaxtyping import Float

from keras_plm.tensor_types import Tensor

from .activations import activate
from .checks import check_counts
from .projection import Projection


@keras.saving.register_keras_serializable("keras_plm")
class Adapter(keras.layers.Layer):
    """A bottleneck with a residual connection: `output = x + act(x W_down) W_up`. The initial output is `x`.

    Args:
        dim: R, width of the bottleneck.
        activation: activation function between the two layers.

    Call args:
        x: (B, T, D) float.

    Returns:
        (B, T, D) float.

    Source: Houlsby et al. 2019, §2.1, https://arxiv.org/abs/1902.00751
    """

    def __init__(self, dim: int, activation: str = "gelu_tanh", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(dim=dim)
        self.supports_masking = True
        self.dim = dim
        self.activation = activation

    def build(self, input_shape: tuple) -> None:
        width = input_shape[-1]
        self.down = Projection(self.dim, width, dtype=self.dtype_policy, name="down")
        self.up = Projection(width, dtype=self.dtype_policy, kernel_initializer="zeros", name="up")
        self.down.build(input_shape)
        self.up.build((*input_shape[:-1], self.dim))

    def call(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """See the class."""
        return x + self.up(activate(self.down(x), self.activation))
