"""Raw text → a pre-trained encoder, by masked-language modeling and next-sentence prediction.

Input    text files with one or more sentences per line, and a blank line between documents
Output   a folder with a Pretrainer (fine-tuning uses its `.encoder`), its tokenizer, recipe, history and card
Command  keras-plm pretrain --corpus 'books/*.txt' --config mini --steps 20000 --save-to saved_models/mini
Time     MINI, 8,000 tokens, batches of 32 × 128 tokens: about 4 steps a second on 2 cores with AVX-512 BF16
"""

import dataclasses
import hashlib
import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import keras
import numpy as np

from keras_plm.checkpoints import load
from keras_plm.config import SIZES, SMALL, EncoderConfig
from keras_plm.models import Encoder, copy_model, save
from keras_plm.tasks import Pretrainer
from keras_plm.text import (
    SentencePairs,
    TokenizedCorpus,
    Tokenizer,
    WordPieceTokenizer,
    learn_vocabulary,
    pretraining_dataset,
    read_documents,
)
from keras_plm.training import CrossEntropy, Lamb, is_chief

from .console import print_pretrained
from .model_card import model_card
from .recipe import Recipe, named_size
from .training_method import SUPERVISED, TrainingMethod
from .training_state import NOTHING_KEPT, TrainingState


@dataclass(frozen=True, kw_only=True)
class Pretrain(Recipe):
    """Pre-train an encoder on raw text by masked-language modeling and next-sentence prediction.

    If a training was interrupted, start it again with the same settings. It resumes from the last checkpoint and ends
    with the same weights.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: a pattern matches no file.
        ValueError: the corpus is empty, a file is not UTF-8, or a field is out of range.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> encoder = Pretrain(  # doctest: +SKIP
        ...     corpus="books/*.txt", config=plm.MINI, steps=20_000, save_to="saved_models/mini"
        ... ).run()

    Source: Devlin et al. 2019, §3.1 and appendix A.2, https://arxiv.org/abs/1810.04805
    """

    corpus: str | tuple[str, ...]  # paths or globs of text files
    validation: str | tuple[str, ...] | None = None  # held-out text, scored at every checkpoint
    # sizes of the encoder, such as plm.MINI; on the command line a name, or a JSON file of fields
    config: Annotated[EncoderConfig, named_size(SIZES)] = SMALL
    start_from: str | None = None  # model to continue, with its tokenizer: a folder or "hf:…"; missing heads are added
    vocabulary: str | None = None  # a vocab.txt; None learns a vocabulary from the corpus
    vocabulary_size: int | None = None  # number of tokens to learn; None takes it from the config
    lowercase: bool = True  # lower-case the text and strip accents
    steps: int = 10_000  # batches to train on, rounded up to whole epochs
    mask_rate: float = 0.15  # fraction of the tokens to predict
    whole_word: bool = True  # whole-word masking: mask either all tokens of a word or none
    inside_rate: float = 0.0  # fraction of NotNext pairs whose second text is from the same document, which is harder
    optimizer_name: Literal["adamw", "lamb"] = "adamw"  # lamb for batches of thousands of examples
    checkpoint_every: int = 1_000  # largest number of steps between checkpoints; each checkpoint has a validation
    validation_steps: int = 50  # batches of a validation; they are always the same

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least_one("steps", "checkpoint_every", "validation_steps")
        if not isinstance(self.config, EncoderConfig):
            raise TypeError(f"config={self.config!r}; give an EncoderConfig, such as plm.MINI")
        own = (
            self.vocabulary is not None
            or self.vocabulary_size is not None
            or self.config != SMALL
            or not self.lowercase
        )
        if self.start_from is not None and own:
            raise ValueError(
                "the model of start_from has its own sizes and vocabulary: "
                "leave out config, vocabulary, vocabulary_size and lowercase"
            )
        if self.vocabulary is not None and self.vocabulary_size is not None:
            raise ValueError(
                "vocabulary_size is for a learned vocabulary, but vocabulary names a file: give one of them"
            )
        if not 0 < self.mask_rate < 1:
            raise ValueError(f"mask_rate={self.mask_rate}; it is a fraction of the tokens, in (0, 1)")
        if not 0 <= self.inside_rate <= 1:
            raise ValueError(f"inside_rate={self.inside_rate}; it is a fraction of the pairs, in [0, 1]")

    def run(self, method: TrainingMethod = SUPERVISED) -> Pretrainer:
        """Train, save and return the model in float32.

        Args:
            method: supervised training on the pre-training losses, or another method; see `Distill`.
        """
        if self.fast_dev_run:
            short: dict[str, Any] = {"steps": 4, "checkpoint_every": 2, "validation_steps": 1, "tensorboard": None}
            return dataclasses.replace(self, fast_dev_run=False, **short)._train(100, save_model=False, method=method)
        self.check_save_to()
        return self._train(None, save_model=True, method=method)

    def _train(self, limit: int | None, save_model: bool, method: TrainingMethod) -> Pretrainer:
        epochs = -(-self.steps // self.checkpoint_every)
        steps = -(-self.steps // epochs)  # per epoch; Keras needs the same number in each
        with self.session():
            documents = list(itertools.islice(read_documents(_patterns(self.corpus)), limit))
            held_out = [] if self.validation is None else list(read_documents(_patterns(self.validation)))
            state = TrainingState(self, method, _fingerprint(documents, held_out)) if save_model else NOTHING_KEPT
            model = self._model(documents, state)
            pairs = self._pairs(documents, model.needs_tokenizer(), self.inside_rate)
            if model.next_sentence:
                _warn_of_short_documents(documents)
            losses = {name: CrossEntropy() for name in model.output}
            accuracy = {name: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")] for name in model.output}
            trainee = method.compile(model, self._optimizer(epochs * steps), losses, accuracy)
            validation = self.validation_data(model, held_out) if held_out else None
            done = state.restore(trainee)
            if self.start_from is None and self.vocabulary is None:
                state.keep_tokenizer(model.needs_tokenizer())
            if done and self.verbose:
                print(f"resumes after batch {done:,} of {epochs * steps:,}, from the checkpoint in {state.folder}")
            if done < epochs * steps:  # otherwise only the saving was interrupted
                trainee.fit(
                    self._dataset(model, pairs, epochs * steps, done),
                    epochs=epochs,
                    initial_epoch=done // steps,
                    steps_per_epoch=steps,
                    validation_data=validation if trainee is model else None,
                    callbacks=self.all_callbacks(state),
                    shuffle=False,
                    verbose=self.verbose,
                )
            scores: dict[str, Any] = {"steps": int(trainee.optimizer.iterations.numpy())}
            if validation is not None:
                if trainee is not model:
                    model.compile(loss=losses, weighted_metrics=accuracy, jit_compile=False)
                scores |= model.evaluate(validation, return_dict=True, verbose=0)
                scores["masked_tokens_unigram_accuracy"] = _unigram_accuracy(validation)
        if save_model and is_chief():
            self._save(model, len(pairs), scores, state)
        state.finish()
        if self.verbose and save_model:
            command = f"keras-plm classify --start-from {self.model_folder} --train train.tsv"
            print_pretrained(scores, self.model_folder, f"{command} --save-to {self.model_folder}_classifier")
        return copy_model(model)  # in float32

    def _tokenizer(self, documents: list[list[str]], state: TrainingState) -> Tokenizer:
        if self.vocabulary is not None:
            return WordPieceTokenizer.from_file(self.vocabulary, self.lowercase)
        kept = state.kept_tokenizer()
        if kept is not None:
            return kept
        tokens = learn_vocabulary(
            itertools.chain.from_iterable(documents),
            self.vocabulary_size or self.config.vocabulary_size,
            self.lowercase,
            progress=self.verbose == 1,
        )
        return WordPieceTokenizer(tokens, self.lowercase)

    def _model(self, documents: list[list[str]], state: TrainingState) -> Pretrainer:
        if self.start_from is not None:
            model = load(self.start_from)
            if model.tokenizer is None:
                raise ValueError(f"{self.start_from} was saved without a tokenizer")
            if not isinstance(model, Pretrainer):
                encoder = model if isinstance(model, Encoder) else model.encoder
                model = Pretrainer(encoder.config, model.tokenizer, encoder=encoder)
        else:
            tokenizer = self._tokenizer(documents, state)
            model = Pretrainer(dataclasses.replace(self.config, vocabulary_size=len(tokenizer)), tokenizer)
        positions = model.config.max_sequence_length
        if self.max_length > positions:
            raise ValueError(f"max_length={self.max_length}, but the model has {positions} positions")
        return model

    def _pairs(self, documents: Any, tokenizer: Tokenizer, inside_rate: float = 0.0) -> SentencePairs:
        room = self.max_length - tokenizer.template.num_special(pair=True)
        corpus = TokenizedCorpus.from_documents(documents, tokenizer, row_tokens=room)
        return SentencePairs(corpus, room, inside_rate=inside_rate)

    def _optimizer(self, steps: int) -> Any:
        if self.optimizer_name == "adamw":
            return self.optimizer(steps)
        return Lamb(
            self.schedule(steps),
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm or None,
        )

    def _dataset(self, model: Pretrainer, pairs: SentencePairs, steps: int, first_step: int = 0, **fixed: Any) -> Any:
        options = {"mask_rate": self.mask_rate, "whole_word": self.whole_word, "seed": self.seed, **fixed}
        options["next_sentence"] = model.next_sentence
        return pretraining_dataset(pairs, model.needs_tokenizer(), self.batch_size, steps, first_step, **options)

    def validation_data(self, model: Pretrainer, documents: Iterable[list[str]]) -> Any:
        """Batches of held-out documents with masked tokens. They are the same in every run.

        Args:
            model: its tokenizer is used.
            documents: lists of sentences.
        """
        pairs = self._pairs(documents, model.needs_tokenizer())
        # a fixed seed, not the training's: the rows are the same in every run
        return self._dataset(model, pairs, self.validation_steps, seed=1_000_003)

    def _save(self, model: Pretrainer, passages: int, scores: dict, state: TrainingState) -> None:
        tokenizer = model.needs_tokenizer()
        facts = {
            "trained on": f"{self.corpus} ({passages:,} passages)",
            "sizes": model.config,
            "vocabulary": f"{len(tokenizer):,} tokens, {type(tokenizer).__name__}",
        }
        save(
            model,
            self.model_folder,
            self.overwrite,
            {
                "recipe.json": state.record,
                "history.csv": state.history(),
                "README.md": model_card("Pre-trained encoder", facts, scores),
            },
        )


def _patterns(patterns: str | tuple[str, ...]) -> str | list[str]:
    return patterns if isinstance(patterns, str) else list(patterns)


def _fingerprint(*corpora: list[list[str]]) -> str:
    """A hash of all sentences that a training depends on."""
    found = hashlib.sha256()
    for documents in corpora:
        for document in documents:
            found.update("\n".join(document).encode() + b"\n\n")
        found.update(b"\0")
    return found.hexdigest()


def _warn_of_short_documents(documents: list[list[str]]) -> None:
    """Warn if most documents are a single sentence: next-sentence prediction then has too few IsNext pairs."""
    alone = sum(len(document) < 2 for document in documents)
    if len(documents) > 10 and alone > 0.5 * len(documents):
        warnings.warn(
            f"{alone:,} of {len(documents):,} documents are a single sentence, which has no next sentence to predict; "
            f"a blank line ends a document: remove the blank lines between the sentences of one text",
            stacklevel=2,
        )


def _unigram_accuracy(dataset: Any) -> float:
    """Accuracy of always predicting the most frequent masked token: the baseline that any model must beat."""
    pieces = [y["masked_tokens"].numpy()[w["masked_tokens"].numpy() > 0] for _, y, w in dataset]
    counts = np.bincount(np.concatenate(pieces))
    return float(counts.max() / counts.sum())
