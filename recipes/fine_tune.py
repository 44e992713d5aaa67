import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
import tensorflow as tf

from keras_plm.evaluation import Evaluation
from keras_plm.models import Encoder, copy_model
from keras_plm.tasks import Columns, Task, evaluate
from keras_plm.text import Examples, OnBadRow, TextRows
from keras_plm.training import AdamW, dtype_policy, freeze, is_chief, layer_rates, unfreezing_steps

from .checks import check_fine_tuning
from .console import print_result, print_summary
from .data_argument import Data
from .output_folder import save_fine_tuned
from .recipe import Recipe
from .splits import is_held_out
from .starting_model import compressor, starting_model
from .training_method import SUPERVISED, TrainingMethod
from .training_state import NOTHING_KEPT, TrainingState
from .validation import Validation, ended_early

Model = TypeVar("Model")
_FEW = 64  # examples of a `fast_dev_run`


class TrainingData(NamedTuple):
    """What a fine-tuning reads, all of it before the work, so that no error in a file comes after it.

    Attributes:
        train: examples to train on.
        labeled: those that the labels are taken from: the first ones of a file may lack one.
        held_out: examples to score, by name: "validation" after each epoch, all of them at the end.
    """

    train: Any
    labeled: Any
    held_out: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FineTune(Recipe, Generic[Model]):
    """The settings and the training loop of every fine-tuning; `Classify`, `Tag` and the others say what of.

    Started again with the same settings after an interruption, it resumes from the last epoch.
    """

    task: ClassVar[Task]

    encoder: str  # what to start from: a folder, "hf:" and a Hugging Face folder or repository, "preset:…"
    train: Data  # files: paths or globs
    validation: Data = None  # files, scored after each epoch
    test: Data = None  # files, scored once, at the end
    validation_split: float | None = None  # fraction of the training examples to hold out in place of `validation`
    on_bad_row: OnBadRow = "error"  # "skip": leave out rows that cannot be used, and list them in the card
    limit_train_examples: int | None = None  # use the first ones only
    epochs: int = 3  # passes over the training examples
    learning_rate: float = 5e-5  # peak, after the warm-up
    dropout: float = 0.1  # in the encoder and before the head, whatever the pre-training had
    # parameter-efficient fine-tuning: "head", "last:K" blocks, "lora:R" or "adapter:R"; the head always is trained
    trainable: str = "all"
    layer_decay: float = 1.0  # layer-wise learning-rate decay: from each block to the one below it, in (0, 1]
    head_rate: float = 1.0  # factor of the head's learning rate beside the encoder's
    gradual_unfreezing: bool = False  # the head first, then block by block, all in the first half of the training
    gradient_accumulation_steps: int = 1  # batches whose gradients make one step, where a larger batch has no room
    ema_momentum: float | None = None  # of an exponential moving average of the weights, e.g. 0.999, which is kept
    load_best: bool = False  # keep the weights of the epoch with the best first score of `validation`
    patience: int | None = None  # early stopping after this number of epochs that are no better; keeps the best
    num_layers: int | None = None  # begin with this number of the encoder's blocks, evenly spread
    num_heads: int | None = (
        None  # begin with this number of heads, those of the largest weights, and the same share of the width
    )
    embedding_rank: int | None = None  # begin with the embedding matrix as a product of two narrow ones
    prune: str | None = None  # sparsity: "0.8", a share of each kernel, step by step; "2:4", two of each four neighbors
    clusters: int | None = None  # weight clustering: different values that each kernel has
    quantization_aware: bool = False  # train with fake quantization to int8, for static_int8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fine_tuning(self)

    def run(self, method: TrainingMethod = SUPERVISED) -> Model:
        """Fine-tune, save and return the model in float32.

        Args:
            method: supervised training by the task's loss, or another one, see `Distill`.
        """
        if self.fast_dev_run:
            short = self.shortened()
            data = short.read_all()
            few = {name: examples.head(_FEW) for name, examples in data.held_out.items()}
            return short.train_on(data._replace(held_out=few), save_model=False, method=method)[0]
        self.check_save_to()  # before the files are read, which may take long
        return self.train_on(self.read_all(), method=method)[0]

    def train_on(
        self, data: TrainingData, save_model: bool = True, method: TrainingMethod = SUPERVISED
    ) -> tuple[Any, dict[str, Evaluation]]:
        """The training loop.

        Args:
            data: examples that have been read.
            save_model: False leaves nothing on disk.
            method: see `run`.

        Returns:
            The model in float32, and its evaluation on each of the held-out sets.
        """
        if save_model:
            self.check_save_to()
        with self.session():
            # The model, and examples as tokens
            model = starting_model(self, data.labeled)
            data = self._without_unknown_labels(data, model)
            tokens = {"train": self.rows(model, method.examples(data.train))}
            tokens |= {name: self.rows(model, examples) for name, examples in data.held_out.items()}
            if self.verbose:
                print_summary({"train": data.train, **data.held_out}, tokens)

            # What is trained, and how
            trained, total = freeze(model, self.trainable)
            steps = tokens["train"].num_steps(self.batch_size)  # of an epoch
            optimizer = self.task_optimizer(model, steps)
            trainee = method.compile(model, optimizer, self.loss(model), self.metrics(model))

            # Where it resumes
            state = TrainingState(self, method, _fingerprint(data)) if save_model else NOTHING_KEPT
            done = state.restore(trainee)
            if done and self.verbose:
                print(f"resumes after batch {done:,} of {steps * self.epochs:,}, from the checkpoint in {state.folder}")

            # The training
            compress = compressor(self, model, self.updates(steps))
            validate = self._validation(model, data.held_out.get("validation"), state)
            batches = tokens["train"].training_dataset(
                self.batch_size, self.epochs, self.seed, self.gradient_accumulation_steps
            )
            ended = self.patience is not None and ended_early(state.history_path, self.epochs, self.patience)
            if done < steps * self.epochs and not ended:  # or only the saving was interrupted
                trainee.fit(
                    batches.skip(done),
                    epochs=self.epochs,
                    initial_epoch=done // steps,
                    steps_per_epoch=steps,
                    callbacks=[*(one for one in (compress, validate) if one), *self.all_callbacks(state)],
                    shuffle=False,
                    verbose=self.verbose,
                )

            # The weights that are kept
            if self.ema_momentum is not None:
                trainee.optimizer.finalize_variable_values(trainee.trainable_weights)
            if validate is not None:
                validate.restore_best()
            if compress is not None:
                compress.apply()
            with dtype_policy("float32"):
                model = copy_model(model)

        # What came of it
        self.finished(model, data.held_out)
        found = {name: evaluate(model, examples, self.batch_size) for name, examples in data.held_out.items()}
        if save_model and is_chief():
            facts = {
                "train examples": len(data.train),
                "train texts truncated": tokens["train"].num_truncated,
                "trained weights": f"{trained:,} of {total:,} ({trained / total:.1%})",
            }
            save_fine_tuned(self, model, data, facts, found, state)
        state.finish()
        if self.verbose:
            print_result(model, found, self.save_to if save_model else None)
        return model, found

    # What a task's recipe may say otherwise

    @property
    def policy(self) -> str:
        """The dtype policy of the training: with fake quantization "auto" is float32.

        The rounding errors of bfloat16 are half as large as those of int8, and no artifact will have them.
        """
        return "float32" if self.quantization_aware and self.precision == "auto" else super().policy

    @property
    def columns(self) -> Columns:
        """Which column of a file holds what."""
        return self.task.columns

    @property
    def needs_pooler(self) -> bool:
        """Whether the head reads what a pooler makes of the first token."""
        return False

    def read(self, source: Any) -> Any:
        """The examples of files, or of a table in memory."""
        return self.task.read(source, self.columns, self.on_bad_row)

    def make(self, encoder: Encoder, examples: Any) -> Any:
        """The task model on an encoder, for these training examples."""
        return self.task.build(encoder, examples)

    def rows(self, model: Any, examples: Any) -> TextRows:
        """Examples as tokens with targets."""
        return self.task.rows(model, examples, self.max_length)

    def loss(self, model: Any) -> Any:
        """The loss that `compile` takes."""
        return self.task.loss(model)

    def metrics(self, model: Any) -> list[Any]:
        """What `fit` shows beside the loss."""
        return self.task.metrics(model)

    def rates(self, model: Any) -> dict[str, float]:
        """Multipliers of the learning rate by the path of a weight."""
        return layer_rates(model, self.layer_decay, self.head_rate)

    def finished(self, model: Any, held_out: dict[str, Any]) -> None:
        """Called with the trained model, before it is scored and saved."""

    # Parts of the loop

    def read_all(self) -> TrainingData:
        """All examples, those to hold out apart."""
        labeled = self._read(self.train)
        sources = {"validation": self.validation, "test": self.test}
        held_out = {name: self._read(source) for name, source in sources.items() if source is not None}
        train = labeled.head(self.limit_train_examples)
        if self.validation_split is not None:
            chosen = is_held_out(train, self.validation_split, self.seed)
            held_out["validation"] = train.take(np.flatnonzero(chosen).tolist())
            train = train.take(np.flatnonzero(~chosen).tolist())
        return TrainingData(train, labeled, held_out)

    def _read(self, source: Any) -> Examples:
        return source if isinstance(source, Examples) else self.read(source)

    def shortened(self) -> Self:
        """What `fast_dev_run` means: one epoch on a few examples, nothing saved."""
        short: dict[str, Any] = {"epochs": 1, "gradient_accumulation_steps": 1, "limit_train_examples": _FEW}
        return dataclasses.replace(self, **short, tensorboard=None, fast_dev_run=False)

    def _without_unknown_labels(self, data: TrainingData, model: Any) -> TrainingData:
        """Where bad rows are skipped, without the held-out ones that have another label than the model."""
        if self.on_bad_row == "error":
            return data
        labels = getattr(model, "labels", None)
        return data._replace(held_out={name: examples.known(labels) for name, examples in data.held_out.items()})

    def updates(self, steps: int) -> int:
        """Optimizer steps of the whole training, of `steps` batches an epoch."""
        return steps * self.epochs // self.gradient_accumulation_steps

    def task_optimizer(self, model: Any, steps: int) -> AdamW:
        """AdamW for `steps` batches an epoch, with the learning rates of the blocks."""
        updates, batches = self.updates(steps), self.gradient_accumulation_steps
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        if batches > 1 and devices > 1:
            raise ValueError(f"gradient_accumulation_steps={batches} works on one device only, not on {devices}")
        if not updates:
            raise ValueError(
                f"gradient_accumulation_steps={batches} of only {steps * self.epochs} batches in all: nothing would be "
                "learned"
            )
        return AdamW(
            self.schedule(updates),
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm or None,
            rates=self.rates(model),
            first_steps=unfreezing_steps(model, updates) if self.gradual_unfreezing else None,
            gradient_accumulation_steps=batches if batches > 1 else None,
            use_ema=self.ema_momentum is not None,
            ema_momentum=self.ema_momentum or 0.99,
        )

    def _validation(self, model: Any, examples: Examples | None, state: TrainingState) -> Validation | None:
        if examples is None:
            return None
        return Validation(
            model,
            lambda: evaluate(model, examples, self.batch_size),
            state.history_path,
            state.best_path if self.load_best or self.patience is not None else None,
            self.patience,
            self.ema_momentum is not None,
            verbose=self.verbose > 0,
        )


def _fingerprint(data: TrainingData) -> str:
    """A hash of all examples that a training depends on."""
    held_out = (f"{name} {examples.fingerprint()}" for name, examples in data.held_out.items())
    parts = [data.train.fingerprint(), *held_out]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
