import dataclasses
import difflib
import importlib.util
import json
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Protocol, Self, Union, get_args, get_origin, get_type_hints

import keras
import tensorflow as tf
import tyro

from keras_plm.config import SIZES, ModelConfig
from keras_plm.models import check_free
from keras_plm.training import (
    AdamW,
    Checkpoint,
    HistoryLog,
    LinearWarmupDecay,
    Precision,
    Strategy,
    choose_precision,
    dtype_policy,
    is_chief,
    make_strategy,
    worker_name,
    write_whole,
)

from .data import recorded


def _named_size(words: list[str]) -> ModelConfig:
    name = words[0]
    if name in SIZES:
        return SIZES[name]
    if name.endswith(".json"):
        return ModelConfig.from_dict(json.loads(Path(name).read_text("utf-8")))
    raise ValueError(f"{name!r} is no size; choose one of {', '.join(SIZES)}, or a .json file")


# how the command line writes a ModelConfig: --config mini
NAMED_SIZE = tyro.constructors.PrimitiveConstructorSpec(
    nargs=1,
    metavar=f"{{{','.join(SIZES)},FILE.json}}",
    instance_from_str=_named_size,
    is_instance=lambda value: isinstance(value, ModelConfig),
    str_from_instance=lambda value: [next((n for n, s in SIZES.items() if s == value), "custom")],
)


class Coach(Protocol):
    """Another way to train a model than by its task's loss."""

    def examples(self, train: Any) -> Any:
        """The rows to train on, perhaps more than those of the recipe."""

    def wrap(self, model: Any, loss: Any) -> Any:
        """The Keras model that `fit` is called on in its place."""

    def to_json(self) -> str:
        """The record of the whole recipe."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The fields that every recipe has. A recipe is its settings, its command's flags and its record in one."""

    save_to: str  # folder for the trained model
    overwrite: bool = False  # replace that folder if it exists
    batch_size: int = 32  # rows of a batch, over all devices together
    learning_rate: float = 1e-4  # peak, after the warm-up
    warmup: float = 0.1  # fraction of the steps in which the learning rate rises
    weight_decay: float = 0.01  # of AdamW; biases and norms are left alone
    clip_norm: float = 1.0  # largest norm of the summed gradient; 0 for no clipping
    max_length: int = 128  # longest row in tokens; longer ones are truncated and counted
    seed: int = 0  # of the weights, the order of the data, masks and dropout
    precision: Precision = "auto"  # auto: mixed_bfloat16 where the device is fast at it
    strategy: Strategy = "auto"  # how to use several devices or machines
    tensorboard: str | None = None  # folder for a TensorBoard log
    fast_dev_run: bool = False  # a few steps on a few rows, nothing saved: does it all run?
    verbose: int = 1  # 0 silent, 1 progress bars, 2 a line an epoch
    # callbacks of Keras for `fit`, such as those of wandb and MLflow; they are no part of the record
    callbacks: tyro.conf.Suppress[Sequence[Any]] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        self.check_at_least_one("batch_size")
        if self.max_length < 5:
            raise ValueError(f"max_length={self.max_length}; a row needs 5 tokens: [CLS] a [SEP] b [SEP]")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup={self.warmup}; it is a fraction of the steps, in [0, 1)")
        if self.clip_norm < 0:
            raise ValueError(f"clip_norm={self.clip_norm}; it must be above 0, or 0 for no clipping")
        if self.tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
            raise ImportError('a TensorBoard log needs: pip install "keras-plm[tensorboard]"')
        if self.tensorboard is not None and Path(self.tensorboard).resolve().is_relative_to(
            Path(self.save_to).resolve()
        ):
            raise ValueError(
                f"tensorboard={self.tensorboard} lies inside save_to={self.save_to}; choose another folder"
            )
        for callback in self.callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise TypeError(f"callbacks holds {callback!r:.80}; give objects of keras.callbacks.Callback")

    def check_save_to(self) -> None:
        """Raise FileExistsError if the model could not be saved, before the work and not after it."""
        check_free(self.save_to, self.overwrite, is_folder=True)

    def check_at_least_one(self, *names: str) -> None:
        """Raise ValueError if one of these fields is below 1."""
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")

    def to_json(self) -> str:
        """The fields, for recipe.json."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "callbacks"]
        fields = {"recipe": type(self).__name__, **{name: recorded(getattr(self, name)) for name in names}}
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, path: str | Path, **changes: Any) -> Self:
        """The recipe of a `recipe.json`, such as the one in the folder of a trained model.

        Args:
            path: of the file.
            **changes: fields in place of the recorded ones; data that was in memory must be given anew.

        Raises:
            FileNotFoundError: no such file.
            ValueError: no record of such a recipe, an unknown field, or data in memory that is not given.

        Example:
            >>> Classify.from_json("saved_models/reviews/recipe.json", save_to="again").run()  # doctest: +SKIP
        """
        fields = read_record(cls, path, changes)
        try:
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None

    def schedule(self, steps: int) -> LinearWarmupDecay:
        """Warm-up and decay over so many steps."""
        return LinearWarmupDecay(self.learning_rate, int(self.warmup * steps), steps)

    def optimizer(self, steps: int) -> AdamW:
        """AdamW with this recipe's settings for a training of so many steps."""
        return AdamW(
            self.schedule(steps),
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm or None,
        )

    @contextmanager
    def session(self) -> Iterator[None]:
        """Strategy, dtype policy and seed in place; models are made and compiled inside.

        Raises:
            ValueError: a batch that cannot be shared out evenly, in which case rows would count differently.
        """
        strategy = make_strategy(self.strategy)
        if self.batch_size % strategy.num_replicas_in_sync:
            raise ValueError(
                f"batch_size={self.batch_size} cannot be shared by {strategy.num_replicas_in_sync} devices; "
                f"choose a multiple of {strategy.num_replicas_in_sync}"
            )
        with strategy.scope(), dtype_policy(self.policy):
            keras.utils.set_random_seed(self.seed)
            yield

    @property
    def policy(self) -> str:
        """The dtype policy of the training."""
        return choose_precision(self.precision)

    @property
    def training_folder(self) -> Path:
        """Where an unfinished training keeps its state; gone when the model is saved."""
        save_to = Path(self.save_to)
        return save_to.with_name(f"{save_to.name}.training")

    def checkpoint(self, record: str | None = None, rows: str = "") -> Checkpoint:
        """The checkpoint of this worker, after a check that the folder is of the same recipe and rows.

        Args:
            record: what tells recipes apart; None means this one's JSON.
            rows: a fingerprint of what it is trained on.

        Raises:
            ValueError: an unfinished training of other settings or other rows lies there.
        """
        folder, record = self.training_folder, record or self.to_json()
        if rows:
            record = json.dumps({**json.loads(record), "rows": rows}, indent=2, ensure_ascii=False) + "\n"
        found = folder / "recipe.json"
        if found.exists() and found.read_text("utf-8") != record:
            raise ValueError(
                f"{folder} holds an unfinished training with other settings or other rows; "
                f"give the same to go on with it, or delete the folder"
            )
        if not found.exists():
            write_whole(found, record)
        return Checkpoint(folder / f"{worker_name()}.weights.h5")

    def finish(self, checkpoint: Checkpoint) -> None:
        """Remove the state of a training whose model is saved: each worker its own, the last one the folder."""
        checkpoint.path.unlink(missing_ok=True)
        if not list(self.training_folder.glob("*.weights.h5")):
            shutil.rmtree(self.training_folder, ignore_errors=True)

    def all_callbacks(self, checkpoint: Checkpoint | None = None) -> list[keras.callbacks.Callback]:
        """Those of the user, checkpoint, history and TensorBoard, as far as they apply."""
        # raised, not stopped: a stopped training would go on to save what it ruined
        callbacks: list[keras.callbacks.Callback] = [keras.callbacks.TerminateOnNaN(raise_error=True)]
        if checkpoint is not None:
            # the history first: a row without a checkpoint is written again, a checkpoint without a row loses the score
            callbacks.append(HistoryLog(self.history_path))
            callbacks.append(checkpoint)
        if self.tensorboard is not None and is_chief():
            callbacks.append(TensorBoardLog(self.tensorboard))
        return [*callbacks, *self.callbacks]

    def say_resumed(self, done: int, steps: int) -> None:
        """Tell from where an interrupted training resumes.

        Args:
            done: batches that it has been trained on.
            steps: batches of the whole training.
        """
        if done and self.verbose:
            print(f"resumes after batch {done:,} of {steps:,}, from the checkpoint in {self.training_folder}")

    @property
    def history_path(self) -> Path:
        """The history of this worker: each decides by its own when a training ends, without a shared disk."""
        return self.training_folder / ("history.csv" if is_chief() else f"{worker_name()}.history.csv")

    def history(self) -> str:
        """The CSV of all epochs, those before an interruption included."""
        return self.history_path.read_text("utf-8") if self.history_path.exists() else ""


def read_record(kind: type, path: str | Path, changes: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that a `recipe.json` records; see `Recipe.from_json`."""
    try:
        record = json.loads(Path(path).read_text("utf-8"))
        name = record.pop("recipe")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is no record of a recipe: {error!r:.200}") from None
    if name != kind.__name__:
        raise ValueError(f"{path} is the record of a recipe {name}, not {kind.__name__}")
    return fields_of(kind, record | changes, path)


def fields_of(kind: type, record: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """The fields of a recipe as its constructor takes them, from JSON."""
    record = {name: value for name, value in record.items() if name != "recipe"}
    known = {field.name for field in dataclasses.fields(kind)} | {"student"}
    record.pop("rows", None)  # the fingerprint of an unfinished training
    for field in record:
        if field not in known:
            near = difflib.get_close_matches(field, known, 1)
            raise ValueError(f"{path}: unknown field {field!r}{f'; is it {near[0]}?' if near else ''}")
    fields, hints = dict(record), get_type_hints(kind)
    for field, value in fields.items():
        if isinstance(value, dict) and "in memory" in value:
            raise ValueError(f"{path}: {field!r} was a table in memory; give it anew: {field}=…")
        value = fields[field] = tuple(value) if isinstance(value, list) else value
        if field == "config" and isinstance(value, dict):
            fields[field] = ModelConfig.from_dict(value)
        elif not _fits(value, hints.get(field, Any)):
            raise ValueError(f"{path}: {field}={value!r:.60} is of another type than {hints[field]}")
    return fields


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of JSON is of the type of a field; of a type that JSON does not have it is."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, inner) for inner in get_args(hint))
    if hint is float:
        return type(value) in (int, float)
    if isinstance(value, tuple):
        return hint is Any or get_origin(hint) is tuple
    return type(value) is hint if hint in (int, bool, str, type(None)) else True


class TensorBoardLog(keras.callbacks.Callback):
    """Writes losses and metrics as TensorBoard scalars, at the optimizer's step.

    Args:
        folder: of the event files.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.writer = tf.summary.create_file_writer(folder)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write one point of every curve, at the optimizer's step."""
        step = int(self.model.optimizer.iterations.numpy())
        with self.writer.as_default():
            for name, value in (logs or {}).items():
                tf.summary.scalar(name, value, step=step)
        self.writer.flush()


def model_card(title: str, facts: dict[str, Any], scores: dict[str, Any]) -> str:
    """A model card in Markdown: what it is, how it was made, what it scored, with which versions."""
    command = "keras-plm " + " ".join(map(shlex.quote, sys.argv[1:]))
    started = Path(sys.argv[0])
    if started.name != "keras-plm" and started.parts[-2:] != ("keras_plm", "__main__.py"):
        command = "made from Python; recipe.json has the settings"
    names = ("keras-plm", "keras", "tensorflow", "tensorflow-text", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    lines = [f"# {title}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(str(value))} |" for name, value in facts.items()]
    lines += [f"| command | `{command}` |", f"| versions | {versions} |"]
    lines += [f"| machine | {platform.machine()}, Python {platform.python_version()} |", ""]
    lines += ["## Scores", "", "| measure | value |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in scores.items()]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
