from typing import Any

import keras
from keras import ops

_MOMENTUM = 0.98  # of the running range: it forgets its beginning within some hundred steps


class FakeQuantization(keras.layers.Layer):
    """Rounds activations as int8 will, in a range that it learns from what it sees.

    The gradient passes through as if nothing were rounded, but for values outside of the range, which get none.

    Args:
        start: the range before training is (-start, start).

    Call args:
        x: float, of any shape.

    Returns:
        The same shape, of at most 256 different values.

    Example:
        >>> round(float(FakeQuantization(start=2.55)(keras.ops.array([0.013]))[0]), 6)
        0.02

    Source: Jacob et al. 2018, §3.1, https://arxiv.org/abs/1712.05877
    """

    def __init__(self, start: float = 6.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape: tuple) -> None:
        self.range = self.add_weight(
            shape=(2,), initializer=self._first_range, trainable=False, autocast=False, aggregation="mean", name="range"
        )

    def _first_range(self, shape: tuple, dtype: Any = None) -> Any:
        return ops.convert_to_tensor([-self.start, self.start], dtype)

    def call(self, x: Any, training: bool | None = None) -> Any:
        limits = ops.convert_to_tensor(self.range)
        if training:
            # zero is always inside: padding and ReLU need it to be exact
            seen = ops.stack([ops.minimum(ops.min(x), 0), ops.maximum(ops.max(x), 0)])
            seen = ops.stop_gradient(ops.cast(seen, limits.dtype))
            limits = _MOMENTUM * limits + (1 - _MOMENTUM) * seen
            self.range.assign(limits)
        return keras.quantizers.fake_quant_with_min_max_vars(x, limits[0], limits[1])


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
