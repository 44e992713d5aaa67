"""Raw text → a pre-trained encoder, by masked-language modeling and next-sentence prediction.

Input    text files with one or more sentences per line, and a blank line between documents
Output   a folder with a Pretrainer (fine-tuning uses its `.encoder`), its tokenizer, recipe, history and card
Command  keras-plm pretrain --corpus 'books/*.txt' --config mini --steps 20000 --save-to saved_models/mini
Time     MINI, 8,000 tokens, batches of 32 × 128 tokens: about 4 steps a second on 2 cores with AVX-512 BF16
"""

import dataclasses
import itertools
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import keras
import numpy as np

from keras_plm.checkpoints import load
from keras_plm.config import SIZES, SMALL, EncoderConfig
from keras_plm.models import Encoder
from keras_plm.tasks import PackedPretrainer, Pretrainer
from keras_plm.text import (
    Epochs,
    MaskedPairs,
    PackedPassages,
    SentencePairs,
    TokenizedCorpus,
    Tokenizer,
    WordPieceTokenizer,
    learn_vocabulary,
    read_documents,
)
from keras_plm.text.streamed_rows import Rows
from keras_plm.text.token_shards import Level
from keras_plm.training import CrossEntropy, Lamb

from .pretraining_recipe import PretrainingRecipe
from .recipe import named_size


@dataclass(frozen=True, kw_only=True)
class Pretrain(PretrainingRecipe[Pretrainer]):
    """Pre-train an encoder on raw text by masked-language modeling and next-sentence prediction.

    If a training was interrupted, start it again with the same settings. It resumes from the last checkpoint and ends
    with the same weights.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: a pattern matches no file.
        ValueError: the corpus is empty, a file is not UTF-8, or a field is out of range.
        RuntimeError: the loss diverged again and again; the last checkpoint is kept.

    Example:
        >>> encoder = Pretrain(  # doctest: +SKIP
        ...     corpus="books/*.txt", config=plm.MINI, steps=20_000, save_to="saved_models/mini"
        ... ).run()

    Source: Devlin et al. 2019, §3.1 and appendix A.2, https://arxiv.org/abs/1810.04805
    """

    title: ClassVar[str] = "Pre-trained encoder"
    family: ClassVar[str] = "encoder"
    unit: ClassVar[str] = "documents"
    level: ClassVar[Level] = "sentences"

    # sizes of a new encoder, such as plm.MINI; on the command line a name, or a JSON file of fields
    config: Annotated[EncoderConfig, named_size(SIZES)] = SMALL
    start_from: str | None = None  # model to continue, with its tokenizer: a folder or "hf:…"; missing heads are added
    vocabulary: str | None = None  # a vocab.txt; None learns a vocabulary from the corpus
    lowercase: bool = True  # lower-case the text and strip accents
    mask_rate: float = 0.15  # fraction of the tokens to predict
    whole_word: bool = True  # whole-word masking: mask either all tokens of a word or none
    next_sentence: bool = True  # False: masked tokens only, on single texts
    pack: bool = False  # several short documents or pairs share a row, but do not see each other
    inside_rate: float = 0.0  # fraction of NotNext pairs whose second text is from the same document, which is harder
    optimizer_name: Literal["adamw", "lamb"] = "adamw"  # lamb for batches of thousands of examples
    validation_steps: int = 50  # batches of a validation; they are always the same

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start_from is not None and (self.vocabulary is not None or not self.lowercase):
            raise ValueError("the model of start_from has its own vocabulary: leave out vocabulary and lowercase")
        if self.vocabulary is not None and self.vocabulary_size is not None:
            raise ValueError(
                "vocabulary_size is for a learned vocabulary, but vocabulary names a file: give one of them"
            )
        if self.optimizer_name == "lamb" and (self.loss_scaling or self.momentum_dtype != "float32"):
            raise ValueError("precision='mixed_float16' (loss scaling) and momentum_dtype are for adamw, not for lamb")
        if not 0 < self.mask_rate < 1:
            raise ValueError(f"mask_rate={self.mask_rate}; it is a fraction of the tokens, in (0, 1)")
        if not 0 <= self.inside_rate <= 1:
            raise ValueError(f"inside_rate={self.inside_rate}; it is a fraction of the pairs, in [0, 1]")

    def read(self, patterns: str | tuple[str, ...]) -> Iterator[list[str]]:
        """Read the documents of text files: their sentences."""
        return read_documents(patterns if isinstance(patterns, str) else list(patterns))

    def new_tokenizer(self, texts: Iterable[list[str]]) -> Tokenizer:
        """The vocabulary of the file, or one that is learned from the documents."""
        if self.vocabulary is not None:
            return WordPieceTokenizer.from_file(self.vocabulary, self.lowercase)
        tokens = learn_vocabulary(
            itertools.chain.from_iterable(texts),
            self.vocabulary_size or self.config.vocabulary_size,
            self.lowercase,
            progress=self.verbose == 1,
        )
        return WordPieceTokenizer(tokens, self.lowercase)

    def check_prepared(self) -> None:
        """Raise ValueError if there are settings for the tokens of a new model: a prepared corpus has its own."""
        super().check_prepared()
        if self.vocabulary is not None or not self.lowercase:
            raise ValueError("the prepared corpus has its own vocabulary: leave out vocabulary and lowercase")

    def new_model(self, tokenizer: Tokenizer) -> Pretrainer:
        """An encoder with both heads."""
        has_pooler = self.config.has_pooler and self.next_sentence  # only the next-sentence head trains it
        config = dataclasses.replace(self.config, vocabulary_size=len(tokenizer), has_pooler=has_pooler)
        return Pretrainer(config, tokenizer, next_sentence=self.next_sentence)

    def pretrained(self) -> Pretrainer:
        """The model of `start_from`; missing heads are added."""
        model = load(self.start_from or "")
        if model.tokenizer is None:
            raise ValueError(f"{self.start_from} was saved without a tokenizer")
        if isinstance(model, Pretrainer):
            return model
        encoder = model if isinstance(model, Encoder) else model.encoder
        return Pretrainer(encoder.config, model.tokenizer, self.next_sentence, encoder)

    def trained(self, model: Pretrainer) -> keras.Model:
        """The model, or with `pack` its form for rows of several passages."""
        return PackedPretrainer(model) if self.pack else model

    def rows(self, model: Pretrainer, corpus: TokenizedCorpus) -> Rows:
        """Passages of the documents."""
        if model.next_sentence:
            _warn_of_short_documents(corpus)
        rows = self._pairs(model, corpus, self.inside_rate)
        if not self.pack:
            return rows
        return Epochs(PackedPassages(rows.pairs, rows.tokenizer, self.mask_rate, self.whole_word, rows.next_sentence))

    def validation_rows(self, model: Pretrainer, texts: Iterable[list[str]]) -> MaskedPairs:
        """Passages whose NotNext pairs are from different documents, as in the paper."""
        return self._pairs(model, TokenizedCorpus.from_documents(texts, model.needs_tokenizer()), inside_rate=0.0)

    def _pairs(self, model: Pretrainer, corpus: TokenizedCorpus, inside_rate: float) -> MaskedPairs:
        tokenizer = model.needs_tokenizer()
        room = self.max_length - tokenizer.template.num_special(pair=True)
        pairs = SentencePairs(corpus.with_short_sentences(room), room, inside_rate=inside_rate)
        return MaskedPairs(pairs, tokenizer, self.mask_rate, self.whole_word, model.next_sentence)

    def optimizer(self, steps: int) -> Any:
        """AdamW or LAMB."""
        if self.optimizer_name == "adamw":
            return super().optimizer(steps)
        return Lamb(
            self.schedule(steps),
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm or None,
            **self.accumulation(),
        )

    def loss(self, model: Pretrainer) -> Any:
        """Cross-entropy of each head."""
        return {name: CrossEntropy() for name in model.output}

    def metrics(self, model: Pretrainer) -> Any:
        """The accuracy of each head."""
        return {name: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")] for name in model.output}

    def scores(self, model: Pretrainer, rows: Any, texts: list[list[str]]) -> dict[str, float]:
        """Loss and accuracy of each head, and the accuracy of the most frequent token."""
        found = super().scores(model, rows, texts)
        return found | {"masked_tokens_unigram_accuracy": _unigram_accuracy(self.validation_batches(rows))}

    def facts(self, model: Pretrainer, rows: Any) -> dict[str, Any]:
        """The size of the corpus, and what padding costs in packed rows."""
        if not self.pack:
            return {"passages": f"{len(rows):,}"}
        packed: PackedPassages = rows.rows
        padding = f"{packed.share_of_padding():.1%}, instead of {packed.share_of_padding(packed=False):.1%}"
        return {"passages": f"{len(packed.pairs):,} in {len(packed):,} rows", "padding in the rows": padding}

    def next_command(self, folder: str) -> str:
        """A command that fine-tunes the encoder."""
        return f"keras-plm classify --start-from {folder} --train train.tsv --save-to {folder}_classifier"


def _warn_of_short_documents(corpus: TokenizedCorpus) -> None:
    """Warn if most documents are a single sentence: next-sentence prediction then has too few IsNext pairs."""
    sentences = np.diff(corpus.documents)
    alone = int((sentences < 2).sum())
    if len(sentences) > 10 and alone > 0.5 * len(sentences):
        warnings.warn(
            f"{alone:,} of {len(sentences):,} documents are a single sentence, which has no next sentence to predict; "
            f"a blank line ends a document: remove the blank lines between the sentences of one text",
            stacklevel=2,
        )


def _unigram_accuracy(dataset: Any) -> float:
    """Accuracy of always predicting the most frequent masked token: the baseline that any model must beat."""
    pieces = [y["masked_tokens"].numpy()[w["masked_tokens"].numpy() > 0] for _, y, w in dataset]
    counts = np.bincount(np.concatenate(pieces))
    return float(counts.max() / counts.sum())
