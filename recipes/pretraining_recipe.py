import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import keras
import tensorflow as tf

from keras_plm.checkpoints import load
from keras_plm.layers import rematerialize
from keras_plm.models import copy_model, save
from keras_plm.text import ShortThenLong, TokenizedCorpus, Tokenizer
from keras_plm.text.streamed_rows import Rows
from keras_plm.text.token_shards import Level
from keras_plm.training import Diverged, DivergenceGuard, fit_from, is_chief

from .console import print_pretrained
from .model_card import model_card
from .pretraining_texts import PretrainingTexts, fingerprint_of, open_texts, tokenized
from .recipe import Recipe
from .training_batches import TrainingBatches
from .training_method import SUPERVISED, TrainingMethod
from .training_state import NOTHING_KEPT, TrainingState

Model = TypeVar("Model")
_TWO_SHAPES = (
    "short_length gives batches of two shapes, but a TPU, or static_shapes, needs one: train with the short length "
    "first, then with the long one and start_from"
)
_VALIDATION_SEED = 1_000_003  # not the training's, so that the rows are the same in every run


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe(Recipe, Generic[Model]):
    """The settings and the training loop that `Pretrain`, `PretrainCausal` and `PretrainDenoising` share.

    If a training was interrupted, start it again with the same settings. It resumes from the last checkpoint and ends
    with the same weights.
    """

    title: ClassVar[str]  # of the model card
    unit: ClassVar[str] = "texts"  # what `read` returns
    level: ClassVar[Level] = "texts"  # of a prepared corpus
    family: ClassVar[str]  # of the model

    corpus: str | tuple[str, ...]  # paths or globs of text files, or the folder of a prepared corpus
    validation: str | tuple[str, ...] | None = None  # held-out texts, scored at every checkpoint and at the end
    config: Any = None  # sizes of a new model
    start_from: str | None = None  # model to continue, with its tokenizer: a folder, or "hf:…"
    vocabulary_size: int | None = None  # number of tokens to learn; None takes it from the config
    steps: int = 10_000  # batches to train on, rounded up to whole epochs
    checkpoint_every: int = 1_000  # largest number of steps between checkpoints; each checkpoint has a validation
    short_length: int | None = None  # two phases: length of the rows in the first steps, such as 128 before 512
    short_share: float = 0.9  # fraction of the steps with short rows, if there is a short_length
    gradient_accumulation_steps: int = 1  # number of batches whose averaged gradients make one step
    validation_steps: int = 20  # batches of a validation; they are always the same

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least_one("steps", "checkpoint_every", "validation_steps", "gradient_accumulation_steps")
        if self.short_length is not None and self.static_shapes:
            raise ValueError(_TWO_SHAPES)
        if self.short_length is not None and not 5 <= self.short_length < self.max_length:
            raise ValueError(f"short_length={self.short_length}; it must be from 5 to max_length={self.max_length} - 1")
        if not 0 < self.short_share < 1:
            raise ValueError(f"short_share={self.short_share}; it is a fraction of the steps, in (0, 1)")
        usual = next(field.default for field in dataclasses.fields(self) if field.name == "config")
        if not isinstance(self.config, type(usual)):
            raise TypeError(f"config={self.config!r}; give an object of {type(usual).__name__}")
        if self.start_from is not None and (self.vocabulary_size is not None or self.config != usual):
            raise ValueError(
                "the model of start_from has its own sizes and vocabulary: leave out config and vocabulary_size"
            )

    def run(self, method: TrainingMethod = SUPERVISED) -> Model:
        """Train, save and return the model in float32.

        Args:
            method: supervised training on the pre-training losses; `Pretrain` also takes a `Distill`.
        """
        if self.fast_dev_run:
            short: dict[str, Any] = {"steps": 4, "checkpoint_every": 2, "validation_steps": 1, "tensorboard": None}
            return dataclasses.replace(self, fast_dev_run=False, **short)._train(100, save_model=False, method=method)
        self.check_save_to()
        return self._train(None, save_model=True, method=method)

    def _train(self, limit: int | None, save_model: bool, method: TrainingMethod) -> Model:
        batches = self.batches
        with self.session():
            # The model, and the corpus as tokens
            texts = open_texts(self, limit)
            held_out = [] if self.validation is None else list(self.read(self.validation))
            state: TrainingState = NOTHING_KEPT
            if save_model:
                state = TrainingState(self, method, f"{texts.fingerprint} {fingerprint_of(held_out)}")
            if self.start_from is None:
                model: Any = self.new_model(texts.tokenizer(state))
            else:
                model = self.pretrained()
                texts.check_tokenizer(model.needs_tokenizer())
            self._check_length(model)
            rows = texts.rows(model, state)
            all_rows = rows
            if self.short_length is not None:
                all_rows = self._in_two_phases(self.short_length, texts, model, state, rows)
            held_out_rows = self.validation_rows(model, held_out) if held_out else None
            trained = self.trained(model)
            if trained is not model and method is not SUPERVISED:
                raise ValueError("pack and knowledge distillation cannot be combined")
            validation = self._validation(model, held_out, held_out_rows) if method is SUPERVISED else None

            rematerialize(model, self.rematerialize)

            # The checkpoint, if an earlier run was interrupted
            trainee = method.compile(
                trained,
                self.optimizer(batches.updates),
                self.loss(model),
                self.metrics(model),
                steps_per_execution=self.steps_per_execution,
            )
            done = state.restore(trainee)
            if self.start_from is None:
                state.keep_tokenizer(model.needs_tokenizer())
            if done and self.verbose:
                print(f"resumes after batch {done:,} of {len(batches):,}, from the checkpoint in {state.folder}")

            # The training
            self._fit(trainee, all_rows, state, done, validation)
            scores: dict[str, Any] = {"steps": int(trainee.optimizer.iterations.numpy())}

        # Scores and the saved model
        model = copy_model(model)  # in float32
        if held_out_rows:
            scores |= self.scores(model, held_out_rows, held_out)
        if save_model and is_chief():
            facts = {"trained on": f"{self.corpus} ({len(texts):,} {self.unit})"} | texts.facts(model, rows)
            tokenizer: Tokenizer = model.needs_tokenizer()
            facts |= {"sizes": model.config, "vocabulary": f"{len(tokenizer):,} tokens, {type(tokenizer).__name__}"}
            files = {
                "recipe.json": state.record,
                "history.csv": state.history(),
                "README.md": model_card(self.title, facts, scores),
            }
            save(model, self.model_folder, self.overwrite, files)
        state.finish()
        if self.verbose and save_model:
            print_pretrained(scores, self.model_folder, self.next_command(self.model_folder))
        return model

    def _in_two_phases(
        self, length: int, texts: PretrainingTexts, model: Any, state: TrainingState, long: Rows
    ) -> Rows:
        """Rows of this length before those of `max_length`."""
        if self.pads_all_rows:
            raise ValueError(_TWO_SHAPES)
        recipe = dataclasses.replace(self, max_length=length, short_length=None)
        return ShortThenLong(texts.for_recipe(recipe).rows(model, state), long, self.batches.short_updates)

    def _check_length(self, model: Any) -> None:
        longest = model.config.max_sequence_length
        if self.max_length > longest:
            raise ValueError(f"max_length={self.max_length}, but the model has {longest} positions")

    def _validation(self, model: Any, texts: list[Any], rows: Rows | None) -> Any:
        """Batches of held-out texts in the form of those of the training, or None."""
        if rows is None:
            return None
        return self.validation_batches(
            rows if self.trained(model) is model else self.rows(model, tokenized(model, texts))
        )

    def _fit(self, trainee: Any, rows: Rows, state: TrainingState, done: int, validation: Any) -> None:
        """Train to the end. After a divergence, start again from the checkpoint, with the batches after the bad one."""
        batches = self.batches
        if not done:
            state.begin(trainee)
        while done < len(batches):  # otherwise only the saving was interrupted
            try:
                fit_from(
                    trainee,
                    batches.of_rows(rows, state.num_left_out),
                    done,
                    batches.steps,
                    batches.epochs,
                    validation_data=validation,
                    callbacks=self.all_callbacks(state),
                    shuffle=False,
                    verbose=self.verbose,
                )
                break
            except Diverged as problem:
                done = state.rewind(trainee, problem)
                if self.verbose:
                    print(
                        f"{problem}: the training is rewound to batch {done:,}, without the batches up to the bad one"
                    )

    def accumulation(self) -> dict[str, Any]:
        """The argument of the optimizer for gradient accumulation.

        Raises:
            ValueError: there are several devices; Keras' optimizers accumulate on one only.
        """
        parts, devices = self.gradient_accumulation_steps, tf.distribute.get_strategy().num_replicas_in_sync
        if parts == 1:
            return {}
        if devices > 1:
            raise ValueError(f"gradient_accumulation_steps={parts} works on one device only, not on {devices}")
        return {"gradient_accumulation_steps": parts}

    @property
    def batches(self) -> TrainingBatches:
        """The number of batches, and their order."""
        return TrainingBatches.of(self)

    def guards(self) -> list[Any]:
        """Rewind to a checkpoint if the loss is not finite, or has a spike."""
        # the first long rows have positions that were never trained
        return [DivergenceGuard(self.batches.steps, self.batches.num_short)]

    # What differs between the recipes

    @abstractmethod
    def read(self, patterns: str | tuple[str, ...]) -> Iterator[Any]:
        """Read the texts of files, one by one."""

    @abstractmethod
    def new_tokenizer(self, texts: Iterable[Any]) -> Tokenizer:
        """Learn a tokenizer from the texts."""

    @abstractmethod
    def new_model(self, tokenizer: Tokenizer) -> Model:
        """A new model with these tokens."""

    @abstractmethod
    def pretrained(self) -> Model:
        """The model of `start_from`, with its tokenizer."""

    def trained(self, model: Any) -> keras.Model:
        """The Keras model that `fit` is called on; it has the weights of the model."""
        return model

    @abstractmethod
    def rows(self, model: Any, corpus: TokenizedCorpus) -> Rows:
        """The rows of tokenized texts."""

    def check_prepared(self) -> None:
        """Raise ValueError if there are settings for the tokens of a new model: a prepared corpus has its own."""
        if self.vocabulary_size is not None:
            raise ValueError("the prepared corpus has its own tokens: leave out vocabulary_size")

    def validation_rows(self, model: Any, texts: Iterable[Any]) -> Rows:
        """The rows of held-out texts, as from `read`."""
        return self.rows(model, tokenized(model, texts))

    def validation_batches(self, rows: Rows) -> Any:
        """Batches of `validation_rows`. They are the same in every run."""
        return rows.training_dataset(self.batch_size, self.validation_steps, seed=_VALIDATION_SEED)

    @abstractmethod
    def loss(self, model: Any) -> Any:
        """The loss for `compile`."""

    def metrics(self, model: Any) -> Any:
        """The metrics that `fit` shows in addition to the loss."""
        return []

    def scores(self, model: Any, rows: Any, texts: list[Any]) -> dict[str, float]:
        """The scores of the trained model on held-out texts.

        Args:
            model: the model, in float32.
            rows: the texts as `validation_rows`.
            texts: the texts.
        """
        scored = copy_model(model)  # the model itself is returned as it is, not compiled
        scored.compile(loss=self.loss(model), weighted_metrics=self.metrics(model), jit_compile=False)
        return scored.evaluate(self.validation_batches(rows), return_dict=True, verbose=0)

    def facts(self, model: Any, rows: Any) -> dict[str, Any]:
        """Facts for the model card."""
        return {}

    @abstractmethod
    def next_command(self, folder: str) -> str:
        """A command for the model in this folder."""

    def loaded(self, kind: Any) -> Any:
        """The model of `start_from`, which must be of this class and have a tokenizer."""
        model = load(self.start_from or "")
        if not isinstance(model, kind):
            raise ValueError(f"{self.start_from} is a {type(model).__name__}; give a {kind.__name__}")
        if model.tokenizer is None:
            raise ValueError(f"{self.start_from} was saved without a tokenizer")
        return model
