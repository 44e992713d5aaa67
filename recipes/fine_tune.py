import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeVar

import numpy as np
import tensorflow as tf

from keras_plm.config import Adaptation, EncoderConfig
from keras_plm.evaluation import Evaluation
from keras_plm.layers import rematerialize
from keras_plm.models import Encoder, copy_head, copy_model, encoder_like
from keras_plm.tasks import Columns, Task, evaluate
from keras_plm.text import Examples, OnBadRow, TextRows
from keras_plm.training import AdamW, dtype_policy, fit_from, freeze, is_chief, layer_rates, unfreezing_steps

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
    """All data of a fine-tuning. It is read before the training starts, so that bad files are found first.

    Attributes:
        train: examples to train on.
        labeled: examples that define the set of labels. With `limit_train_examples`, `train` may not have every label.
        held_out: data sets to score, by name. "validation" is scored after each epoch, all of them at the end.
    """

    train: Any
    labeled: Any
    held_out: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class FineTune(Recipe, Generic[Model]):
    """The settings and the training loop that `Classify`, `Tag` and the other fine-tuning recipes share.

    If a training was interrupted, start it again with the same settings. It resumes from the last epoch.
    """

    task: ClassVar[Task]
    config_class: ClassVar[Any] = EncoderConfig  # of the models to start from

    start_from: str  # model to start from: a folder, "hf:" and a Hugging Face folder or repository, or "preset:…"
    train: Data  # files of training examples: paths or globs
    validation: Data = None  # files of examples that are scored after each epoch
    test: Data = None  # files of examples that are scored once, at the end
    validation_split: float | None = None  # fraction of the training examples to hold out instead of `validation`
    on_bad_row: OnBadRow = "error"  # "skip": leave out rows that cannot be used, and list them in the model's folder
    limit_train_examples: int | None = None  # train on the first examples only
    epochs: int = 3  # passes over the training examples
    learning_rate: float = 5e-5  # peak learning rate, after the warm-up
    dropout: float = 0.1  # dropout rate of the encoder and before the head; replaces the pre-training's rate
    # parameter-efficient fine-tuning: "head", "last:K" blocks, "lora:R" or "adapter:R"; a new head is always trained
    trainable: str = "all"
    layer_decay: float = 1.0  # layer-wise learning-rate decay: factor from each block to the block below it, in (0, 1]
    head_rate: float = 1.0  # learning rate of the head relative to the encoder
    gradual_unfreezing: bool = False  # train the head first, then unfreeze block by block in the first half
    gradient_accumulation_steps: int = 1  # batches per optimizer step, if a larger batch needs too much memory
    ema_momentum: float | None = None  # momentum of an exponential moving average of the weights, which is kept: 0.999
    load_best: bool = False  # keep the weights of the epoch with the best main score on `validation`
    patience: int | None = None  # early stopping after this number of epochs without a better score; keeps the best
    num_layers: int | None = None  # start with only this number of the encoder's blocks, evenly spaced
    # start with only this number of heads (the ones with the largest weights) and a width in proportion
    num_heads: int | None = None
    embedding_rank: int | None = None  # factorize the embedding matrix into two matrices of this rank before training
    prune: str | None = None  # sparsity: "0.8", a fraction of each kernel, gradually; "2:4", two of each four neighbors
    clusters: int | None = None  # weight clustering: number of different values in each kernel
    quantization_aware: bool = False  # quantization-aware training (fake quantization to int8), for static_int8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fine_tuning(self)

    def run(self, method: TrainingMethod = SUPERVISED) -> Model:
        """Fine-tune, save and return the model in float32.

        Args:
            method: supervised training on the task's loss, or another method; see `Distill`.
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
        """Run the training loop.

        Args:
            data: the examples that were read.
            save_model: False writes nothing to disk.
            method: see `run`.

        Returns:
            The model in float32, and its evaluation on each held-out data set.
        """
        if save_model:
            self.check_save_to()
        with self.session():
            # The model, and examples as tokens
            model = self.begin(data.labeled)
            data = self._without_unknown_labels(data, model)
            rows = self.rows(model, method.examples(data.train))
            tokens = {"train": rows.padded() if self.pads_all_rows else rows}
            tokens |= {name: self.rows(model, examples) for name, examples in data.held_out.items()}
            if self.verbose:
                print_summary({"train": data.train, **data.held_out}, tokens)

            # The trained weights and the optimizer
            rematerialize(model, self.rematerialize)
            trained, total = freeze(model, self.trainable)
            steps = tokens["train"].num_steps(self.batch_size)  # of an epoch
            self._check_executions(steps)
            optimizer = self.task_optimizer(model, steps)
            trainee = method.compile(
                model, optimizer, self.loss(model), self.metrics(model), steps_per_execution=self.steps_per_execution
            )

            # The checkpoint, if an earlier run was interrupted
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
            if done < steps * self.epochs and not ended:  # otherwise only the saving was interrupted
                fit_from(
                    trainee,
                    batches.skip,
                    done,
                    steps,
                    self.epochs,
                    callbacks=[*(one for one in (compress, validate) if one), *self.all_callbacks(state)],
                    shuffle=False,
                    verbose=self.verbose,
                )

            # The weights to keep
            if self.ema_momentum is not None:
                trainee.optimizer.finalize_variable_values(trainee.trainable_weights)
            if validate is not None:
                validate.restore_best()
            if compress is not None:
                compress.apply()
            with dtype_policy("float32"):
                model = copy_model(model)

        # Scores and the saved model
        self.finished(model, data.held_out)
        found = {name: self.evaluate(model, examples) for name, examples in data.held_out.items()}
        if save_model and is_chief():
            facts = {
                "train examples": len(data.train),
                "train texts truncated": tokens["train"].num_truncated,
                "trained weights": f"{trained:,} of {total:,} ({trained / total:.1%})",
            }
            save_fine_tuned(self, model, data, facts, found, state)
        state.finish()
        if self.verbose:
            print_result(found, self.save_to if save_model else None, self.next_command(str(self.save_to)))
        return model, found

    # Methods that a task's recipe may override

    @property
    def policy(self) -> str:
        """The dtype policy of the training. With fake quantization, "auto" is float32.

        The rounding errors of bfloat16 are half as large as the rounding errors of int8, but no artifact has them.
        """
        return "float32" if self.quantization_aware and self.precision == "auto" else super().policy

    @property
    def columns(self) -> Columns:
        """The names of the columns of a file."""
        return self.task.columns

    @property
    def needs_pooler(self) -> bool:
        """Whether the head reads the pooled first token."""
        return False

    def begin(self, examples: Any) -> Any:
        """The model at the beginning of the training, from `start_from`.

        Args:
            examples: the examples that define the set of labels.
        """
        return starting_model(self, examples)

    def start(self, pretrained: Any, adaptation: Adaptation, examples: Any) -> Any:
        """The task model with the pre-trained weights. The head is reused if the pre-trained model has the same task.

        Args:
            pretrained: the model to start from.
            adaptation: LoRA, adapters or fake quantization in the layers of the task model.
            examples: the examples that define the set of labels.
        """
        config = dataclasses.replace(
            pretrained.config,
            dropout=self.dropout,
            attention_dropout=self.dropout,
            has_pooler=self.needs_pooler,
            max_sequence_length=self.max_length,  # later positions would be untrained, but stored in every artifact
        )
        model = self.make(encoder_like(pretrained, config, adaptation), examples)
        if copy_head(pretrained, model) and self.verbose:
            print(f"the head of {self.start_from} is reused")
        return model

    def read(self, source: Any) -> Any:
        """Read examples from files or from a table in memory."""
        return self.task.read(source, self.columns, self.on_bad_row)

    def make(self, encoder: Encoder, examples: Any) -> Any:
        """The task model on an encoder, for these training examples."""
        return self.task.build(encoder, examples)

    def rows(self, model: Any, examples: Any) -> TextRows:
        """Examples as tokens with targets."""
        return self.task.rows(model, examples, self.max_length)

    def loss(self, model: Any) -> Any:
        """The loss for `compile`."""
        return self.task.loss(model)

    def metrics(self, model: Any) -> list[Any]:
        """The metrics that `fit` shows in addition to the loss."""
        return self.task.metrics(model)

    def rates(self, model: Any) -> dict[str, float]:
        """Factors of the learning rate, by the path of the weight."""
        return layer_rates(model, self.layer_decay, self.head_rate)

    def evaluate(self, model: Any, examples: Any) -> Evaluation:
        """Score the model on held-out examples."""
        return evaluate(model, examples, self.batch_size)

    def next_command(self, folder: str) -> str:
        """A command that uses the model in this folder."""
        return self.task.example_command(folder)

    def finished(self, model: Any, held_out: dict[str, Any]) -> None:
        """Change the trained model before it is scored and saved."""

    # Parts of the loop

    def read_all(self) -> TrainingData:
        """Read all examples and separate the held-out ones."""
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
        """The recipe of a `fast_dev_run`: one epoch on a few examples; nothing is saved."""
        short: dict[str, Any] = {"epochs": 1, "gradient_accumulation_steps": 1, "limit_train_examples": _FEW}
        return dataclasses.replace(self, **short, tensorboard=None, fast_dev_run=False)

    def _without_unknown_labels(self, data: TrainingData, model: Any) -> TrainingData:
        """If bad rows are skipped, also skip held-out examples whose label the model does not have."""
        if self.on_bad_row == "error":
            return data
        labels = getattr(model, "labels", None)
        return data._replace(held_out={name: examples.known(labels) for name, examples in data.held_out.items()})

    def _check_executions(self, steps: int) -> None:
        if steps % self.steps_per_execution:
            able = [n for n in range(1, min(steps, 50) + 1) if steps % n == 0]
            raise ValueError(
                f"steps_per_execution={self.steps_per_execution} does not divide the {steps} batches of an epoch; "
                f"choose one of {', '.join(map(str, able))}"
            )

    def updates(self, steps: int) -> int:
        """Optimizer steps of the whole training, with `steps` batches per epoch."""
        return steps * self.epochs // self.gradient_accumulation_steps

    def task_optimizer(self, model: Any, steps: int) -> AdamW:
        """AdamW for `steps` batches per epoch, with the learning rate of each block."""
        updates, batches = self.updates(steps), self.gradient_accumulation_steps
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        if batches > 1 and devices > 1:
            raise ValueError(f"gradient_accumulation_steps={batches} works on one device only, not on {devices}")
        if not updates:
            raise ValueError(
                f"gradient_accumulation_steps={batches} is more than the {steps * self.epochs} batches of the whole "
                "training, so no optimizer step would be made"
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
            loss_scaling=self.loss_scaling,
            momentum_dtype=self.momentum_dtype,
        )

    def _validation(self, model: Any, examples: Examples | None, state: TrainingState) -> Validation | None:
        if examples is None:
            return None
        return Validation(
            model,
            lambda: self.evaluate(model, examples),
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
