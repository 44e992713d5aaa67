import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import tensorflow as tf

from keras_plm.checkpoints import load
from keras_plm.config import ModelConfig
from keras_plm.models import Encoder, copy_head, encoder_like
from keras_plm.tasks import Columns, Task
from keras_plm.text import Examples, OnBadRow, TextRows
from keras_plm.training import AdamW, layer_rates, parse_trainable, unfreezing_steps

from .compressed_training import CompressedTraining
from .data import Data


@dataclass(frozen=True, kw_only=True)
class TaskTraining(CompressedTraining):
    """The fields of every fine-tuning, and what they mean to its task."""

    task: ClassVar[Task]

    encoder: str  # what to start from: a folder, "hf:" and a Hugging Face folder or repository, "preset:…"
    train: Data  # files: paths or globs
    validation: Data = None  # files, scored after each epoch
    test: Data = None  # files, scored once, at the end
    validation_split: float | None = None  # fraction of the training rows to hold out in place of `validation`
    on_bad_row: OnBadRow = "error"  # "skip": leave out rows that cannot be used, and list them in the card
    trainable: str = "all"  # "all", "head", "last:K" blocks, "lora:R" or "adapter:R"; the head always is
    dropout: float = 0.1  # in the encoder and before the head, whatever the pre-training had
    epochs: int = 3  # passes over the training rows
    learning_rate: float = 5e-5  # peak, after the warm-up
    layer_decay: float = 1.0  # factor of the learning rate from each block to the one below it, in (0, 1]
    head_rate: float = 1.0  # factor of the head's learning rate beside the encoder's
    gradual_unfreezing: bool = False  # the head first, then block by block, all in the first half of the training
    accumulate: int = 1  # batches whose gradients make one step, where a larger batch has no room
    average: float | None = None  # momentum of averaged weights, e.g. 0.999, which are the ones that are kept
    # the weights of the last epoch, or of the best by the first score of `validation`
    keep: Literal["last", "best"] = "last"
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
        if self.validation_split is not None and not 0 < self.validation_split < 1:
            raise ValueError(f"validation_split={self.validation_split}; it is a fraction of the rows, in (0, 1)")
        if self.validation_split is not None and self.validation is not None:
            raise ValueError("validation and validation_split exclude each other: give the one or the other")
        if (self.keep == "best" or self.patience is not None) and not self.has_validation:
            raise ValueError("to keep the best epoch, or to end early, `validation` or `validation_split` is needed")
        if self.prune is not None and (self.keep == "best" or self.patience is not None):
            raise ValueError("prune keeps the last epoch: in an earlier one not all the zeros are there")
        self.check_trained_kernels(self.trainable)

    @property
    def has_validation(self) -> bool:
        """Whether there are rows to score after each epoch."""
        return self.validation is not None or self.validation_split is not None

    @property
    def columns(self) -> Columns:
        """Which column of a file holds what."""
        return self.task.columns

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

    def build(self, examples: Examples) -> Any:
        """The task model with the pre-trained weights, and its head if those are of the same task."""
        pretrained = load(self.encoder)
        if pretrained.tokenizer is None:
            raise ValueError(f"{self.encoder} was saved without a tokenizer")
        if self.max_length > pretrained.config.max_sequence_length:
            raise ValueError(
                f"max_length={self.max_length}, but the encoder has {pretrained.config.max_sequence_length} positions"
            )
        pretrained = self.smaller(pretrained)
        model = self.make(encoder_like(pretrained, self.shape(pretrained.config)), examples)
        if copy_head(pretrained, model) and self.verbose:
            print(f"the head of {self.encoder} goes on")
        return model

    def finished(self, model: Any, held_out: dict[str, Examples]) -> None:
        """Called with the trained model, before it is scored and saved."""

    def labels_of(self, model: Any) -> list[str] | None:
        """The labels that rows may have; None where any value will do."""
        return getattr(model, "labels", None)

    def rates(self, model: Any) -> dict[str, float]:
        """Multipliers of the learning rate by the path of a weight."""
        return layer_rates(model, self.layer_decay, self.head_rate)

    def updates(self, steps: int) -> int:
        """Steps of the optimizer in the whole training, of so many batches an epoch."""
        return steps * self.epochs // self.accumulate

    def task_optimizer(self, model: Any, steps: int) -> AdamW:
        """AdamW for so many batches an epoch, with the rates of the blocks."""
        devices = tf.distribute.get_strategy().num_replicas_in_sync
        if self.accumulate > 1 and devices > 1:
            raise ValueError(f"accumulate={self.accumulate} works on one device only, not on {devices}")
        if self.accumulate > steps * self.epochs:
            raise ValueError(
                f"accumulate={self.accumulate} of only {steps * self.epochs} batches in all: nothing would be learnt"
            )
        updates = self.updates(steps)
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
