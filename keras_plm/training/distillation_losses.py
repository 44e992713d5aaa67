"""Losses between a teacher and a student, for knowledge distillation."""

from typing import Any

import keras
from jaxtyping import Float, Shaped
from keras import ops

from keras_plm.tensor_types import Tensor


@keras.saving.register_keras_serializable("keras_plm")
class SoftLabels(keras.losses.Loss):
    """`T² · KL(softmax(teacher / T) ‖ softmax(student / T))`: the student learns all probabilities of the teacher.

    Args:
        temperature: T; a higher temperature gives small probabilities more weight.

    Call args:
        y_true: (…, C) logits of the teacher.
        y_pred: (…, C) logits of the student.
        sample_weight: (…) weights; 0 ignores a position.

    Source: Hinton et al. 2015, §2, https://arxiv.org/abs/1503.02531
    """

    def __init__(self, temperature: float = 2.0, name: str = "soft_labels", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.temperature = temperature

    def call(self, y_true: Float[Tensor, "... C"], y_pred: Float[Tensor, "... C"]) -> Float[Tensor, "..."]:
        teacher = ops.log_softmax(ops.cast(y_true, "float32") / self.temperature)
        student = ops.log_softmax(ops.cast(y_pred, "float32") / self.temperature)
        return self.temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"temperature": self.temperature}


@keras.saving.register_keras_serializable("keras_plm")
class HiddenStates(keras.losses.Loss):
    """Mean squared difference of hidden states, after each is normalized to mean 0 and variance 1.

    Call args:
        y_true: (B, T, D) hidden states of the teacher.
        y_pred: (B, T, D) hidden states of the student, projected to the teacher's width.
        sample_weight: (B, T), 0 for padding.

    Source: Sanh et al. 2019, §3, https://arxiv.org/abs/1910.01108; projection: Jiao et al. 2020, §3.1, eq. 8,
        https://arxiv.org/abs/1909.10351
    Differs: the states are normalized, because their scale differs much from layer to layer.
    """

    def __init__(self, name: str = "hidden_states", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Float[Tensor, "B T D"], y_pred: Float[Tensor, "B T D"]) -> Float[Tensor, "B T"]:
        return ops.mean(ops.square(_standardized(y_true) - _standardized(y_pred)), axis=-1)


@keras.saving.register_keras_serializable("keras_plm")
class AttentionMaps(keras.losses.Loss):
    """`KL(teacher ‖ student)` of the attention weights. They are averaged over heads, whose numbers may differ.

    Call args:
        y_true: (B, N, T, T) attention weights of the teacher.
        y_pred: (B, N', T, T) attention weights of the student.
        sample_weight: (B, T), 0 for padding.

    Source: Wang et al. 2020, §3.1, https://arxiv.org/abs/2002.10957
    """

    def __init__(self, name: str = "attention_maps", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Float[Tensor, "B N T T"], y_pred: Float[Tensor, "B heads T T"]) -> Float[Tensor, "B T"]:
        teacher, student = (ops.mean(ops.cast(maps, "float32"), axis=1) for maps in (y_true, y_pred))
        return ops.sum(teacher * (ops.log(teacher + 1e-9) - ops.log(student + 1e-9)), axis=-1)

    def __call__(
        self,
        y_true: Float[Tensor, "B N T T"],
        y_pred: Float[Tensor, "B heads T T"],
        sample_weight: Shaped[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, ""]:
        # before super().__call__, which requires equal shapes
        losses = self.call(y_true, y_pred)
        return _Mean(reduction=self.reduction, name="mean")(ops.zeros_like(losses), losses, sample_weight)


class _Mean(keras.losses.Loss):
    """The mean of computed losses with Keras' reduction, which also works on several replicas."""

    def call(self, y_true: Float[Tensor, "..."], y_pred: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return y_pred


def _standardized(hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
    hidden = ops.cast(hidden, "float32")
    hidden = hidden - ops.mean(hidden, axis=-1, keepdims=True)
    return hidden / ops.sqrt(ops.mean(ops.square(hidden), axis=-1, keepdims=True) + 1e-6)


def matched_layers(student_layers: int, teacher_layers: int) -> list[int]:
    """For each student block, the teacher block it learns from: evenly spaced, the last from the last.

    Raises:
        ValueError: the student has more blocks than the teacher.

    Example:
        >>> matched_layers(4, 6), matched_layers(3, 12)
        ([0, 2, 3, 5], [3, 7, 11])
    """
    if student_layers > teacher_layers:
        raise ValueError(f"a student of {student_layers} blocks cannot learn block by block from {teacher_layers}")
    return [(i + 1) * teacher_layers // student_layers - 1 for i in range(student_layers)]
