from typing import Any

import keras
import tensorflow as tf

from keras_plm.xla import compiled

# Norms and biases: weight decay would only pull them towards zero, where they do not belong.
NO_DECAY = ("bias", "gamma", "beta")


class _ClipsSummedGradient:
    """Before an optimizer: clip the gradient of the global batch, not each replica's share of it."""

    global_clipnorm: float | None

    def _clip_gradients(self, grads: list) -> list:
        # that of an embedding alone is sparse: a token that occurs twice has two rows, whose sum is what counts
        grads = [tf.convert_to_tensor(gradient) for gradient in grads]
        replica = tf.distribute.get_replica_context()
        if replica and replica.num_replicas_in_sync > 1:
            grads = replica.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        if self.global_clipnorm:
            return self._clip_together(grads)
        return super()._clip_gradients(grads)  # type: ignore[misc]

    def _clip_together(self, grads: list) -> list:
        return tf.clip_by_global_norm(grads, self.global_clipnorm)[0]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars  # they have been summed above


@compiled
def _adamw_kernel(handles: list, gradient: tf.Tensor, numbers: dict) -> None:
    """AdamW with clipping and weight decay, compiled: two dozen passes over memory become four.

    Args:
        handles: of a variable and its two moments: variables would lose the copy on this device under a strategy.
        gradient: of the variable's dtype.
        numbers: float32 scalars.
    """
    variable, momentum, velocity = (tf.raw_ops.ReadVariableOp(resource=h, dtype=gradient.dtype) for h in handles)
    n = {name: tf.cast(number, gradient.dtype) for name, number in numbers.items()}
    gradient *= n["shrink"]
    momentum = n["beta_1"] * momentum + (1 - n["beta_1"]) * gradient
    velocity = n["beta_2"] * velocity + (1 - n["beta_2"]) * gradient * gradient
    variable = n["keep"] * variable - n["rate"] * momentum / (tf.sqrt(velocity) + n["epsilon"])
    for handle, value in zip(handles, (variable, momentum, velocity), strict=True):
        tf.raw_ops.AssignVariableOp(resource=handle, value=value)


@keras.saving.register_keras_serializable("keras_plm")
class AdamW(_ClipsSummedGradient, keras.optimizers.AdamW):
    """Keras' AdamW with three differences.

    Weight decay leaves biases and norms alone; `global_clipnorm` acts on the summed gradient of all replicas, so that a
    training does not depend on their number; and clipping, decay and the update of a variable are one compiled kernel
    instead of two dozen passes over memory.

    Args:
        learning_rate: number or schedule.
        weight_decay: fraction of a weight taken off a step, times the learning rate; None or 0 for none.
        global_clipnorm: largest norm of all gradients together; None for no clipping.
        beta_1, beta_2, epsilon: as in the paper.
        rates: multipliers of the learning rate by the path of a weight, see `layer_rates`; 1 for those not named.
        first_steps: the step at which a weight begins to learn, by its path, see `unfreezing_steps`.

    Source: Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101
    """

    def __init__(
        self,
        learning_rate: Any = 1e-4,
        weight_decay: float | None = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        global_clipnorm: float | None = 1.0,
        rates: dict[str, float] | None = None,
        first_steps: dict[str, int] | None = None,
        name: str = "adamw",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=weight_decay or 0.0,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            global_clipnorm=global_clipnorm,
            name=name,
            **kwargs,
        )
        if self.amsgrad:
            raise ValueError("amsgrad=True is not supported; use keras.optimizers.AdamW")
        if self.weight_decay:
            self.exclude_from_weight_decay(var_names=list(NO_DECAY))
        self._shrink: Any = 1.0
        self.rates = rates or {}
        self.first_steps = first_steps or {}

    def build(self, variables: list) -> None:
        super().build(variables)
        # TensorFlow's variables, which the update gets, do not know their path
        self._settings = [(self.rates.get(v.path, 1.0), self.first_steps.get(v.path, 0)) for v in variables]

    def _get_current_learning_rate(self) -> Any:
        # Keras asks a schedule by batches; with accumulated gradients several of them make one step
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()

    def _rate(self, index: int, learning_rate: Any) -> tf.Tensor:
        """The learning rate of a variable."""
        rate, first_step = self._settings[index]
        rate *= tf.cast(learning_rate, tf.float32)
        if first_step:
            rate *= tf.cast(self.iterations >= first_step, tf.float32)
        return rate

    def _clip_together(self, grads: list) -> list:
        # the kernel multiplies: that saves a pass
        self._shrink = self.global_clipnorm / tf.maximum(tf.linalg.global_norm(grads), self.global_clipnorm)
        return grads

    def _apply_weight_decay(self, variables: list) -> None:
        """The kernel does it."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        rate, step = self._rate(index, learning_rate), tf.cast(self.iterations + 1, tf.float32)
        decay = self.weight_decay if self.weight_decay and self._use_weight_decay(variable) else 0.0
        bias_correction = tf.sqrt(1 - tf.pow(self.beta_2, step)) / (1 - tf.pow(self.beta_1, step))
        numbers = {
            "shrink": self._shrink,
            "keep": 1 - rate * decay,
            "rate": rate * bias_correction,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
        numbers = {name: tf.convert_to_tensor(number, tf.float32) for name, number in numbers.items()}
        moments = (self._momentums[index].value, self._velocities[index].value)
        _adamw_kernel([v.handle for v in (variable, *moments)], tf.cast(gradient, variable.dtype), numbers)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rates": dict(self.rates), "first_steps": dict(self.first_steps)}


@keras.saving.register_keras_serializable("keras_plm")
class Lamb(_ClipsSummedGradient, keras.optimizers.Lamb):
    """LAMB, for batches of thousands of rows, where AdamW wants a learning rate it cannot keep.

        r = m / (√v + ε) + λ w          w ← w - rate · (‖w‖ / ‖r‖) · r

    Biases and norms have neither weight decay λ nor the trust ratio ‖w‖ / ‖r‖, as in the authors' code.

    Args:
        learning_rate: number or schedule.
        weight_decay: λ; None or 0 for none.
        global_clipnorm: largest norm of all gradients together; None for no clipping.

    Source: You et al. 2020, algorithm 2, https://arxiv.org/abs/1904.00962
    Differs: from `keras.optimizers.Lamb`, which takes the decay off outside the trust ratio, and has the ratio for
        biases and norms too; the summed gradient of all replicas is clipped.
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
        # TensorFlow's variables, which the update gets, do not know their path
        self._adapts = [variable.path.rsplit("/", 1)[-1] not in NO_DECAY for variable in variables]

    def _apply_weight_decay(self, variables: list) -> None:
        """The update does it, inside the trust ratio."""

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
