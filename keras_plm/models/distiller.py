from typing import Any

import keras
from keras import ops

from keras_plm.training.distillation_losses import AttentionMaps, HiddenStates, SoftLabels, matched_layers

from .encoder import Encoder
from .hidden_states import encoder_states


class Distiller(keras.Model):
    """A student model that `fit` trains to imitate a teacher model (knowledge distillation).

    `loss = hard · task loss + soft · SoftLabels + hidden · HiddenStates + attention · AttentionMaps`. The last two are
    means over the student's blocks. Sample weights per row apply to all four losses. Sample weights per token or per
    output apply only to the first two; the last two use all tokens except padding.

    Args:
        student: a task model or a Pretrainer; it is trained in place.
        teacher: a model with the same class, tokenizer and labels; it is not changed. If `soft` is 0, any model with an
            encoder and the same tokenizer.
        task_loss: the loss that `compile` would take for the student alone; None if `hard` is 0.
        hard: weight of the task loss.
        soft: weight of the loss on the teacher's probabilities. For regression and multi-label models, this loss is the
            squared difference of the logits.
        hidden: weight of the loss on hidden states; if the widths differ, a learned projection is used.
        attention: weight of the loss on attention maps.
        temperature: temperature of the soft labels.
        layers: for each block of the student, the index of a block of the teacher, from 0; None spreads them evenly.

    Call args:
        inputs: the inputs of the student.

    Returns:
        dict of `outputs` (the student's outputs), `hidden` and `attention`.

    Raises:
        ValueError: the models differ in class, labels or tokenizer; no weight is above 0; or the teacher does not have
            a block in `layers`.

    Example:
        >>> from keras_plm.config import MINI, TINY
        >>> from keras_plm.tasks import Classifier
        >>> pupil, expert = (Classifier(c, ["a", "b"]) for c in (TINY, MINI))
        >>> distiller = Distiller(pupil, expert, hidden=1.0)
        >>> distiller.compile("adam")

    Source: Hinton et al. 2015, https://arxiv.org/abs/1503.02531; Jiao et al. 2020, §3.1,
        https://arxiv.org/abs/1909.10351
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        task_loss: Any = None,
        hard: float = 0.0,
        soft: float = 1.0,
        hidden: float = 0.0,
        attention: float = 0.0,
        temperature: float = 2.0,
        layers: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_alike(student, teacher, soft > 0)
        weights = {"hard": hard, "soft": soft, "hidden": hidden, "attention": attention}
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(f"{weights}: weights must be at least 0, and at least one must be above 0")
        if hard and task_loss is None:
            raise ValueError("hard is above 0, so task_loss is required: pass the loss of the task")
        self.parts = weights
        self.student = student
        self.tokenizer = student.tokenizer
        self.task_losses = task_loss
        # regression scores and independent labels are not a probability distribution
        numbers = getattr(student, "multi_label", False) or getattr(student, "labels", ()) is None
        self.soft_loss: Any = keras.losses.MeanSquaredError() if numbers else SoftLabels(temperature)
        expert = teacher if isinstance(teacher, Encoder) else teacher.encoder
        if not (hard or soft):  # no loss uses the layers after the blocks
            inside = {w.path for w in student.encoder.weights if not w.path.startswith(("pooler/", "final_norm/"))}
            for weight in student.weights:
                weight.trainable = weight.trainable and weight.path in inside

        # in a closure, so that Keras does not train or save the teacher
        def teach(inputs: Any) -> tuple[Any, Any]:
            seen = encoder_states(expert, inputs, attention > 0, training=False)
            return seen, teacher.from_states(seen, inputs) if soft else None

        self._teach = teach
        blocks = teacher.config.num_layers
        if hidden or attention:
            self.matched = list(layers or matched_layers(student.config.num_layers, blocks))
            if len(self.matched) != student.config.num_layers or not all(0 <= i < blocks for i in self.matched):
                raise ValueError(
                    f"layers={layers}; give a block of the teacher, 0 to {blocks - 1}, for each block of the student"
                )
        self.projection = None
        if hidden and student.config.hidden_dim != teacher.config.hidden_dim:
            self.projection = keras.layers.Dense(teacher.config.hidden_dim, use_bias=False, name="projection")
            self.projection.build((None, None, student.config.hidden_dim))
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        states = encoder_states(self.student.encoder, inputs, self.parts["attention"] > 0, training)
        outputs = self.student.from_states(states, inputs)
        return {"outputs": outputs, "hidden": states["hidden"], "attention": states["attention"]}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        states, wanted = self._teach(x)
        mask = ops.cast(x["padding_mask"], "float32")
        mask = mask * ops.cast(ops.size(mask), "float32") / ops.maximum(ops.sum(mask), 1.0)
        if sample_weight is not None and not isinstance(sample_weight, dict) and ops.ndim(sample_weight) == 1:
            mask = mask * ops.cast(sample_weight, "float32")[:, None]
        total = 0.0
        if self.parts["hard"]:
            total += self.parts["hard"] * _over_outputs(self.task_losses, y, y_pred["outputs"], sample_weight)
        if self.parts["soft"]:
            total += self.parts["soft"] * _over_outputs(self.soft_loss, wanted, y_pred["outputs"], sample_weight)
        if self.parts["hidden"]:
            pairs = zip(self.matched, y_pred["hidden"], strict=True)
            found = [HiddenStates()(states["hidden"][i], self._projected(h), mask) for i, h in pairs]
            total += self.parts["hidden"] * sum(found) / len(found)
        if self.parts["attention"]:
            pairs = zip(self.matched, y_pred["attention"], strict=True)
            found = [AttentionMaps()(states["attention"][i], a, mask) for i, a in pairs]
            total += self.parts["attention"] * sum(found) / len(found)
        return total

    def _projected(self, hidden: Any) -> Any:
        return hidden if self.projection is None else self.projection(hidden)


def _over_outputs(loss: Any, wanted: Any, found: Any, weights: Any) -> Any:
    """The loss of a model with one output, or the sum of the losses of all outputs."""
    if not isinstance(found, dict):
        return _one(loss, wanted, found, weights)
    several = isinstance(weights, dict)
    total = 0.0
    for name in found:
        own = loss[name] if isinstance(loss, dict) else loss
        total += _one(own, wanted[name], found[name], weights[name] if several else weights)
    return total


def _one(loss: Any, wanted: Any, found: Any, weights: Any) -> Any:
    return keras.losses.get(loss)(wanted, found, weights)


def _check_alike(student: Any, teacher: Any, same_task: bool) -> None:
    if same_task and type(student) is not type(teacher):
        raise ValueError(f"the student is a {type(student).__name__}, the teacher a {type(teacher).__name__}")
    for name in ("labels", "multi_label", "next_sentence"):
        if same_task and getattr(student, name, None) != getattr(teacher, name, None):
            raise ValueError(
                f"the student has {name}={getattr(student, name)}, the teacher has {getattr(teacher, name)}"
            )
    ours, theirs = student.tokenizer, teacher.tokenizer
    if ours is not None and theirs is not None and ours.vocabulary != theirs.vocabulary:
        raise ValueError("student and teacher have different vocabularies; they must have the same tokens")
