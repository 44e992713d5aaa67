from typing import Any

import keras
from jaxtyping import Float
from keras import ops

from keras_plm.config import Adaptation
from keras_plm.tensor_types import Tensor

from .fake_quantization import FakeQuantization, kernel_scales, rounded_weights
from .initialization import scaled_normal


@keras.saving.register_keras_serializable("keras_plm")
class Projection(keras.layers.Dense):
    """A dense layer with BERT's initializer, optionally with LoRA or fake quantization.

    `output = x W + b + (α / r) · (x A) B`. If only A and B are trained, the gradient of W is not computed. B is
    initialized with zeros, so that the initial output does not change. With fake quantization to int8:
    `output = s · round(round(x) round(W / s) + b / s)`, where s is from `kernel_scales` and the ranges of the rounding
    are learned from the data.

    Args:
        units: width of the output.
        width: width of the model, for the initializer; None means `units`.
        adaptation: LoRA, if the layer's name is in `lora_targets`, or fake quantization; None for neither.

    Raises:
        ValueError: fake quantization together with an activation.

    Source: Hu et al. 2022, §4.1, https://arxiv.org/abs/2106.09685
    Differs: from `Dense.enable_lora`, which first adds A B to the kernel, and so computes the gradient of the whole W.
    """

    def __init__(
        self,
        units: int,
        width: int | None = None,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **{"kernel_initializer": scaled_normal(width or units), **kwargs})
        self.width = width
        self.adaptation = Adaptation.get(adaptation)
        if self.adaptation.quantization_aware and kwargs.get("activation") not in (None, "linear"):
            raise ValueError("a Projection with fake quantization has no activation")

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"width": self.width, "adaptation": self.adaptation.to_dict()}

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        if self.adaptation.quantization_aware:
            self.round_input, self.round_scaled = (
                FakeQuantization(dtype=self.dtype_policy, name=f"round_{what}") for what in ("input", "scaled")
            )
            self.round_input.build(input_shape)
            self.round_scaled.build((*input_shape[:-1], self.units))
        rank, width = self.adaptation.rank_of(self.name), input_shape[-1]
        self.lora_a = self.lora_b = None
        if rank:
            self.lora_a = self.add_weight(shape=(width, rank), initializer=scaled_normal(width), name="lora_a")
            self.lora_b = self.add_weight(shape=(rank, self.units), initializer="zeros", name="lora_b")

    def save_own_variables(self, store: Any) -> None:
        """Save all variables. The method of `Dense` saves only the kernel and the bias, not the LoRA updates."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """The inverse of `save_own_variables`."""
        keras.layers.Layer.load_own_variables(self, store)

    def call(self, inputs: Float[Tensor, "... inputs"], training: bool | None = None) -> Float[Tensor, "... units"]:
        """See the class."""
        if self.adaptation.quantization_aware:
            return self._quantized(inputs, training)
        output = self._in_rows(inputs) if training else super().call(inputs)
        if self.lora_a is not None:
            update = ops.matmul(ops.matmul(inputs, self.lora_a), self.lora_b)
            output = output + ops.cast(self.adaptation.lora_scale, update.dtype) * update
        return output

    def _in_rows(self, inputs: Float[Tensor, "... inputs"]) -> Float[Tensor, "... units"]:
        """The dense layer as one product of two matrices: TensorFlow adds the bias in the same kernel."""
        output = super().call(ops.reshape(inputs, (-1, inputs.shape[-1])))
        return ops.reshape(output, (*ops.shape(inputs)[:-1], self.units))

    def _quantized(self, inputs: Float[Tensor, "... inputs"], training: bool | None) -> Float[Tensor, "... units"]:
        scales = kernel_scales(self.kernel, self.bias)
        output = ops.matmul(self.round_input(inputs, training=training), rounded_weights(self.kernel / scales))
        if self.bias is not None:
            output = output + self.bias / scales
        return self.round_scaled(output, training=training) * scales
