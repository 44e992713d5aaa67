"""Knowledge distillation: a large teacher and a small student → a student nearly as good as the teacher.

Input    a trained model, and the data of the student's recipe: raw text for `Pretrain`, otherwise labeled examples
Output   the output of the student's recipe
Command  keras-plm distill --teacher saved_models/large recipe:classify --recipe.start-from saved_models/small …
Time     the time of the student's recipe, plus one forward pass of the teacher for each step
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

    The student learns from the teacher's probabilities, hidden states and attention maps.

    Two-stage distillation as in TinyBERT: first `Pretrain` on raw text with the hidden states of a pre-trained teacher.
    Then `Classify`, starting from this student, with the probabilities of the fine-tuned teacher.

    The student must have the teacher's vocabulary (`Pretrain(vocabulary=…)`). `plm.shrink` makes a student that has it.
    Use `augmentations_per_text` if there are few texts. If the student is a compressed copy of the teacher, try
    `hard=0, soft=1, hidden=1` and a recipe with `dropout=0`. These settings gave the best student in our measurements
    (2:4 sparsity, question answering).

    Raises:
        ValueError: the temperature is not above 0; augmentations are combined with hard labels or with a recipe
            without labeled texts; the teacher has another task, other labels or another vocabulary; or the student has
            more blocks than the teacher.

    Example:
        >>> small = Distill(  # doctest: +SKIP
        ...     teacher="saved_models/large",
        ...     recipe=Classify(start_from="saved_models/start", train="train.tsv", save_to="saved_models/small"),
        ... ).run()

    Source: Hinton et al. 2015, https://arxiv.org/abs/1503.02531; Jiao et al. 2020, https://arxiv.org/abs/1909.10351
    """

    teacher: str  # folder or name of the teacher, as for `plm.load`
    recipe: Classify | Tag | AnswerQuestions | Pretrain  # the student's recipe
    hard: float = 0.5  # weight of the loss on the labels, or of the pre-training losses
    soft: float = 0.5  # weight of the teacher's probabilities; 0 if the teacher has another task
    hidden: float = 0.0  # weight of the teacher's hidden states
    attention: float = 0.0  # weight of the teacher's attention maps
    temperature: float = 2.0  # softmax temperature; a higher one gives small probabilities more weight
    # altered copies of each text, labeled by the teacher; for small data sets; needs hard=0 and labeled texts
    augmentations_per_text: int = 0
    # for each student block, the index (from 0) of the teacher block it learns from; None spaces them evenly
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
                f"recipe for labeled texts, such as Classify; here: hard={self.hard}, {type(self.recipe).__name__}"
            )

    def run(self) -> Any:
        """Train, save and return the student in float32."""
        return self.recipe.run(self)

    def examples(self, train: Any) -> Any:
        """The rows, followed by altered copies of their texts."""
        more = self.augmentations_per_text
        return train.augmented(more, self.recipe.seed) if more else train

    def compile(self, model: Any, optimizer: Any, loss: Any, metrics: Any, **options: Any) -> keras.Model:
        """The compiled `Distiller` of this student."""
        teacher = load(self.teacher)
        if self.recipe.max_length > teacher.config.max_sequence_length:
            longest = teacher.config.max_sequence_length
            raise ValueError(f"max_length={self.recipe.max_length}, but the teacher has {longest} positions")
        weights = {name: getattr(self, name) for name in ("hard", "soft", "hidden", "attention", "temperature")}
        layers = None if self.layers is None else list(self.layers)
        distiller = Distiller(model, teacher, loss, layers=layers, **weights)
        distiller.compile(optimizer, jit_compile=False, auto_scale_loss=False, **options)
        return distiller

    def record(self, recipe: Any) -> str:
        """The settings, including the student's recipe, as JSON."""
        return self.to_json()

    @classmethod
    def from_json(cls, path: str | Path, **changes: Any) -> Self:
        """The inverse of `to_json`; see `Recipe.from_json`."""
        fields = read_record(cls, path, {})
        try:
            student = fields.pop("student")
            kind = {kind.__name__: kind for kind in (AnswerQuestions, Classify, Pretrain, Tag)}[student["recipe"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not the record of a distillation: {error!r}") from None
        try:
            return cls(recipe=kind(**fields_of(kind, student, path)), **fields | changes)
        except TypeError as error:
            raise ValueError(f"{path}: {error}") from None

    def to_json(self) -> str:
        """The content of recipe.json: all fields, including the student's recipe."""
        fields = {field.name: recorded(getattr(self, field.name)) for field in dataclasses.fields(self)}
        del fields["recipe"]
        record = {"recipe": "Distill", **fields, "student": json.loads(self.recipe.to_json())}
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"
