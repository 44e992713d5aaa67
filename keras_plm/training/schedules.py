from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_plm")
class LinearWarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly to a peak and then falls linearly to zero.

    Args:
        peak: learning rate at the end of the warm-up.
        warmup_steps: number of warm-up steps.
        total_steps: the step at which the learning rate reaches zero.

    Raises:
        ValueError: the warm-up is not shorter than the training.

    Example:
        >>> schedule = LinearWarmupDecay(1.0, warmup_steps=2, total_steps=6)
        >>> [float(schedule(step)) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]

    Source: Devlin et al. 2019, appendix A.2, https://arxiv.org/abs/1810.04805
    Differs: the first step already has a learning rate above zero.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(f"warmup_steps={warmup_steps} must be at least 0 and below total_steps={total_steps}")
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(self.warmup_steps, 1)
        falling = (self.total_steps - step) / (self.total_steps - self.warmup_steps)
        return self.peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }
