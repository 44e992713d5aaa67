import dataclasses
import hashlib
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from keras_plm.checkpoints import load
from keras_plm.models import copy_model, save
from keras_plm.text import Tokenizer, expand_files, read_rows, read_text
from keras_plm.training import is_chief

from .console import print_pretrained
from .model_card import model_card
from .recipe import Recipe
from .training_method import SUPERVISED, TrainingMethod
from .training_state import NOTHING_KEPT, TrainingState

Model = TypeVar("Model")
_TABLES = (".tsv", ".csv", ".jsonl")
_VALIDATION_SEED = 1_000_003  # not the training's, so that the rows are the same in every run


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe(Recipe, Generic[Model]):
    """The settings and the training loop that `Pretrain`, `PretrainCausal` and `PretrainDenoising` share.

    If a training was interrupted, start it again with the same settings. It resumes from the last checkpoint and ends
    with the same weights.
    """

    title: ClassVar[str]  # of the model card
    unit: ClassVar[str] = "texts"  # what `read` returns

    corpus: str | tuple[str, ...]  # paths or globs of text files
    validation: str | tuple[str, ...] | None = None  # held-out texts, scored at every checkpoint and at the end
    config: Any = None  # sizes of a new model
    start_from: str | None = None  # model to continue, with its tokenizer: a folder, or "hf:…"
    vocabulary_size: int | None = None  # number of tokens to learn; None takes it from the config
    steps: int = 10_000  # batches to train on, rounded up to whole epochs
    checkpoint_every: int = 1_000  # largest number of steps between checkpoints; each checkpoint has a validation
    validation_steps: int = 20  # batches of a validation; they are always the same

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least_one("steps", "checkpoint_every", "validation_steps")
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
        epochs = -(-self.steps // self.checkpoint_every)
        steps = -(-self.steps // epochs)  # per epoch; Keras needs the same number in each
        with self.session():
            # The model, and the corpus as tokens
            texts = list(itertools.islice(self.read(self.corpus), limit))
            held_out = [] if self.validation is None else list(self.read(self.validation))
            state = TrainingState(self, method, _fingerprint(texts, held_out)) if save_model else NOTHING_KEPT
            model = self.begin(texts, state)
            if self.max_length > model.config.max_sequence_length:
                longest = model.config.max_sequence_length
                raise ValueError(f"max_length={self.max_length}, but the model has {longest} positions")
            rows = self.rows(model, texts)
            held_out_rows = self.validation_rows(model, held_out) if held_out else None
            validation = self.validation_batches(model, held_out_rows) if held_out else None

            # The checkpoint, if an earlier run was interrupted
            trainee = method.compile(model, self.optimizer(epochs * steps), self.loss(model), self.metrics(model))
            done = state.restore(trainee)
            if self.start_from is None:
                state.keep_tokenizer(model.needs_tokenizer())
            if done and self.verbose:
                print(f"resumes after batch {done:,} of {epochs * steps:,}, from the checkpoint in {state.folder}")

            # The training
            if done < epochs * steps:  # otherwise only the saving was interrupted
                trainee.fit(
                    self.batches(model, rows, epochs * steps, done),
                    epochs=epochs,
                    initial_epoch=done // steps,
                    steps_per_epoch=steps,
                    validation_data=validation if trainee is model else None,
                    callbacks=self.all_callbacks(state),
                    shuffle=False,
                    verbose=self.verbose,
                )
            scores: dict[str, Any] = {"steps": int(trainee.optimizer.iterations.numpy())}

        # Scores and the saved model
        model = copy_model(model)  # in float32
        if held_out:
            scores |= self.scores(model, held_out_rows, held_out)
        if save_model and is_chief():
            facts = {"trained on": f"{self.corpus} ({len(texts):,} {self.unit})"} | self.facts(model, rows)
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

    # What differs between the recipes

    @abstractmethod
    def read(self, patterns: str | tuple[str, ...]) -> Iterator[Any]:
        """Read the texts of files, one by one."""

    @abstractmethod
    def begin(self, texts: list[Any], state: TrainingState) -> Any:
        """The model at the beginning: of `start_from`, or a new one with tokens that are learned from the texts."""

    @abstractmethod
    def rows(self, model: Any, texts: list[Any]) -> Any:
        """The texts as tokens."""

    def batches(self, model: Any, rows: Any, num_steps: int, first_step: int = 0, seed: int | None = None) -> Any:
        """Batches of rows; each is a function of (seed, step)."""
        return rows.training_dataset(self.batch_size, num_steps, first_step, self.seed if seed is None else seed)

    def validation_rows(self, model: Any, texts: list[Any]) -> Any:
        """Held-out texts as tokens."""
        return self.rows(model, texts)

    def validation_data(self, model: Any, texts: Iterable[Any]) -> Any:
        """Batches of held-out texts, as from `read`. They are the same in every run."""
        return self.validation_batches(model, self.validation_rows(model, list(texts)))

    def validation_batches(self, model: Any, rows: Any) -> Any:
        """Batches of `validation_rows`. They are the same in every run."""
        return self.batches(model, rows, self.validation_steps, seed=_VALIDATION_SEED)

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
        return scored.evaluate(self.validation_batches(model, rows), return_dict=True, verbose=0)

    def facts(self, model: Any, rows: Any) -> dict[str, Any]:
        """Facts for the model card."""
        return {}

    @abstractmethod
    def next_command(self, folder: str) -> str:
        """A command for the model in this folder."""

    def pretrained(self, kind: Any) -> Any:
        """The model of `start_from`, which must be of this class and have a tokenizer."""
        model = load(self.start_from or "")
        if not isinstance(model, kind):
            raise ValueError(f"{self.start_from} is a {type(model).__name__}; give a {kind.__name__}")
        if model.tokenizer is None:
            raise ValueError(f"{self.start_from} was saved without a tokenizer")
        return model


def read_corpus(patterns: str | tuple[str, ...], text_column: str) -> Iterator[str]:
    """The texts of text files, each of them one text, and of tables with one text per row."""
    for path in expand_files(patterns):
        if path.name.removesuffix(".gz").endswith(_TABLES):
            yield from read_rows(str(path), [text_column])[text_column]
        else:
            yield read_text(path)


def _fingerprint(*corpora: Sequence[str | list[str]]) -> str:
    """A hash of all texts that a training depends on."""
    found = hashlib.sha256()
    for texts in corpora:
        for text in texts:
            whole = text if isinstance(text, str) else "\n".join(text)
            found.update(hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest())
        found.update(b"\0")
    return found.hexdigest()
