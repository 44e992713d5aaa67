"""A large teacher and a small student → a student that does nearly as well.

Input    a trained model, and what the student's recipe needs: raw text for `Pretrain`, else labeled examples
Output   what that recipe writes
Command  keras-plm distill --teacher saved_models/large recipe:classify --recipe.encoder saved_models/small …
Time     that of the recipe, and a pass of the teacher for each step
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import keras

from keras_plm.checkpoints import load
from keras_plm.models import Distiller

from .answer_questions import AnswerQuestions
from .classify import Classify
from .fine_tune import FineTune
from .pretrain import Pretrain
from .serialization import fields_of, read_record, recorded
from .tag import Tag
from .training_method import TrainingMethod


@dataclass(frozen=True, kw_only=True)
class Distill(TrainingMethod):
    """Knowledge distillation: run a recipe whose student also learns from a teacher.

    It learns from the teacher's probabilities, hidden states and attention maps.

    In two stages, as TinyBERT does it: `Pretrain` with the hidden states of a pre-trained teacher on raw text, then
    `Classify` from there with the probabilities of the fine-tuned one. The student must have the teacher's vocabulary
    (`Pretrain(vocabulary=…)`). `plm.shrink` makes a start that has it; `augmentations_per_text` is for few texts. A
    compressed copy of the teacher came nearest to it (2:4 sparsity, question answering) by `hard=0, soft=1, hidden=1`
    and a recipe with `dropout=0`.

    Raises:
        ValueError: a temperature that is not above 0; augmentations beside hard labels, or for a recipe without
            labeled texts; a teacher of another task, labels or vocabulary; more blocks in the student than in the
            teacher.

    Example:
        >>> small = Distill(  # doctest: +SKIP
        ...     teacher="saved_models/large",
        ...     recipe=Classify(encoder="saved_models/start", train="train.tsv", save_to="saved_models/small"),
        ... ).run()

    Source: Hinton et al. 2015, https://arxiv.org/abs/1503.02531; Jiao et al. 2020, https://arxiv.org/abs/1909.10351
    """

    teacher: str  # what `plm.load` takes
    recipe: Classify | Tag | AnswerQuestions | Pretrain  # of the student
    hard: float = 0.5  # weight of the labels, or of the losses of pre-training
    soft: float = 0.5  # weight of the teacher's probabilities; 0 for a teacher of another task
    hidden: float = 0.0  # weight of its hidden states
    attention: float = 0.0  # weight of its attention maps
    temperature: float = 2.0  # of the probabilities; higher ones make the small ones count more
    # altered copies of each text, which the teacher labels: for few texts; needs hard=0 and texts with labels
    augmentations_per_text: int = 0
    # for each block of the student the teacher's, from 0; None spreads them evenly
    layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature={self.temperature}; it must be above 0")
        more = self.augmentations_per_text
        if more < 0:
            raise ValueError(f"augmentations_per_text={more}; it is a number of copies, 0 for none")
        able = isinstance(self.recipe, FineTune) and self.recipe.task.can_augment
        if more and (self.hard or not able):
            raise ValueError(
                f"augmentations_per_text={more} needs hard=0, because an altered text may have another label, and a "
                f"recipe of texts with labels, such as Classify; hard={self.hard}, {type(self.recipe).__name__}"
            )

    def run(self) -> Any:
        """Train, save and return the student in float32."""
        return self.recipe.run(self)

    def examples(self, train: Any) -> Any:
        """The rows, and altered copies of their texts behind them."""
        more = self.augmentations_per_text
        return train.augmented(more, self.recipe.seed) if more else train

    def compile(self, model: Any, optimizer: Any, loss: Any, metrics: Any) -> keras.Model:
        """The `Distiller` of a student."""
        teacher = load(self.teacher)
        if self.recipe.max_length > teacher.config.max_sequence_length:
            longest = teacher.config.max_sequence_length
            raise ValueError(f"max_length={self.recipe.max_length}, but the teacher has {longest} positions")
        weights = {name: getattr(self, name) for name in ("hard", "soft", "hidden", "attention", "temperature")}
        layers = None if self.layers is None else list(self.layers)
        distiller = Distiller(model, teacher, loss, layers=layers, **weights)
        distiller.compile(optimizer, jit_compile=False)
        return distiller

    def record(self, recipe: Any) -> str:
        """The settings, those of the student's recipe among them."""
        return self.to_json()

    @classmethod
    def from_json(cls, path: str | Path, **changes: Any) -> Self:
        """The inverse of `to_json`; see `Recipe.from_json`."""
        fields = read_record(cls, path, {})
        try:
            student = fields.pop("student")
            kind = {kind.__name__: kind for kind in (AnswerQuestions, Classify, Pretrain, Tag)}[student["recipe"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is no record of a distillation: {error!r}") from None
        try:
            return cls(recipe=kind(**fields_of(kind, student, path)), **fields | changes)
        except TypeError as error:
            raise ValueError(f"{path}: {error}") from None

    def to_json(self) -> str:
        """The fields, those of the student's recipe among them, for recipe.json."""
        fields = {field.name: recorded(getattr(self, field.name)) for field in dataclasses.fields(self)}
        del fields["recipe"]
        record = {"recipe": "Distill", **fields, "student": json.loads(self.recipe.to_json())}
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"
