"""What the rest of the package asks of a task: recipes, evaluation, export, checkpoints and commands."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

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
    """Everything that is not the same for all tasks: one object for each, which `register` makes known.

    A new task defines the abstract methods; the others have a meaning that fits where one vector or one number is given
    for a text.

    Attributes:
        name: in the facts of an artifact and in messages.
        model: class of its Keras models.
        methods: class of the methods that take texts: Keras models and artifacts share them.
        examples: class of its rows.
        columns: of a table, where nobody says otherwise.
        labels_optional: a table without a column of labels can be read too.
        takes_pairs: a row of the model may be a pair of texts.
        can_augment: altered copies of an example's text are examples too, once a teacher has labeled them.
        takes_question: it answers a question about a text.
        predicts_scores: a model without labels predicts a number.
        per_token: the outputs have a value for each token; those of padding mean nothing.
        needs_offsets: its answers are places in a text, for which TFLite's tokenizer has no operators.
        setting_types: what an artifact must know beside its weights: the names of attributes and their types.
        shared_settings: those that a model and its artifact must have alike to be compared.
        sentence_encoder: it adds no weights to the encoder, and sentence-transformers has its folders.
        peft_type: what the PEFT library calls it; None for a task that it does not know.
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
        """Examples of files, or of a table in memory.

        Args:
            source: paths, globs, or a table in memory.
            columns: which column holds what.
            on_bad_row: "error", or "skip" to leave bad rows out.
            limit: at most this number.
            model: whose examples they are to be, where that decides what stands in a column.
        """

    @abstractmethod
    def build(self, encoder: Encoder, examples: Rows, *args: Any, **options: Any) -> Model:
        """A model on an encoder, with the labels of these examples; options are those of the task's recipe."""

    @abstractmethod
    def rows(self, model: Model, examples: Rows, max_length: int, *args: Any, **options: Any) -> TextRows:
        """Examples as tokens with their targets, which `fit` takes in batches."""

    @abstractmethod
    def loss(self, model: Model, *args: Any, **options: Any) -> Any:
        """What `compile` takes as the loss."""

    def metrics(self, model: Model) -> list[Any]:
        """What `fit` shows beside the loss."""
        return []

    def facts(self, model: Model) -> dict[str, Any]:
        """What a model card says of it."""
        return {}

    # from texts to answers

    def inputs(self, texts: list) -> list:
        """What the model itself is run on, for texts or (first, second) pairs of examples."""
        return texts

    @abstractmethod
    def evaluate(self, model: Methods, examples: Rows, batch_size: int = 32) -> Evaluation:
        """The answers to all examples and their scores; see `keras_plm.evaluate`."""

    def with_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> Methods | None:
        """A stand-in for a model whose outputs for all examples are known; None where it must be run again."""
        return None

    @abstractmethod
    def lines(
        self, model: Methods, first: list[str], second: list[str] | None, question: str | None = None
    ) -> Iterator[str]:
        """The answers to texts as the command line prints them, a line each."""

    def arrays(self, model: Methods, first: list[str], second: list[str] | None) -> np.ndarray:
        """The answers as numbers, float32, a row or a number for each text, for a `.npy` file.

        Raises:
            ValueError: the answers are not the same count of numbers for each text.
        """
        raise ValueError(f"the answers of {self.name.replace('_', ' ')} are no table of numbers")

    def example_command(self, folder: str) -> str:
        """A command that asks the model in that folder."""
        return f'keras-plm predict --model {folder} "a text"'

    # what an artifact takes, gives and knows

    def settings(self, model: Methods | Model) -> dict[str, Any]:
        """What the methods that take texts need, as JSON types."""
        return {name: getattr(model, name) for name in self.setting_types}

    def check_settings(self, settings: Settings) -> None:
        """Raise ValueError unless these are all the settings of this task, each of its type."""
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
        """The named outputs of an artifact, as tensors, from what the Keras model gives."""

    @abstractmethod
    def from_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> Any:
        """What the Keras model gives from the outputs of an artifact, but for a constant in the logits of a softmax."""

    def num_outputs(self, settings: Settings) -> int | None:
        """Numbers that a text gets; None where only a run of the artifact tells."""
        return None

    def agreement(self, settings: Settings, found: list[dict], wanted: list[dict]) -> float | None:
        """How often two sides decide alike, in [0, 1], from their outputs for each row; None for numbers."""
        return None

    def string_function(self, model: Model, serve: Serve, max_length: int, pairs: bool) -> tuple[Callable, list[str]]:
        """A function of strings, (B,) each, that tokenizes them, runs the model and says the answer; and its arguments.

        Args:
            model: the Keras model.
            serve: token ids → named outputs.
            max_length: longest row in tokens; longer texts lose their end.
            pairs: it takes pairs of texts.
        """
        return pooled_string_graph.pooled_function(model, serve, max_length, pairs)

    def example_strings(self, texts: Sequence[str], pairs: bool) -> dict[str, list[str]]:
        """Values for the arguments of that function, from some texts."""
        return {"first": list(texts), "second": list(reversed(texts))} if pairs else {"text": list(texts)}

    def wrong_strings(
        self, model: Model, given: dict[str, list[str]], found: dict[str, np.ndarray], max_length: int
    ) -> str | None:
        """How the answers of that function differ from the model's; None if they do not."""
        outputs = self.to_outputs(self.settings(model), pooled_string_graph.keras_outputs(model, given, max_length))
        return pooled_string_graph.difference({name: np.asarray(value) for name, value in outputs.items()}, found)

    def task_library_problem(self, settings: Settings, length: int | None) -> str | None:
        """Why MediaPipe Tasks and the TFLite Task Library cannot take an artifact; None if they can."""
        return "they know classifiers of one label a text, embedders and question answerers"

    # folders of Transformers

    def from_hugging_face(self, theirs: dict[str, Any], labels: list[str] | None) -> dict[str, Any]:
        """The keyword arguments of the Keras model, from their config.json and the names of their outputs."""
        return {} if labels is None else {"labels": labels}

    def to_hugging_face(self, model: Model) -> dict[str, Any]:
        """The fields of their config.json beside those of the encoder.

        Raises:
            ValueError: Transformers has no such model.
        """
        labels = getattr(model, "labels", None)
        if labels is None:
            return {}
        return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
