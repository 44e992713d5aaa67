"""Raw text → a pre-trained decoder, by predicting each next token.

Input    text files, each of them one text; or a .tsv, .csv or .jsonl file with one text per row
Output   a folder with a TextGenerator, its tokenizer, recipe, history and card
Command  keras-plm pretrain-causal --corpus 'books/*.txt' --config gpt-mini --steps 5000 --save-to saved_models/writer
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tensorflow as tf

from keras_plm.checkpoints import load
from keras_plm.config import DECODER_SIZES, GPT_MINI, DecoderConfig
from keras_plm.models import copy_model, save
from keras_plm.tasks import TEXT_GENERATION, TextGenerator
from keras_plm.text import PackedTexts, Tokenizer, expand_files, learn_byte_pairs, read_rows, read_text
from keras_plm.training import CrossEntropy, is_chief

from .console import print_pretrained
from .model_card import model_card
from .recipe import Recipe, named_size
from .training_method import SUPERVISED
from .training_state import NOTHING_KEPT, TrainingState

_TABLES = (".tsv", ".csv", ".jsonl")


@dataclass(frozen=True, kw_only=True)
class PretrainCausal(Recipe):
    """Pre-train a decoder on raw text: causal language modeling, GPT's objective.

    Short texts share a row, but do not see each other. If a training was interrupted, start it again with the same
    settings. It resumes from the last checkpoint and ends with the same weights.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: a pattern matches no file.
        ValueError: the corpus is empty, a file is not UTF-8, or a field is out of range.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> writer = PretrainCausal(  # doctest: +SKIP
        ...     corpus="books/*.txt", config=plm.GPT_MINI, steps=5_000, save_to="saved_models/writer"
        ... ).run()
        >>> writer.generate(["The house"])  # doctest: +SKIP

    Source: Radford et al. 2018, §3.1, https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
    """  # noqa: E501

    corpus: str | tuple[str, ...]  # paths or globs of text files (one text each), or of tables (one text per row)
    validation: str | tuple[str, ...] | None = None  # held-out texts, scored at every checkpoint and at the end
    text_column: str = "text"  # column of the texts in tables
    # sizes of the decoder, such as plm.GPT_MINI; on the command line a name, or a JSON file of fields
    config: Annotated[DecoderConfig, named_size(DECODER_SIZES)] = GPT_MINI
    start_from: str | None = None  # model to continue, with its tokenizer: a folder, "hf:…" or a .gguf file
    vocabulary_size: int | None = None  # number of tokens to learn; None takes it from the config
    max_length: int = 256  # row length in tokens; longer texts continue in other rows
    learning_rate: float = 1e-3  # peak learning rate, after the warm-up
    weight_decay: float = 0.1  # weight decay of AdamW; biases and normalization weights are not decayed
    steps: int = 10_000  # batches to train on, rounded up to whole epochs
    checkpoint_every: int = 1_000  # largest number of steps between checkpoints; each checkpoint has a validation
    validation_steps: int = 20  # batches of a validation during the training; they are always the same

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least_one("steps", "checkpoint_every", "validation_steps")
        if not isinstance(self.config, DecoderConfig):
            raise TypeError(f"config={self.config!r}; give a DecoderConfig, such as plm.GPT_MINI")
        if self.start_from is not None and (self.vocabulary_size is not None or self.config != GPT_MINI):
            raise ValueError(
                "the model of start_from has its own sizes and vocabulary: leave out config and vocabulary_size"
            )

    def run(self) -> TextGenerator:
        """Train, save and return the model in float32."""
        if self.fast_dev_run:
            short: dict[str, Any] = {"steps": 4, "checkpoint_every": 2, "validation_steps": 1, "tensorboard": None}
            return dataclasses.replace(self, fast_dev_run=False, **short)._train(100, save_model=False)
        self.check_save_to()
        return self._train(None, save_model=True)

    def _train(self, limit: int | None, save_model: bool) -> TextGenerator:
        epochs = -(-self.steps // self.checkpoint_every)
        steps = -(-self.steps // epochs)  # per epoch; Keras needs the same number in each
        with self.session():
            texts = self._read(self.corpus)[:limit]
            held_out = [] if self.validation is None else self._read(self.validation)
            state = TrainingState(self, SUPERVISED, _fingerprint(texts, held_out)) if save_model else NOTHING_KEPT
            model = self._model(texts, state)
            packed = self._packed(model, texts)
            trainee = SUPERVISED.compile(model, self.optimizer(epochs * steps), CrossEntropy(), [])
            done = state.restore(trainee)
            if self.start_from is None:
                state.keep_tokenizer(model.needs_tokenizer())
            if done and self.verbose:
                print(f"resumes after batch {done:,} of {epochs * steps:,}, from the checkpoint in {state.folder}")
            validation = self._packed(model, held_out) if held_out else None
            if done < epochs * steps:  # otherwise only the saving was interrupted
                trainee.fit(
                    packed.training_dataset(self.batch_size, epochs * steps, done, self.seed),
                    epochs=epochs,
                    initial_epoch=done // steps,
                    steps_per_epoch=steps,
                    # a fixed seed, not the training's: the rows are the same in every run
                    validation_data=validation
                    and validation.training_dataset(self.batch_size, self.validation_steps, seed=1_000_003),
                    callbacks=self.all_callbacks(state),
                    shuffle=False,
                    verbose=self.verbose,
                )
            scores: dict[str, Any] = {"steps": int(trainee.optimizer.iterations.numpy())}
        model = copy_model(model)  # in float32
        if validation is not None:
            scores |= _scores(model, validation, self.batch_size, held_out)
        if save_model and is_chief():
            self._save(model, texts, packed, scores, state)
        state.finish()
        if self.verbose and save_model:
            print_pretrained(scores, self.model_folder, f'keras-plm generate --model {self.model_folder} "The"')
        return model

    def _read(self, patterns: str | tuple[str, ...]) -> list[str]:
        texts: list[str] = []
        for path in expand_files(patterns):
            if path.name.removesuffix(".gz").endswith(_TABLES):
                texts += read_rows(str(path), [self.text_column])[self.text_column]
            else:
                texts.append(read_text(path))
        return texts

    def _model(self, texts: Sequence[str], state: TrainingState) -> TextGenerator:
        if self.start_from is not None:
            model = load(self.start_from)
            if not isinstance(model, TEXT_GENERATION.model):
                raise ValueError(f"{self.start_from} is a {type(model).__name__}; give a TextGenerator")
            if model.tokenizer is None:
                raise ValueError(f"{self.start_from} was saved without a tokenizer")
        else:
            tokenizer = state.kept_tokenizer() or learn_byte_pairs(
                texts, self.vocabulary_size or self.config.vocabulary_size, progress=self.verbose == 1
            )
            model = TextGenerator(dataclasses.replace(self.config, vocabulary_size=len(tokenizer)), tokenizer)
        if self.max_length > model.longest_row:
            raise ValueError(f"max_length={self.max_length}, but the model has {model.longest_row} positions")
        return model

    def _packed(self, model: TextGenerator, texts: Sequence[str]) -> PackedTexts:
        return PackedTexts(model.texts_to_ids(texts, ends=True), self.max_length)

    def _save(
        self, model: TextGenerator, texts: Sequence[str], packed: PackedTexts, scores: dict, state: TrainingState
    ) -> None:
        tokenizer: Tokenizer = model.needs_tokenizer()
        facts = {
            "trained on": f"{self.corpus} ({len(texts):,} texts, {packed.num_targets:,} tokens)",
            "padding in the rows": f"{packed.share_of_padding:.1%}",
            "sizes": model.config,
            "vocabulary": f"{len(tokenizer):,} tokens, {type(tokenizer).__name__}",
        }
        files = {
            "recipe.json": state.record,
            "history.csv": state.history(),
            "README.md": model_card("Pre-trained decoder", facts, scores),
        }
        save(model, self.model_folder, self.overwrite, files)


def _scores(model: TextGenerator, packed: PackedTexts, batch_size: int, texts: Sequence[str]) -> dict[str, float]:
    """Perplexity for each token, and bits for each byte of the texts, which do not depend on the tokenizer."""

    @tf.function(autograph=False)
    def loss(inputs: Any, targets: Any, weights: Any) -> Any:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, model(inputs))
        return tf.reduce_sum(losses * weights)

    nats = sum(float(loss(*batch)) for batch in packed.evaluation_dataset(batch_size))
    size = sum(len(text.encode()) for text in texts)
    mean = nats / packed.num_targets
    return {"loss": mean, "perplexity": math.exp(min(mean, 100.0)), "bits_per_byte": nats / math.log(2) / size}


def _fingerprint(*corpora: Sequence[str]) -> str:
    """A hash of all texts that a training depends on."""
    found = hashlib.sha256()
    for texts in corpora:
        for text in texts:
            found.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        found.update(b"\0")
    return found.hexdigest()
