from typing import Any

import keras
from keras import ops

from keras_plm.training.distillation_losses import AttentionMaps, HiddenStates, SoftLabels, matched_layers

from .encoder import Encoder
from .hidden_states import encoder_states


class Distiller(keras.Model):
    """A student that `fit` trains to do as its teacher does.

    `loss = hard · task loss + soft · SoftLabels + hidden · HiddenStates + attention · AttentionMaps`, the last two as
    means over the student's blocks. Sample weights of rows hold for every part; those of tokens and of outputs say what
    the first two look at, and the last two take all tokens but padding.

    Args:
        student: a task model or a Pretrainer; it is trained in place.
        teacher: a model of the same kind, tokenizer and labels; it is not changed. Where `soft` is 0, any model with an
            encoder and the same tokenizer.
        task_loss: what `compile` would take for the student alone; None where `hard` is 0.
        hard: weight of the task's own loss.
        soft: weight of the teacher's probabilities; for regression and several labels, squared difference of logits.
        hidden: weight of the hidden states, through a learned projection where widths differ.
        attention: weight of the attention maps.
        temperature: of the soft labels.
        layers: for each block of the student the block of the teacher, from 0; None spreads them evenly.

    Call args:
        inputs: those of the student.

    Returns:
        dict of `outputs`, the student's, `hidden` and `attention`.

    Raises:
        ValueError: models of different kinds, labels or tokenizers; no weight above 0; a block that the teacher has
            not.

    Example:
        >>> from keras_plm.config import MINI, TINY
        >>> from keras_plm.tasks import Classifier
        >>> pupil, expert = (Classifier(c, ["a", "b"]) for c in (TINY, MINI))
        >>> distiller = Distiller(pupil, expert, hidden=1.0)
        >>> distiller.compile("adam")

    Source: Hinton et al. 2015, https://arxiv.org/abs/1503.02531; Jiao et al. 2020, §3.1, https://arxiv.org/abs/1909.10351
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
            raise ValueError(f"{weights}: weights are 0 or above, and one of them at least is above 0")
        if hard and task_loss is None:
            raise ValueError("hard is above 0: which loss is the task's? Pass task_loss")
        self.parts = weights
        self.student = student
        self.tokenizer = student.tokenizer
        self.task_losses = task_loss
        # scores, and labels that are independent of each other, have no distribution
        numbers = getattr(student, "multi_label", False) or getattr(student, "labels", ()) is None
        self.soft_loss: Any = keras.losses.MeanSquaredError() if numbers else SoftLabels(temperature)
        expert = teacher if isinstance(teacher, Encoder) else teacher.encoder
        if not (hard or soft):  # nothing reads what stands on the blocks
            inside = {w.path for w in student.encoder.weights if not w.path.startswith(("pooler/", "final_norm/"))}
            for weight in student.weights:
                weight.trainable = weight.trainable and weight.path in inside

        # in a closure, so that the teacher is no part of what is trained or saved
        def teach(inputs: Any) -> tuple[Any, Any]:
            seen = encoder_states(expert, inputs, attention > 0, training=False)
            return seen, teacher.from_states(seen, inputs) if soft else None

        self._teach = teach
        blocks = teacher.config.num_layers
        if hidden or attention:
            self.matched = list(layers or matched_layers(student.config.num_layers, blocks))
            if len(self.matched) != student.config.num_layers or not all(0 <= i < blocks for i in self.matched):
                raise ValueError(
                    f"layers={layers}; give a block of the teacher, 0 to {blocks - 1}, for each of the student's"
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
    """The loss of a model of one output, or the sum over the outputs of several."""
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
                f"{name} of the student: {getattr(student, name)}, of the teacher: {getattr(teacher, name)}"
            )
    ours, theirs = student.tokenizer, teacher.tokenizer
    if ours is not None and theirs is not None and ours.vocabulary != theirs.vocabulary:
        raise ValueError("student and teacher have different vocabularies: they must see the same tokens")
