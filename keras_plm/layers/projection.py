from typing import Any

import keras
from keras import ops

from .fake_quantization import FakeQuantization, kernel_scales, rounded_weights
from .initialization import scaled_normal


@keras.saving.register_keras_serializable("keras_plm")
class Projection(keras.layers.Dense):
    """A dense layer with BERT's initializer; optionally LoRA beside its kernel, or fake quantization.

    `output = x W + b + (α / r) · (x A) B`. Where only A and B are trained, no gradient of W is computed. B begins as
    zeros, so that the layer begins as it was. `quantized`: `output = s · round(round(x) round(W / s) + b / s)`, as int8
    has it, s as of `kernel_scales`.

    Args:
        units: width of the output.
        width: that of the model, for the initializer; None means `units`.
        low_rank: r; 0 for no update.
        low_rank_scale: α / r.
        quantized: round the input, the kernel and the output as int8 will, in ranges that follow what they see.

    Source: Hu et al. 2022, §4.1, https://arxiv.org/abs/2106.09685
    Differs: from `Dense.enable_lora`, which adds A B to the kernel first, and so computes the gradient of all of W.
    """

    def __init__(
        self,
        units: int,
        width: int | None = None,
        low_rank: int = 0,
        low_rank_scale: float = 1.0,
        quantized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, **{"kernel_initializer": scaled_normal(width or units), **kwargs})
        if quantized and (low_rank or kwargs.get("activation") not in (None, "linear")):
            raise ValueError("a quantized Projection has neither a LoRA update nor an activation")
        self.width = width
        self.low_rank = low_rank
        self.low_rank_scale = low_rank_scale
        self.quantized = quantized

    def get_config(self) -> dict[str, Any]:
        names = ("width", "low_rank", "low_rank_scale", "quantized")
        return super().get_config() | {name: getattr(self, name) for name in names}

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        if self.quantized:
            self.round_input, self.round_scaled = (
                FakeQuantization(dtype=self.dtype_policy, name=f"round_{what}") for what in ("input", "scaled")
            )
            self.round_input.build(input_shape)
            self.round_scaled.build((*input_shape[:-1], self.units))
        if self.low_rank:
            width = input_shape[-1]
            self.low_rank_a = self.add_weight(
                shape=(width, self.low_rank), initializer=scaled_normal(width), name="low_rank_a"
            )
            self.low_rank_b = self.add_weight(shape=(self.low_rank, self.units), initializer="zeros", name="low_rank_b")

    def save_own_variables(self, store: Any) -> None:
        """All of them: what this is inherited from saves the kernel and the bias, not the update beside them."""
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store: Any) -> None:
        """The inverse of `save_own_variables`."""
        keras.layers.Layer.load_own_variables(self, store)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """See the class."""
        if self.quantized:
            return self._quantized(inputs, training)
        output = super().call(inputs, training=training)
        if self.low_rank:
            update = ops.matmul(ops.matmul(inputs, self.low_rank_a), self.low_rank_b)
            output = output + ops.cast(self.low_rank_scale, update.dtype) * update
        return output

    def _quantized(self, inputs: Any, training: bool | None) -> Any:
        scales = kernel_scales(self.kernel, self.bias)
        output = ops.matmul(self.round_input(inputs, training=training), rounded_weights(self.kernel / scales))
        if self.bias is not None:
            output = output + self.bias / scales
        return self.round_scaled(output, training=training) * scales
