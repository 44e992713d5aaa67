from typing import Any

import keras
import tensorflow as tf

from .optimizers import NO_DECAY, ClipsSummedGradient


@keras.saving.register_keras_serializable("keras_plm")
class Lamb(ClipsSummedGradient, keras.optimizers.Lamb):
    """LAMB, for batches of thousands of rows, for which AdamW would need a learning rate that is not stable.

        r = m / (√v + ε) + λ w          w ← w - rate · (‖w‖ / ‖r‖) · r

    Biases and norms have neither weight decay λ nor the trust ratio ‖w‖ / ‖r‖, as in the authors' code.

    Args:
        learning_rate: number or schedule.
        weight_decay: λ; None or 0 for none.
        global_clipnorm: largest norm of all gradients together; None for no clipping.

    Source: You et al. 2020, algorithm 2, https://arxiv.org/abs/1904.00962
    Differs: `keras.optimizers.Lamb` applies the decay outside the trust ratio, and uses the ratio for biases and norms,
        too. Here the summed gradient of all replicas is clipped.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        weight_decay: float | None = 0.01,
        global_clipnorm: float | None = 1.0,
        name: str = "lamb",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay or None,
            global_clipnorm=global_clipnorm,
            name=name,
            **kwargs,
        )
        if self.weight_decay:
            self.exclude_from_weight_decay(var_names=list(NO_DECAY))

    def build(self, variables: list) -> None:
        super().build(variables)
        # by index, because the update gets TensorFlow variables, which have no path
        self._adapts = [variable.path.rsplit("/", 1)[-1] not in NO_DECAY for variable in variables]

    def _apply_weight_decay(self, variables: list) -> None:
        """Do nothing: the update applies the decay inside the trust ratio."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        rate, gradient = tf.cast(learning_rate, variable.dtype), tf.cast(gradient, variable.dtype)
        step = tf.cast(self.iterations + 1, variable.dtype)
        momentum, velocity = self._momentums[index], self._velocities[index]
        self.assign(momentum, self.beta_1 * momentum + (1 - self.beta_1) * gradient)
        self.assign(velocity, self.beta_2 * velocity + (1 - self.beta_2) * tf.square(gradient))
        corrected = momentum / (1 - tf.pow(tf.cast(self.beta_1, variable.dtype), step))
        spread = velocity / (1 - tf.pow(tf.cast(self.beta_2, variable.dtype), step))
        update = corrected / (tf.sqrt(spread) + self.epsilon)
        if self._adapts[index]:
            update += (self.weight_decay or 0.0) * tf.convert_to_tensor(variable)
            lengths = tf.norm(variable), tf.norm(update)
            both = (lengths[0] > 0) & (lengths[1] > 0)
            update *= tf.where(both, tf.math.divide_no_nan(*lengths), 1.0)
        self.assign_sub(variable, rate * update)
