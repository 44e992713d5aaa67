from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from keras_plm.xla import compiled, rounded

from .loss_scale import INITIAL_SCALE, LossScale

MomentumDtype = Literal["float32", "bfloat16"]

# Weight decay would pull norms and biases toward zero, which is not useful.
NO_DECAY = ("bias", "gamma", "beta")


class ClipsSummedGradient:
    """A mixin for optimizers: clip the gradient of the global batch, not the gradient of each replica."""

    global_clipnorm: float | None
    loss_scaling = False

    def _clip_gradients(self, grads: list) -> list:
        # The gradient of an embedding is sparse. A token that occurs twice has two rows, which must be summed first.
        grads = [tf.convert_to_tensor(gradient) for gradient in grads]
        replica = tf.distribute.get_replica_context()
        if replica and replica.num_replicas_in_sync > 1:
            grads = replica.all_reduce(tf.distribute.ReduceOp.SUM, grads)
        if self.global_clipnorm or self.loss_scaling:
            return self._clip_together(grads)
        return super()._clip_gradients(grads)  # type: ignore[misc]

    def _clip_together(self, grads: list) -> list:
        return tf.clip_by_global_norm(grads, self.global_clipnorm)[0]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        return grads_and_vars  # already summed in _clip_gradients


@compiled
def _adamw_kernel(handles: list, gradient: tf.Tensor, numbers: dict, momentum_dtype: tf.DType) -> None:
    """A compiled kernel of AdamW with clipping and weight decay: it needs four memory passes instead of two dozen.

    Args:
        handles: resource handles of a variable and its two moments. Under a strategy, the variables themselves would
            not resolve to the copy on this device.
        gradient: the gradient, in the variable's dtype.
        numbers: float32 scalars. If `finite` is one of them and 0, nothing changes.
        momentum_dtype: the dtype of the first moment.
    """
    dtypes = (gradient.dtype, momentum_dtype, gradient.dtype)
    before = [tf.raw_ops.ReadVariableOp(resource=h, dtype=d) for h, d in zip(handles, dtypes, strict=True)]
    variable, momentum, velocity = before
    momentum = tf.cast(momentum, gradient.dtype)
    n = {name: tf.cast(number, gradient.dtype) for name, number in numbers.items()}
    gradient *= n["shrink"]
    momentum = n["beta_1"] * momentum + (1 - n["beta_1"]) * gradient
    velocity = n["beta_2"] * velocity + (1 - n["beta_2"]) * gradient * gradient
    variable = n["keep"] * variable - n["rate"] * momentum / (tf.sqrt(velocity) + n["epsilon"])
    after = (variable, rounded(momentum, momentum_dtype), velocity)
    for handle, value, old in zip(handles, after, before, strict=True):
        kept = tf.where(n["finite"] > 0, value, old) if "finite" in n else value
        tf.raw_ops.AssignVariableOp(resource=handle, value=kept)


@keras.saving.register_keras_serializable("keras_plm")
class AdamW(ClipsSummedGradient, keras.optimizers.AdamW):
    """Keras' AdamW with three differences.

    1. Biases and norms have no weight decay.
    2. `global_clipnorm` clips the summed gradient of all replicas, so the result does not depend on their number.
    3. Clipping, decay and update are one compiled kernel per variable, instead of two dozen memory passes.

    Args:
        learning_rate: number or schedule.
        weight_decay: in each step, a weight is reduced by this fraction times the learning rate; None or 0 for none.
        global_clipnorm: largest norm of all gradients together; None for no clipping.
        beta_1, beta_2, epsilon: as in the paper.
        rates: factors of the learning rate by the path of a weight, see `layer_rates`; the default is 1.
        first_steps: the step at which a weight starts to learn, by its path, see `unfreezing_steps`.
        loss_scaling: multiply the loss by a factor that adapts itself, and skip steps whose gradient overflows, as
            float16 needs. Compile the model with `auto_scale_loss=False` then.
        momentum_dtype: dtype of the first moment: "float32", or "bfloat16", which saves 2 bytes for each weight. The
            second moment is always float32: it changes by a thousandth in a step, which bfloat16 would round away.

    Raises:
        ValueError: another `momentum_dtype`, `amsgrad`, or `loss_scaling` with another way of clipping or scaling.

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
        loss_scaling: bool = False,
        momentum_dtype: MomentumDtype = "float32",
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
        if momentum_dtype not in get_args(MomentumDtype):
            raise ValueError(f"momentum_dtype={momentum_dtype!r}; choose float32 or bfloat16")
        self.momentum_dtype = momentum_dtype
        if loss_scaling and (self.clipnorm or self.clipvalue or self.loss_scale_factor):
            raise ValueError("with loss_scaling=True, clip with global_clipnorm only, and give no loss_scale_factor")
        self._shrink: Any = 1.0
        self._finite: Any = None
        self._loss_scale: LossScale | None = None
        self.loss_scaling = loss_scaling
        self.rates = rates or {}
        self.first_steps = first_steps or {}

    def build(self, variables: list) -> None:
        super().build(variables)
        # by index, because the update gets TensorFlow variables, which have no path
        self._settings = [(self.rates.get(v.path, 1.0), self.first_steps.get(v.path, 0)) for v in variables]
        if self.loss_scaling and self._loss_scale is None:
            self._loss_scale = LossScale(self)

    def add_variable_from_reference(
        self, reference_variable: Any, name: str | None = None, initializer: Any = "zeros"
    ) -> Any:
        if name != "momentum" or self.momentum_dtype == "float32":
            return super().add_variable_from_reference(reference_variable, name, initializer)
        path = reference_variable.path.replace("/", "_")
        return self.add_variable(
            reference_variable.shape, initializer, dtype=self.momentum_dtype, name=f"{path}_momentum"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "loss_scale_factor" and self.loss_scaling:  # by keras.optimizers.LossScaleOptimizer
            raise ValueError("AdamW(loss_scaling=True) scales the loss itself: compile with auto_scale_loss=False")
        super().__setattr__(name, value)

    def scale_loss(self, loss: Any) -> Any:
        """The loss, whose gradients `apply` gets; with `loss_scaling`, multiplied by the factor."""
        if not self.loss_scaling:
            return super().scale_loss(loss)
        return loss * (INITIAL_SCALE if self._loss_scale is None else self._loss_scale.factor)

    def _get_current_learning_rate(self) -> Any:
        # Keras calls a schedule with the number of batches; with gradient accumulation, steps are fewer
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
        # the kernel multiplies by this factor, which saves a memory pass
        norm, scale = tf.linalg.global_norm(grads), 1.0
        if self._loss_scale is not None:
            scale = tf.convert_to_tensor(self._loss_scale.factor)
            self._finite = tf.math.is_finite(norm)
            self._loss_scale.update(self._finite)
        self._shrink = 1 / scale
        if self.global_clipnorm:
            self._shrink *= self.global_clipnorm / tf.maximum(norm / scale, self.global_clipnorm)
        return grads

    def _apply_weight_decay(self, variables: list) -> None:
        """Do nothing: the compiled kernel applies the decay."""

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
        if self._finite is not None:
            numbers["finite"] = tf.cast(self._finite, tf.float32)
        numbers = {name: tf.convert_to_tensor(number, tf.float32) for name, number in numbers.items()}
        moments = (self._momentums[index].value, self._velocities[index].value)
        handles = [v.handle for v in (variable, *moments)]
        momentum_dtype = tf.as_dtype(self._momentums[index].dtype)
        _adamw_kernel(handles, tf.cast(gradient, variable.dtype), numbers, momentum_dtype)

    def get_config(self) -> dict[str, Any]:
        settings = {name: getattr(self, name) for name in ("loss_scaling", "momentum_dtype")}
        return super().get_config() | settings | {"rates": dict(self.rates), "first_steps": dict(self.first_steps)}
