from typing import Any

import keras
from jaxtyping import Float
from keras import ops

from keras_plm.tensor_types import Tensor

_START = 6.0  # the range before training is (-6, 6), about that of normed activations
_MOMENTUM = 0.98  # of the running range: it forgets its beginning within some hundred steps
# of the root mean square. In MiniLM's feed-forward layers one value a text is 200 times that, and takes most of the 256
# values from the others. The factor is that of the best score on dev rows, see docs/log
_FARTHEST = 32.0
_LARGEST_BIAS = 8.0  # in units of an output's largest weight; MiniLM's sums of inputs and weights go to some 30 of them


@keras.saving.register_keras_serializable("keras_plm")
class FakeQuantization(keras.layers.Layer):
    """Rounds activations as int8 will, in a range that it learns from what it sees.

    The range is the running mean of the smallest and the largest value of each batch, but no farther from zero than 32
    times the batch's root mean square; what lies outside is cut. The gradient passes through as if nothing were
    rounded, but for values outside of the range, which get none.

    Call args:
        x: float, of any shape.

    Returns:
        The same shape, of at most 256 different values.

    Example:
        >>> round(float(FakeQuantization()(keras.ops.array([0.06]))[0]), 6)
        0.047059

    Source: Jacob et al. 2018, §3.1, https://arxiv.org/abs/1712.05877
    Differs: its range has no bound. A few huge values in feed-forward layers (Bondarenko et al. 2021, §3,
        https://arxiv.org/abs/2109.12948) would leave too few of the 256 values to the rest.
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
    """Lowest and highest value, (2,), zero among them, and neither farther from it than `FakeQuantization` says."""
    bound = _FARTHEST * ops.sqrt(ops.mean(ops.square(values)))
    # zero is always inside: padding and ReLU need it to be exact
    return ops.stack([ops.clip(ops.min(values), -bound, 0), ops.clip(ops.max(values), 0, bound)])


def _first_range(shape: tuple, dtype: Any = None) -> Any:
    return ops.convert_to_tensor([-_START, _START], dtype)


def kernel_scales(
    kernel: Float[Tensor, "inputs outputs"], bias: Float[Tensor, " outputs"] | None = None
) -> Float[Tensor, " outputs"]:
    """What the weights of each output are divided by before they are rounded, (U,): the largest of them.

    With one scale for the whole kernel the largest weights leave nothing to the others: in MiniLM they are up to 175
    times the root mean square. TFLite's converter takes no scale for each output of a fully connected layer, so that it
    stands beside the product: `x W = s · (x W / s)`. The outputs come to one scale too, which is as good for them, but
    for a bias beside weights that pruning took away: no bias becomes larger than 8.

    Args:
        kernel: (D, U) float.
        bias: (U,) float, that of the layer.

    Source: Wu et al. 2020, §3.2, https://arxiv.org/abs/2004.09602
    """
    largest = ops.maximum(ops.max(ops.abs(kernel), axis=0), 1e-6)
    return ops.stop_gradient(largest if bias is None else ops.maximum(largest, ops.abs(bias) / _LARGEST_BIAS))


def rounded_weights(weights: Float[Tensor, "..."], of: Float[Tensor, "..."] | None = None) -> Float[Tensor, "..."]:
    """Weights as int8 will hold them: 255 values, as many below zero as above, one scale for the whole tensor.

    Args:
        weights: float, of any shape.
        of: the tensor whose largest weight sets the scale; None means `weights`.

    Source: Jacob et al. 2018, §3.1, https://arxiv.org/abs/1712.05877
    Differs: one scale and not one for each output: see `kernel_scales`.
    """
    largest = ops.maximum(ops.max(ops.abs(ops.stop_gradient(weights if of is None else of))), 1e-6)
    return keras.quantizers.fake_quant_with_min_max_vars(weights, -largest, largest, narrow_range=True)
