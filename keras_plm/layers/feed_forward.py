from typing import Any

import keras
from jaxtyping import Float
from keras import ops

from keras_plm.config import Adaptation
from keras_plm.tensor_types import Tensor

from .activations import activate
from .checks import check_counts
from .fused import bias_activation, gated_activation
from .projection import Projection


@keras.saving.register_keras_serializable("keras_plm")
class FeedForward(keras.layers.Layer):
    """Two dense layers with an activation between them, applied to each position separately.

    `output = act(x W_1) W_2`; gated: `output = (act(x W_g) · (x W_1)) W_2`. Each dense layer has a bias unless
    `use_bias` is False.

    Args:
        intermediate_dim: F, the inner width.
        activation: "gelu", "gelu_tanh", "relu" or "silu".
        gated: multiply the inner layer by an activated gate (GEGLU with gelu, SwiGLU with silu).
        use_bias: False for dense layers without biases (Llama, T5).
        adaptation: LoRA or fake quantization of the dense layers, see `Projection`; None for neither.

    Call args:
        hidden: (B, T, D) float.

    Returns:
        (B, T, D) float.

    Raises:
        ValueError: the activation is unknown; raised at the first call.

    Example:
        >>> FeedForward(intermediate_dim=16)(keras.ops.ones((3, 5, 8))).shape
        TensorShape([3, 5, 8])

    Source: Vaswani et al. 2017, §3.3, https://arxiv.org/abs/1706.03762; gates: Shazeer 2020,
        https://arxiv.org/abs/2002.05202
    """

    def __init__(
        self,
        intermediate_dim: int,
        activation: str = "gelu_tanh",
        gated: bool = False,
        use_bias: bool = True,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_counts(intermediate_dim=intermediate_dim)
        self.input_spec = keras.layers.InputSpec(min_ndim=2)
        self.supports_masking = True
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.gated = gated
        self.use_bias = use_bias
        self.adaptation = Adaptation.get(adaptation)

    def get_config(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in ("intermediate_dim", "activation", "gated", "use_bias")}
        return super().get_config() | settings | {"adaptation": self.adaptation.to_dict()}

    def build(self, input_shape: tuple) -> None:
        self.width = input_shape[-1]
        inner_shape = (*input_shape[:-1], self.intermediate_dim)
        # the bias of the inner layer is added in the same kernel as the activation
        self.expand = self._dense(self.intermediate_dim, "expand", input_shape, use_bias=False)
        self.expand_bias = None
        if self.use_bias:
            shape = (self.intermediate_dim,)
            self.expand_bias = self.add_weight(shape=shape, initializer="zeros", name="expand_bias", autocast=False)
        if self.gated:
            self.gate = self._dense(self.intermediate_dim, "gate", input_shape, self.use_bias)
        self.contract = self._dense(input_shape[-1], "contract", inner_shape, self.use_bias)

    def _dense(self, units: int, name: str, input_shape: tuple, use_bias: bool) -> Projection:
        options = {"use_bias": use_bias, "dtype": self.dtype_policy, "name": name}
        layer = Projection(units, self.width, self.adaptation, **options)
        layer.build(input_shape)
        return layer

    def call(self, hidden: Float[Tensor, "B T D"], training: bool | None = None) -> Float[Tensor, "B T D"]:
        """See the class."""
        inner = self.expand(hidden, training=training)
        if self.gated:
            gate = self.gate(hidden, training=training)
            if self.expand_bias is not None:
                inner = inner + ops.cast(self.expand_bias, inner.dtype)
            inner = gated_activation(gate, inner, activation=self.activation, training=training)
        elif self.expand_bias is None:
            inner = activate(inner, self.activation)
        else:
            inner = bias_activation(inner, self.expand_bias, activation=self.activation, training=training)
        return self.contract(inner, training=training)
