"""The interface of a task for recipes, evaluation, export, checkpoints and commands."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import tensorflow as tf

from keras_plm.evaluation import Evaluation
from keras_plm.models import Encoder
from keras_plm.text import Examples, OnBadRow, TextRows

from . import pooled_string_graph
from .columns import Columns
from .text_model import TextModel

Methods = TypeVar("Methods", bound=TextModel)
Model = TypeVar("Model", bound=TextModel)
Rows = TypeVar("Rows", bound=Examples)

Settings = Mapping[str, Any]
Serve = Callable[..., dict[str, Any]]


class Task(ABC, Generic[Methods, Model, Rows]):
    """Everything that differs between tasks. Each task has one object, which `register` adds to the registry.

    A new task defines the abstract methods. The other methods have defaults for tasks with one vector or one number
    per text.

    Attributes:
        name: name of the task in artifacts and messages.
        model: class of its Keras models.
        methods: class of its text-level methods, which Keras models and artifacts share.
        examples: class of its examples.
        columns: default names of the columns of a table.
        labels_optional: whether a table without a label column can be read.
        takes_pairs: whether an input may be a pair of texts.
        can_augment: whether altered copies of a text can be used as examples, with labels from a teacher.
        takes_question: whether the task answers a question about a text.
        predicts_scores: whether a model without labels predicts a number.
        per_token: whether the outputs have a value for each token; values at padding are to be ignored.
        generates: whether its models generate text token by token, with caches.
        needs_offsets: whether its answers are positions in a text; TFLite's tokenizer operators do not support this.
        setting_types: settings that an artifact needs in addition to its weights: names of attributes, and their types.
        shared_settings: settings that must be equal in a model and its artifact, so that they can be compared.
        sentence_encoder: whether the task adds no weights to the encoder and has a format in sentence-transformers.
        peft_type: name of the task in the PEFT library; None if PEFT does not have it.
    """

    name: ClassVar[str]
    model: ClassVar[Any]
    methods: ClassVar[Any]
    examples: ClassVar[Any]
    columns: ClassVar[Columns] = Columns()
    labels_optional: ClassVar[bool] = False
    takes_pairs: ClassVar[bool] = False
    can_augment: ClassVar[bool] = False
    takes_question: ClassVar[bool] = False
    predicts_scores: ClassVar[bool] = False
    per_token: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    needs_offsets: ClassVar[bool] = False
    setting_types: ClassVar[Settings] = {}
    shared_settings: ClassVar[tuple[str, ...]] = ()
    sentence_encoder: ClassVar[bool] = False
    peft_type: ClassVar[str | None] = None

    # from a file to a trained model

    @abstractmethod
    def read(
        self,
        source: Any,
        columns: Columns,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        model: Methods | None = None,
    ) -> Rows:
        """Read examples from files or from a table in memory.

        Args:
            source: paths, globs, or a table in memory.
            columns: names of the columns.
            on_bad_row: "error", or "skip" to leave bad rows out.
            limit: maximum number of examples.
            model: the model for which the examples are read; it may determine what a column contains.
        """

    @abstractmethod
    def build(self, encoder: Encoder, examples: Rows, *args: Any, **options: Any) -> Model:
        """Make a model from an encoder, with the labels of these examples. The task's recipe passes the options."""

    @abstractmethod
    def rows(self, model: Model, examples: Rows, max_length: int, *args: Any, **options: Any) -> TextRows:
        """Examples as tokens with their targets, for `fit`."""

    @abstractmethod
    def loss(self, model: Model, *args: Any, **options: Any) -> Any:
        """The loss for `compile`."""

    def metrics(self, model: Model) -> list[Any]:
        """The metrics that `fit` shows in addition to the loss."""
        return []

    def facts(self, model: Model) -> dict[str, Any]:
        """Facts about the model for its card."""
        return {}

    def recorded_columns(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a training, as fields of `Columns`, from the fields of its recipe.json."""
        found = {name: record.get(f"{name}_column") for name in ("text", "second", "label", "tag")}
        return {name: column for name, column in found.items() if column is not None}

    # from texts to answers

    def inputs(self, texts: list) -> list:
        """The inputs of the model for the texts, or (first, second) pairs, of examples."""
        return texts

    @abstractmethod
    def evaluate(self, model: Methods, examples: Rows, batch_size: int = 32) -> Evaluation:
        """Run the model on all examples and score its answers; see `keras_plm.evaluate`."""

    def with_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> Methods | None:
        """A substitute for a model that returns these known outputs; None if the model must be run again."""
        return None

    @abstractmethod
    def lines(
        self, model: Methods, first: list[str], second: list[str] | None, question: str | None = None
    ) -> Iterator[str]:
        """The answers to texts, as lines for the command line."""

    def arrays(self, model: Methods, first: list[str], second: list[str] | None) -> np.ndarray:
        """The answers as a float32 array for a `.npy` file, with a row or a number for each text.

        Raises:
            ValueError: the answers are not an array with the same count of numbers for each text.
        """
        raise ValueError(f"the answers of {self.name.replace('_', ' ')} are not a table of numbers")

    def example_command(self, folder: str) -> str:
        """A command that runs the model in `folder` on a text."""
        return f'keras-plm predict --model {folder} "a text"'

    # inputs, outputs and settings of an artifact

    def settings(self, model: Methods | Model) -> dict[str, Any]:
        """The settings that the text-level methods need, as JSON types."""
        return {name: getattr(model, name) for name in self.setting_types}

    def check_settings(self, settings: Settings) -> None:
        """Raise ValueError unless these are exactly the settings of this task, with the right types."""
        if set(settings) != set(self.setting_types):
            names = sorted(map(str, settings))
            raise ValueError(f"the settings of {self.name} are {sorted(self.setting_types)}, not {names}")
        for name, kind in self.setting_types.items():
            if not isinstance(settings[name], kind):
                raise ValueError(f"{name} is {settings[name]!r:.60}, a {type(settings[name]).__name__}")
        labels = settings.get("labels")
        if labels is not None and not (labels and all(isinstance(label, str) for label in labels)):
            raise ValueError(f"labels is {labels!r:.60}; it is a list of names")

    @abstractmethod
    def output_names(self, settings: Settings) -> list[str]:
        """The names of an artifact's outputs."""

    @abstractmethod
    def to_outputs(self, settings: Settings, outputs: Any) -> dict[str, Any]:
        """Convert the outputs of the Keras model to the named outputs of an artifact, as tensors."""

    @abstractmethod
    def from_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> Any:
        """Convert the outputs of an artifact to the Keras model's outputs (softmax logits up to a constant)."""

    def num_outputs(self, settings: Settings) -> int | None:
        """Number of outputs per text; None if it is known only after a run of the artifact."""
        return None

    def agreement(self, settings: Settings, found: list[dict], wanted: list[dict]) -> float | None:
        """The fraction of equal decisions, in [0, 1], from the outputs of two models per row; None for numbers."""
        return None

    def string_function(self, model: Model, serve: Serve, max_length: int, pairs: bool) -> tuple[Callable, list[str]]:
        """A function that tokenizes strings, (B,) each, runs the model and returns answers; and its argument names.

        Args:
            model: the Keras model.
            serve: token ids → named outputs.
            max_length: longest row in tokens; longer texts are truncated.
            pairs: whether the function takes pairs of texts.
        """
        return pooled_string_graph.pooled_function(model, serve, max_length, pairs)

    def argument_dtypes(self) -> dict[str, tf.DType]:
        """The dtypes of the arguments of `string_function` that are not strings."""
        return {}

    def example_strings(self, texts: Sequence[str], pairs: bool) -> dict[str, list]:
        """Example values for the arguments of `string_function`, made from some texts."""
        return {"first": list(texts), "second": list(reversed(texts))} if pairs else {"text": list(texts)}

    def wrong_strings(
        self, model: Model, given: dict[str, list], found: dict[str, np.ndarray], max_length: int
    ) -> str | None:
        """How the answers of `string_function` differ from the model's answers; None if they do not."""
        outputs = self.to_outputs(self.settings(model), pooled_string_graph.keras_outputs(model, given, max_length))
        return pooled_string_graph.difference({name: np.asarray(value) for name, value in outputs.items()}, found)

    def task_library_problem(self, settings: Settings, length: int | None) -> str | None:
        """Why MediaPipe Tasks and the TFLite Task Library do not support an artifact; None if they do."""
        return "they support only single-label classifiers, embedders and question answerers"

    # folders of Transformers

    def from_hugging_face(self, theirs: dict[str, Any], labels: list[str] | None) -> dict[str, Any]:
        """The keyword arguments of the Keras model, from Transformers' config.json and its label names."""
        return {} if labels is None else {"labels": labels}

    def to_hugging_face(self, model: Model) -> dict[str, Any]:
        """The fields of Transformers' config.json that the encoder does not define.

        Raises:
            ValueError: Transformers has no such model.
        """
        labels = getattr(model, "labels", None)
        if labels is None:
            return {}
        return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
