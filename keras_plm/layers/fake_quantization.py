from typing import Any

import keras
from keras import ops

_START = 6.0  # the range before training is (-6, 6), about that of normed activations
_MOMENTUM = 0.98  # of the running range: it forgets its beginning within some hundred steps


class FakeQuantization(keras.layers.Layer):
    """Rounds activations as int8 will, in a range that it learns from what it sees.

    The gradient passes through as if nothing were rounded, but for values outside of the range, which get none.

    Call args:
        x: float, of any shape.

    Returns:
        The same shape, of at most 256 different values.

    Example:
        >>> round(float(FakeQuantization()(keras.ops.array([0.06]))[0]), 6)
        0.047059

    Source: Jacob et al. 2018, §3.1, https://arxiv.org/abs/1712.05877
    """

    def build(self, input_shape: tuple) -> None:
        self.range = self.add_weight(
            shape=(2,), initializer=_first_range, trainable=False, autocast=False, aggregation="mean", name="range"
        )

    def call(self, x: Any, training: bool | None = None) -> Any:
        limits = ops.convert_to_tensor(self.range)
        if training:
            # zero is always inside: padding and ReLU need it to be exact
            seen = ops.stack([ops.minimum(ops.min(x), 0), ops.maximum(ops.max(x), 0)])
            seen = ops.stop_gradient(ops.cast(seen, limits.dtype))
            limits = _MOMENTUM * limits + (1 - _MOMENTUM) * seen
            self.range.assign(limits)
        return keras.quantizers.fake_quant_with_min_max_vars(x, limits[0], limits[1])


def _first_range(shape: tuple, dtype: Any = None) -> Any:
    return ops.convert_to_tensor([-_START, _START], dtype)


def rounded_weights(weights: Any, of: Any = None) -> Any:
    """Weights as int8 will hold them: 255 values, as many below zero as above, one scale for the whole tensor.

    Args:
        weights: float, of any shape.
        of: the tensor whose largest weight sets the scale; None means `weights`.

    Source: Jacob et al. 2018, §3.1, https://arxiv.org/abs/1712.05877
    Differs: one scale and not one for each output, because TFLite's converter refuses those in a fully connected layer.
    """
    largest = ops.maximum(ops.max(ops.abs(ops.stop_gradient(weights if of is None else of))), 1e-6)
    return keras.quantizers.fake_quant_with_min_max_vars(weights, -largest, largest, narrow_range=True)
