import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, Self

import tensorflow as tf

from keras_plm.checkpoints import load
from keras_plm.compression.pruning import measured_sparsity
from keras_plm.config import ModelConfig
from keras_plm.evaluation import Evaluation, evaluate
from keras_plm.models import Encoder, copy_model, encoder_like, save
from keras_plm.text import Examples, TextRows
from keras_plm.training import (
    AdamW,
    dtype_policy,
    freeze,
    is_chief,
    layer_rates,
    parse_trainable,
    unfreezing_steps,
    worker_name,
)

from .compressed_training import CompressedTraining
from .recipe import Coach, model_card
from .validation import Validation, ended_early

Files = str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FineTune(CompressedTraining):
    """The fields and the course of every fine-tuning; `Classify`, `Tag`, `Answer` and `Embed` say what of.

    Started again with the same settings after an interruption, it goes on from the last epoch.
    """

    encoder: str  # what `plm.load` takes: a folder, "hf:" and a Hugging Face folder or repository, "preset:…"
    train: Files  # paths or globs
    validation: Files | None = None  # scored after each epoch
    test: Files | None = None  # scored once, at the end
    trainable: str = "all"  # "all", "head", "last:K" blocks, "lora:R" or "adapter:R"; the head always is
    dropout: float = 0.1  # in the encoder and before the head, whatever the pre-training had
    epochs: int = 3  # passes over the training rows
    learning_rate: float = 5e-5  # peak, after the warm-up
    layer_decay: float = 1.0  # each block learns this much slower than the one above it
    head_rate: float = 1.0  # the head learns this much faster than the encoder
    gradual_unfreezing: bool = False  # the head first, then block by block, all in the first half of the training
    accumulate: int = 1  # batches whose gradients make one step, where a larger batch has no room
    average: float | None = None  # momentum of averaged weights, e.g. 0.999, which are the ones that are kept
    keep: Literal["last", "best"] = "last"  # the weights of the last epoch, or of the best by `validation`
    patience: int | None = None  # end after so many epochs that are no better, and keep the best
    limit_train_rows: int | None = None  # use the first so many rows only

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_trainable(self.trainable)
        self.check_at_least_one("epochs", "accumulate")
        for name in ("limit_train_rows", "patience"):
            if getattr(self, name) is not None:
                self.check_at_least_one(name)
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay={self.layer_decay}; it is a factor in (0, 1]")
        if self.head_rate <= 0:
            raise ValueError(f"head_rate={self.head_rate}; it must be above 0")
        if self.average is not None and not 0 < self.average < 1:
            raise ValueError(f"average={self.average}; it is a momentum in (0, 1), such as 0.999")
        if (self.keep == "best" or self.patience is not None) and self.validation is None:
            raise ValueError("to keep the best epoch, or to end early, `validation` is needed")
        if self.prune is not None and (self.keep == "best" or self.patience is not None):
            raise ValueError("prune keeps the last epoch: in an earlier one not all the zeros are there")
        self.check_trained_kernels(self.trainable)

    @abstractmethod
    def read(self, patterns: Files) -> Examples:
        """The rows of files."""

    @abstractmethod
    def make(self, encoder: Encoder, examples: Examples) -> Any:
        """The task model on an encoder, for these training rows."""

    @abstractmethod
    def rows(self, model: Any, examples: Examples) -> TextRows:
        """Training rows as tokens with targets."""

    @abstractmethod
    def loss(self, model: Any) -> Any:
        """The loss that `compile` takes."""

    def metrics(self, model: Any) -> list[Any]:
        """What `fit` shows beside the loss of the training rows."""
        return []

    @abstractmethod
    def facts(self, model: Any) -> dict[str, Any]:
        """What the model card says of this task."""

    def shape(self, config: ModelConfig) -> ModelConfig:
        """The config of the model, from that of the pre-trained one."""
        kind, rank = parse_trainable(self.trainable)
        if kind == "adapter" and config.adapter_dim not in (0, rank):
            raise ValueError(f"trainable={self.trainable!r}, but the encoder has adapters of {config.adapter_dim}")
        return dataclasses.replace(
            config,
            dropout=self.dropout,
            attention_dropout=self.dropout,
            has_pooler=False,
            max_sequence_length=self.max_length,  # later positions would go untrained, and into every artefact
            lora_rank=rank if kind == "lora" else 0,
            lora_alpha=2.0 * rank if kind == "lora" else config.lora_alpha,
            adapter_dim=rank if kind == "adapter" else config.adapter_dim,
            quantization_aware=self.quantization_aware,
        )

    def run(self, coach: Coach | None = None) -> Any:
        """Fine-tune, save and return the model in float32.

        Args:
            coach: trains the model in another way than by its task's loss, see `Distill`.
        """
        if self.fast_dev_run:
            short = self.shortened()
            train, every, held_out = short.read_all(short.limit_train_rows)
            held_out = {name: examples.head(short.limit_train_rows) for name, examples in held_out.items()}
            return short.train_on(train, every, held_out, save_model=False, coach=coach)[0]
        return self.train_on(*self.read_all(self.limit_train_rows), coach=coach)[0]

    def shortened(self) -> Self:
        """What `fast_dev_run` means: one epoch on a few rows."""
        short: dict[str, Any] = {"epochs": 1, "accumulate": 1, "limit_train_rows": 64, "overwrite": True}
        return dataclasses.replace(self, **short, tensorboard=None, fast_dev_run=False)

    def read_all(self, limit: int | None = None) -> tuple[Examples, Examples, dict[str, Examples]]:
        """The training rows, those whose labels count (all of them), and the held-out rows by name.

        Everything is read before the work, so that no error in a file comes after it.
        """
        every = self.read(self.train)
        files = {"validation": self.validation, "test": self.test}
        held_out = {name: self.read(patterns) for name, patterns in files.items() if patterns is not None}
        return every.head(limit), every, held_out

    def train_on(
        self,
        train: Examples,
        every: Examples,
        held_out: dict[str, Examples],
        save_model: bool = True,
        coach: Coach | None = None,
    ) -> tuple[Any, dict[str, Evaluation]]:
        """Fine-tune on rows that have been read.

        Args:
            train: rows to train on.
            every: rows that the labels are taken from: the first ones may lack one.
            held_out: rows to score, by name; "validation" after each epoch, all at the end.
            save_model: False leaves nothing on disk.
            coach: trains the model in another way than by its task's loss, see `Distill`.

        Returns:
            The model in float32, and its evaluation on each of the held-out sets.
        """
        with self.session():
            model = self.build(every)
            rows = self.rows(model, train if coach is None else coach.examples(train))
            for examples in held_out.values():  # an error in a row comes before the work
                self.rows(model, examples)
            trained, total = freeze(model, self.trainable)
            steps = rows.num_steps(self.batch_size)
            trainee = model if coach is None else coach.wrap(model, self.loss(model))
            trainee.compile(
                optimizer=self._optimizer(model, steps),
                loss=self.loss(model) if coach is None else None,
                weighted_metrics=self.metrics(model) if coach is None else None,
                jit_compile=False,
            )
            record = self.to_json() if coach is None else coach.to_json()
            checkpoint = self.checkpoint(record, train.fingerprint()) if save_model else None
            done = checkpoint.restore(trainee) if checkpoint else 0
            compressor = self.compressor(model, self._updates(steps))
            validation = self._validation(model, held_out.get("validation"), save_model)
            if done < steps * self.epochs and not self._ended_early():  # or only the saving was interrupted
                trainee.fit(
                    rows.training_dataset(self.batch_size, self.epochs, self.seed).skip(done),
                    epochs=self.epochs,
                    initial_epoch=done // steps,
                    steps_per_epoch=steps,
                    callbacks=[*(one for one in (compressor, validation) if one), *self.callbacks(checkpoint)],
                    shuffle=False,
                    verbose=self.verbose,
                )
            if self.average is not None:
                trainee.optimizer.finalize_variable_values(trainee.trainable_weights)
            if validation is not None:
                validation.restore_best()
            if compressor is not None:
                compressor.apply()
            with dtype_policy("float32"):
                copy = copy_model(model)
        self.finished(copy, held_out)
        found = {name: evaluate(copy, examples, self.batch_size) for name, examples in held_out.items()}
        results = {
            "train rows": len(train),
            "train texts truncated": rows.num_truncated,
            "trained weights": f"{trained:,} of {total:,} ({trained / total:.1%})",
            **self.counts(train),
            **self._results(copy, found),
        }
        if rows.num_truncated and self.verbose:
            lost = f"{rows.num_truncated} of {len(rows)} texts"
            print(f"train: {lost} are longer than {self.max_length} tokens and were truncated")
        if checkpoint is not None:
            if is_chief():
                self._save(copy, results, found, record)
            self.finish(checkpoint)
        return copy, found

    def build(self, examples: Examples) -> Any:
        """The task model with the pre-trained weights."""
        pretrained = load(self.encoder)
        if pretrained.tokenizer is None:
            raise ValueError(f"{self.encoder} was saved without a tokenizer")
        if self.max_length > pretrained.config.max_sequence_length:
            raise ValueError(
                f"max_length={self.max_length}, but the encoder has {pretrained.config.max_sequence_length} positions"
            )
        pretrained = self.smaller(pretrained)
        return self.make(encoder_like(pretrained, self.shape(pretrained.config)), examples)

    def finished(self, model: Any, held_out: dict[str, Examples]) -> None:
        """Called with the trained model, before it is scored and saved."""

    def counts(self, train: Examples) -> dict[str, Any]:
        """What the model card says of the training rows, beside their number."""
        return {}

    def rates(self, model: Any) -> dict[str, float]:
        """Multipliers of the learning rate by the path of a weight."""
        return layer_rates(model, self.layer_decay, self.head_rate)

    def _results(self, model: Any, found: dict[str, Evaluation]) -> dict[str, Any]:
        results: dict[str, Any] = {}
        if self.prune is not None:
            results["zeros in the kernels"] = f"{measured_sparsity(model):.1%}"
        for name, evaluation in found.items():
            results[f"{name} rows"] = len(evaluation.rows)
            results |= {f"{name} {key}": value for key, value in evaluation.scores.items()}
        return results

    def _updates(self, steps: int) -> int:
        return max(steps * self.epochs // self.accumulate, 1)

    def _optimizer(self, model: Any, steps: int) -> AdamW:
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        if self.accumulate > 1 and devices > 1:
            raise ValueError(f"accumulate={self.accumulate} works on one device only, not on {devices}")
        if self.accumulate > steps * self.epochs:
            raise ValueError(
                f"accumulate={self.accumulate} of only {steps * self.epochs} batches in all: nothing would be learnt"
            )
        updates = self._updates(steps)
        return AdamW(
            self.schedule(updates),
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm or None,
            rates=self.rates(model),
            first_steps=unfreezing_steps(model, updates) if self.gradual_unfreezing else None,
            gradient_accumulation_steps=self.accumulate if self.accumulate > 1 else None,
            use_ema=self.average is not None,
            ema_momentum=self.average or 0.99,
        )

    def _validation(self, model: Any, examples: Examples | None, save_model: bool) -> Validation | None:
        if examples is None:
            return None
        keeps = save_model and (self.keep == "best" or self.patience is not None)
        return Validation(
            model,
            lambda: evaluate(model, examples, self.batch_size),
            self.history_path,
            self.training_folder / f"{worker_name()}.best.safetensors" if keeps else None,
            self.patience,
            self.average is not None,
            verbose=self.verbose > 0,
        )

    def _ended_early(self) -> bool:
        return self.patience is not None and ended_early(self.history_path, self.epochs, self.patience)

    def _save(self, model: Any, results: dict[str, Any], found: dict[str, Evaluation], record: str) -> None:
        facts = {
            "start": self.encoder,
            "trained on": self.train,
            "longest row": f"{self.max_length} tokens",
            **self.facts(model),
        }
        files = {
            "recipe.json": record,
            "history.csv": self.history(),
            "README.md": model_card(type(model).__name__, facts, results),
        }
        for name, evaluation in found.items():
            files[f"{name}.predictions.jsonl"] = evaluation.predictions()
            files[f"{name}.errors.md"] = evaluation.errors()
        save(model, self.save_to, self.overwrite, files)
