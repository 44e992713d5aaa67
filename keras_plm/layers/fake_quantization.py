from typing import Any

import keras
from jaxtyping import Float
from keras import ops

from keras_plm.tensor_types import Tensor

_START = 6.0  # the initial range is (-6, 6), about the range of normalized activations
_MOMENTUM = 0.98  # of the running range: it forgets the initial range within some hundred steps
# in multiples of the root mean square. In MiniLM's feed-forward layers, one value per text is 200 times the root mean
# square and would leave few of the 256 steps to the others. This factor has the best score on dev rows, see docs/log
_FARTHEST = 32.0
_LARGEST_BIAS = 8.0  # in multiples of an output's largest weight; MiniLM's weighted sums reach about 30 multiples


@keras.saving.register_keras_serializable("keras_plm")
class FakeQuantization(keras.layers.Layer):
    """Rounds activations as in int8, in a range that it learns from its inputs.

    The range is the running mean of the smallest and the largest value of each batch. Both are limited to 32 times the
    batch's root mean square. Values outside the range are clipped. The gradient ignores the rounding; clipped values
    get no gradient.

    Call args:
        x: float tensor of any shape.

    Returns:
        A tensor of the same shape, with at most 256 different values.

    Example:
        >>> round(float(FakeQuantization()(keras.ops.array([0.06]))[0]), 6)
        0.047059

    Source: Jacob et al. 2018, §3.1, https://arxiv.org/abs/1712.05877
    Differs: the paper does not limit the range. A few huge values in feed-forward layers (Bondarenko et al. 2021, §3,
        https://arxiv.org/abs/2109.12948) would leave too few of the 256 steps to the other values.
    """

    def build(self, input_shape: tuple) -> None:
        self.range = self.add_weight(
            shape=(2,), initializer=_first_range, trainable=False, autocast=False, aggregation="mean", name="range"
        )

    def call(self, x: Float[Tensor, "..."], training: bool | None = None) -> Float[Tensor, "..."]:
        """See the class."""
        limits = ops.convert_to_tensor(self.range)
        if training:
            seen = range_of(ops.stop_gradient(ops.cast(x, limits.dtype)))
            limits = _MOMENTUM * limits + (1 - _MOMENTUM) * seen
            self.range.assign(limits)
        return keras.quantizers.fake_quant_with_min_max_vars(x, limits[0], limits[1])


def range_of(values: Float[Tensor, "..."]) -> Float[Tensor, " 2"]:
    """(2,) the lowest and the highest value. Zero is included, and both are limited as in `FakeQuantization`."""
    bound = _FARTHEST * ops.sqrt(ops.mean(ops.square(values)))
    # the range always includes zero: padding and ReLU need an exact zero
    return ops.stack([ops.clip(ops.min(values), -bound, 0), ops.clip(ops.max(values), 0, bound)])


def _first_range(shape: tuple, dtype: Any = None) -> Any:
    return ops.convert_to_tensor([-_START, _START], dtype)


def kernel_scales(
    kernel: Float[Tensor, "inputs outputs"], bias: Float[Tensor, " outputs"] | None = None
) -> Float[Tensor, " outputs"]:
    """(U,) the divisor of each output's weights before rounding: the largest absolute weight.

    With one scale for the whole kernel, the largest weights leave too few steps to the others: in MiniLM they are up to
    175 times the root mean square. TFLite's converter does not support one scale per output in fully connected layers.
    Therefore the scales are applied outside of the matrix product: `x W = s · (x W / s)`. The divided outputs also
    share one scale. This works equally well, except for a large bias of an output with pruned weights. Therefore no
    divided bias exceeds 8.

    Args:
        kernel: (D, U) float.
        bias: (U,) float, the bias of the layer.

    Source: Wu et al. 2020, §3.2, https://arxiv.org/abs/2004.09602
    """
    largest = ops.maximum(ops.max(ops.abs(kernel), axis=0), 1e-6)
    return ops.stop_gradient(largest if bias is None else ops.maximum(largest, ops.abs(bias) / _LARGEST_BIAS))


def rounded_weights(weights: Float[Tensor, "..."], of: Float[Tensor, "..."] | None = None) -> Float[Tensor, "..."]:
    """Weights rounded as in int8: 255 values, symmetric around zero, with one scale for the whole tensor.

    Args:
        weights: float tensor of any shape.
        of: the tensor whose largest absolute weight sets the scale; None means `weights`.

    Source: Jacob et al. 2018, §3.1, https://arxiv.org/abs/1712.05877
    Differs: one scale instead of one per output: see `kernel_scales`.
    """
    largest = ops.maximum(ops.max(ops.abs(ops.stop_gradient(weights if of is None else of))), 1e-6)
    return keras.quantizers.fake_quant_with_min_max_vars(weights, -largest, largest, narrow_range=True)
