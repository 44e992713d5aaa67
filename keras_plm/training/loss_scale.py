import functools
from typing import Any

import keras
import tensorflow as tf

INITIAL_SCALE = 2.0**15
_LARGEST = 2.0**24
_GROWTH_STEPS = 2_000


class LossScale:
    """A factor of the loss in float16, without which small gradients would be 0.

    The factor is halved if a gradient overflows, and doubled after 2,000 steps without overflow.

    Args:
        optimizer: the optimizer that gets the two variables of the state. They are saved with it.

    Source: Micikevicius et al. 2018, §3.2, https://arxiv.org/abs/1710.03740
    Differs: from `keras.optimizers.LossScaleOptimizer`: the summed gradient of all devices decides, so that all skip
        the same steps. Skipped steps count as iterations, so a resumed training continues at the right batch.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        add = functools.partial(optimizer.add_variable, shape=(), aggregation="only_first_replica")
        initial = keras.initializers.Constant(INITIAL_SCALE)
        self.factor: Any = add(initializer=initial, dtype="float32", name="loss_scale")
        self.steps: Any = add(initializer="zeros", dtype="int32", name="steps_without_overflow")

    def update(self, finite: tf.Tensor) -> None:
        """Adapt the factor after a step.

        Args:
            finite: bool scalar, whether all gradients were finite.
        """
        steps = tf.where(finite, tf.convert_to_tensor(self.steps) + 1, 0)
        factor, grown = tf.convert_to_tensor(self.factor), steps >= _GROWTH_STEPS
        grown_factor = tf.where(grown, tf.minimum(2 * factor, _LARGEST), factor)
        self.factor.assign(tf.where(finite, grown_factor, tf.maximum(factor / 2, 1.0)))
        self.steps.assign(tf.where(grown, 0, steps))
