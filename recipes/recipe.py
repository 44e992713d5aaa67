import dataclasses
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import keras
import tensorflow as tf
import tyro

from keras_plm.models import check_free
from keras_plm.training import (
    AdamW,
    LinearWarmupDecay,
    MomentumDtype,
    Precision,
    Strategy,
    choose_precision,
    dtype_policy,
    is_chief,
    make_strategy,
)

from .serialization import read_record, recorded
from .tensorboard import TensorBoardLog
from .training_state import TrainingState


def named_size(sizes: Mapping[str, Any]) -> Any:
    """A config on the command line: one of these names, such as `--config mini`, or a JSON file of its fields."""
    kind = type(next(iter(sizes.values())))

    def read(words: list[str]) -> Any:
        name = words[0]
        if name in sizes:
            return sizes[name]
        if name.endswith(".json"):
            return kind.from_dict(json.loads(Path(name).read_text("utf-8")))
        raise ValueError(f"{name!r} is not a size; choose one of {', '.join(sizes)}, or a .json file")

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(sizes)},FILE.json}}",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, kind),
        str_from_instance=lambda value: [next((name for name, size in sizes.items() if size == value), "custom")],
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The fields of every recipe. They are the settings, the flags of the command and the content of recipe.json."""

    save_to: str | None = None  # folder for the trained model
    overwrite: bool = False  # replace the folder of `save_to` if it exists
    batch_size: int = 32  # examples per batch, summed over all devices
    learning_rate: float = 1e-4  # peak learning rate, after the warm-up
    warmup: float = 0.1  # fraction of the steps in which the learning rate rises
    weight_decay: float = 0.01  # weight decay of AdamW; biases and normalization weights are not decayed
    clip_norm: float = 1.0  # gradient clipping: largest norm of the summed gradient; 0 for no clipping
    max_length: int = 128  # longest row in tokens; longer rows are truncated and counted
    seed: int = 0  # random seed of the weights, the order of the data, masks and dropout
    # auto: mixed_bfloat16 if it is fast on the device, else float32; mixed_float16 is for older GPUs, with loss scaling
    precision: Precision = "auto"
    momentum_dtype: MomentumDtype = "float32"  # dtype of AdamW's first moment; bfloat16 saves 2 bytes for each weight
    strategy: Strategy = "auto"  # how to use several devices or machines
    rematerialize: bool = False  # compute each block again in the backward pass: less memory, more time
    steps_per_execution: int = 1  # batches in each call of the compiled step; more of them save time on TPUs
    static_shapes: bool = False  # pad all rows to max_length, because a TPU compiles each width; always on a TPU
    tensorboard: str | None = None  # folder for a TensorBoard log
    fast_dev_run: bool = False  # test run: a few steps on a few examples; nothing is saved
    verbose: int = 1  # 0: silent, 1: progress bars, 2: one line per epoch
    # Keras callbacks for `fit`, such as the callbacks of wandb and MLflow; they are not recorded in recipe.json
    callbacks: tyro.conf.Suppress[Sequence[Any]] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        self.check_at_least_one("batch_size", "steps_per_execution")
        if self.max_length < 5:
            raise ValueError(f"max_length={self.max_length}; a row needs 5 tokens: [CLS] a [SEP] b [SEP]")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup={self.warmup}; it is a fraction of the steps, in [0, 1)")
        if self.clip_norm < 0:
            raise ValueError(f"clip_norm={self.clip_norm}; it must be above 0, or 0 for no clipping")
        if self.tensorboard is not None and importlib.util.find_spec("tensorboard") is None:
            raise ImportError('a TensorBoard log needs: pip install "keras-plm[tensorboard]"')
        folder = None if self.save_to is None else Path(self.save_to).resolve()
        if self.tensorboard is not None and folder and Path(self.tensorboard).resolve().is_relative_to(folder):
            raise ValueError(
                f"tensorboard={self.tensorboard} lies inside save_to={self.save_to}; choose another folder"
            )
        for callback in self.callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise TypeError(f"callbacks holds {callback!r:.80}; give objects of keras.callbacks.Callback")

    def check_save_to(self) -> None:
        """Raise ValueError or FileExistsError if the model cannot be saved; called before the training starts."""
        check_free(self.model_folder, self.overwrite, is_folder=True)

    @property
    def model_folder(self) -> str:
        """The folder for the trained model.

        Raises:
            ValueError: `save_to` is None.
        """
        if self.save_to is None:
            raise ValueError("save_to is missing: give the folder for the trained model (--save-to)")
        return self.save_to

    def check_at_least_one(self, *names: str) -> None:
        """Raise ValueError if any of these fields is below 1."""
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")

    def to_json(self) -> str:
        """The content of recipe.json: all fields except `callbacks`."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "callbacks"]
        fields = {"recipe": type(self).__name__, **{name: recorded(getattr(self, name)) for name in names}}
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, path: str | Path, **changes: Any) -> Self:
        """Read a recipe from a `recipe.json`, such as the one in the folder of a trained model.

        Args:
            path: the file.
            **changes: values that replace recorded fields. Data that was in memory must be given again.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not the record of such a recipe, a field is unknown, or data that was in memory is
                not given.

        Example:
            >>> Classify.from_json("saved_models/reviews/recipe.json", save_to="again").run()  # doctest: +SKIP
        """
        fields = read_record(cls, path, changes)
        try:
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None

    def schedule(self, steps: int) -> LinearWarmupDecay:
        """Linear warm-up and decay over `steps` steps."""
        return LinearWarmupDecay(self.learning_rate, int(self.warmup * steps), steps)

    def optimizer(self, steps: int) -> AdamW:
        """AdamW with the settings of this recipe, for a training of `steps` steps."""
        return AdamW(
            self.schedule(steps),
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm or None,
            loss_scaling=self.loss_scaling,
            momentum_dtype=self.momentum_dtype,
            **self.accumulation(),
        )

    def accumulation(self) -> dict[str, Any]:
        """The argument of the optimizer for gradient accumulation, if the recipe has it."""
        return {}

    @contextmanager
    def session(self) -> Iterator[None]:
        """A context with the strategy, dtype policy and seed set. Make and compile models inside it.

        Raises:
            ValueError: the devices cannot share a batch evenly; rows would then have different weights in the loss.
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
    def pads_all_rows(self) -> bool:
        """Whether all rows have `max_length` tokens. Call it inside `session`."""
        return self.static_shapes or isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)

    @property
    def policy(self) -> str:
        """The dtype policy of the training."""
        return choose_precision(self.precision)

    @property
    def loss_scaling(self) -> bool:
        """Whether the loss is scaled: float16 needs it."""
        return self.policy == "mixed_float16"

    def guards(self) -> list[keras.callbacks.Callback]:
        """Callbacks that stop a training whose loss is no number."""
        # raise an error instead of stopping: the model of a stopped training would still be saved
        return [keras.callbacks.TerminateOnNaN(raise_error=True)]

    def all_callbacks(self, state: TrainingState) -> list[keras.callbacks.Callback]:
        """The callbacks that save the training state, the TensorBoard log if wanted, and the user's callbacks."""
        callbacks = [*self.guards(), *state.callbacks()]
        if self.tensorboard is not None and is_chief():
            callbacks.append(TensorBoardLog(self.tensorboard))
        return [*callbacks, *self.callbacks]
