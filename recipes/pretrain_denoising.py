"""Raw text → a pre-trained encoder-decoder, by restoring texts that noise has damaged.

Input    text files, each of them one text; or a .tsv, .csv or .jsonl file with one text per row
Output   a folder with a Seq2Seq, its tokenizer, recipe, history and card
Command  keras-plm pretrain-denoising --corpus 'books/*.txt' --steps 20000 --save-to saved_models/restorer
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args

import keras

from keras_plm.config import ENCODER_DECODER_SIZES, TRANSFORMER_TINY, EncoderDecoderConfig
from keras_plm.tasks import Seq2Seq
from keras_plm.text import MASK, SENTINELS, DenoisingRows, Noise, TokenizedCorpus, Tokenizer, learn_sentence_pieces
from keras_plm.training import CrossEntropy

from .pretraining_recipe import PretrainingRecipe
from .pretraining_texts import read_corpus
from .recipe import named_size


@dataclass(frozen=True, kw_only=True)
class PretrainDenoising(PretrainingRecipe[Seq2Seq]):
    """Pre-train an encoder-decoder on raw text: it restores spans that were removed, as T5 and BART do.

    Fine-tune it with `Translate` or `Summarize`. If a training was interrupted, start it again with the same settings.
    It resumes from the last checkpoint and ends with the same weights.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: a pattern matches no file.
        ValueError: the corpus is empty or shorter than a row, a file is not UTF-8, a field is out of range, or the
            vocabulary of `start_from` does not have the tokens of the noise.
        RuntimeError: the loss diverged again and again; the last checkpoint is kept.

    Example:
        >>> restorer = PretrainDenoising(  # doctest: +SKIP
        ...     corpus="books/*.txt", steps=20_000, save_to="saved_models/restorer"
        ... ).run()

    Source: Raffel et al. 2020, §3.1.4, https://arxiv.org/abs/1910.10683; Lewis et al. 2020, §2.2,
        https://arxiv.org/abs/1910.13461
    Differs: see `keras_plm.text.DenoisingRows`.
    """

    title: ClassVar[str] = "Pre-trained encoder-decoder"
    family: ClassVar[str] = "encoder-decoder"

    # paths or globs of text files (one text each) or tables (one text per row), or the folder of a prepared corpus
    corpus: str | tuple[str, ...]
    validation: str | tuple[str, ...] | None = None  # held-out texts; some rows of them are scored at every checkpoint
    text_column: str = "text"  # column of the texts in tables
    # sizes of a new model, such as plm.TRANSFORMER_TINY; on the command line a name, or a JSON file of fields
    config: Annotated[EncoderDecoderConfig, named_size(ENCODER_DECODER_SIZES)] = TRANSFORMER_TINY
    # spans: the decoder writes the removed spans (T5); infilling: it writes the whole text (BART)
    noise: Noise = "spans"
    noise_rate: float | None = None  # fraction of the tokens that is removed; None means 0.15 for T5, 0.3 for BART
    max_length: int = 128  # longest source and target in tokens; the texts are joined and cut into rows that fit
    learning_rate: float = 1e-3  # peak learning rate, after the warm-up

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise not in get_args(Noise):
            raise ValueError(f"noise={self.noise!r}; choose one of {', '.join(get_args(Noise))}")
        if self.static_shapes and self.noise == "infilling":
            raise ValueError("with noise='infilling', rows have different lengths: leave out static_shapes")
        if not 0 < self.rate < 1:
            raise ValueError(f"noise_rate={self.noise_rate}; it is a fraction of the tokens, in (0, 1)")

    @property
    def rate(self) -> float:
        """The fraction of the tokens that is removed."""
        return self.noise_rate if self.noise_rate is not None else {"spans": 0.15, "infilling": 0.3}[self.noise]

    def read(self, patterns: str | tuple[str, ...]) -> Iterator[str]:
        """Read the texts of text files and tables."""
        return read_corpus(patterns, self.text_column)

    def new_tokenizer(self, texts: Iterable[str]) -> Tokenizer:
        """Learn a SentencePiece model from the texts."""
        return learn_sentence_pieces(texts, self.vocabulary_size or self.config.vocabulary_size, SENTINELS, MASK)

    def new_model(self, tokenizer: Tokenizer) -> Seq2Seq:
        """An encoder-decoder with its head."""
        return Seq2Seq(dataclasses.replace(self.config, vocabulary_size=len(tokenizer)), tokenizer)

    def pretrained(self) -> Seq2Seq:
        """The model of `start_from`."""
        return self.loaded(Seq2Seq)

    def rows(self, model: Seq2Seq, corpus: TokenizedCorpus) -> DenoisingRows:
        """Rows of tokens whose noise is drawn for each batch."""
        return DenoisingRows(
            corpus.texts(),
            model.needs_tokenizer(),
            model.start_ids,
            model.end_ids[:1],
            self.max_length,
            self.noise,
            self.rate,
        )

    def loss(self, model: Seq2Seq) -> Any:
        """Cross-entropy of the next token of the decoder."""
        return CrossEntropy()

    def metrics(self, model: Seq2Seq) -> Any:
        """The accuracy of the next token."""
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def scores(self, model: Seq2Seq, rows: Any, texts: list[str]) -> dict[str, float]:
        """Loss, accuracy and perplexity of the tokens that the decoder writes."""
        found = super().scores(model, rows, texts)
        return found | {"perplexity": math.exp(min(found["loss"], 100.0))}

    def facts(self, model: Seq2Seq, rows: Any) -> dict[str, Any]:
        """The noise."""
        spans = f"{rows.num_tokens:,} tokens in rows of {rows.length}"
        return {"rows": spans, "noise": f"{self.noise}, {self.rate:.0%} of the tokens"}

    def next_command(self, folder: str) -> str:
        """A command that fine-tunes the model."""
        return f"keras-plm summarize --start-from {folder} --train train.tsv --save-to {folder}_summarizer"
