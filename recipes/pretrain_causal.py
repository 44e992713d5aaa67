"""Raw text → a pre-trained decoder, by predicting each next token.

Input    text files, each of them one text; or a .tsv, .csv or .jsonl file with one text per row
Output   a folder with a TextGenerator, its tokenizer, recipe, history and card
Command  keras-plm pretrain-causal --corpus 'books/*.txt' --config gpt-mini --steps 5000 --save-to saved_models/writer
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import tensorflow as tf

from keras_plm.config import DECODER_SIZES, GPT_MINI, DecoderConfig
from keras_plm.tasks import TextGenerator
from keras_plm.text import PackedTexts, TokenizedCorpus, Tokenizer, learn_byte_pairs
from keras_plm.training import CrossEntropy

from .pretraining_recipe import PretrainingRecipe
from .pretraining_texts import read_corpus
from .recipe import named_size


@dataclass(frozen=True, kw_only=True)
class PretrainCausal(PretrainingRecipe[TextGenerator]):
    """Pre-train a decoder on raw text: causal language modeling, GPT's objective.

    Short texts share a row, but do not see each other. If a training was interrupted, start it again with the same
    settings. It resumes from the last checkpoint and ends with the same weights.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: a pattern matches no file.
        ValueError: the corpus is empty, a file is not UTF-8, or a field is out of range.
        RuntimeError: the loss diverged again and again; the last checkpoint is kept.

    Example:
        >>> writer = PretrainCausal(  # doctest: +SKIP
        ...     corpus="books/*.txt", config=plm.GPT_MINI, steps=5_000, save_to="saved_models/writer"
        ... ).run()
        >>> writer.generate(["The house"])  # doctest: +SKIP

    Source: Radford et al. 2018, §3.1, https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
    """  # noqa: E501

    title: ClassVar[str] = "Pre-trained decoder"
    family: ClassVar[str] = "decoder"

    # paths or globs of text files (one text each) or tables (one text per row), or the folder of a prepared corpus
    corpus: str | tuple[str, ...]
    text_column: str = "text"  # column of the texts in tables
    # sizes of a new model, such as plm.GPT_MINI; on the command line a name, or a JSON file of fields
    config: Annotated[DecoderConfig, named_size(DECODER_SIZES)] = GPT_MINI
    start_from: str | None = None  # model to continue, with its tokenizer: a folder, "hf:…" or a .gguf file
    max_length: int = 256  # row length in tokens; longer texts continue in other rows
    validation_steps: int = 20  # batches of a validation during the training; at the end, all texts are scored
    learning_rate: float = 1e-3  # peak learning rate, after the warm-up
    weight_decay: float = 0.1  # weight decay of AdamW; biases and normalization weights are not decayed

    def read(self, patterns: str | tuple[str, ...]) -> Iterator[str]:
        """Read the texts of text files and tables."""
        return read_corpus(patterns, self.text_column)

    def new_tokenizer(self, texts: Iterable[str]) -> Tokenizer:
        """Learn byte pairs from the texts."""
        return learn_byte_pairs(texts, self.vocabulary_size or self.config.vocabulary_size, progress=self.verbose == 1)

    def new_model(self, tokenizer: Tokenizer) -> TextGenerator:
        """A decoder with its head."""
        return TextGenerator(dataclasses.replace(self.config, vocabulary_size=len(tokenizer)), tokenizer)

    def pretrained(self) -> TextGenerator:
        """The model of `start_from`."""
        return self.loaded(TextGenerator)

    def rows(self, model: TextGenerator, corpus: TokenizedCorpus) -> PackedTexts:
        """Texts in rows of fixed length."""
        return PackedTexts(model.with_ends(corpus.texts()), self.max_length)

    def loss(self, model: TextGenerator) -> Any:
        """Cross-entropy of the next token."""
        return CrossEntropy()

    def scores(self, model: TextGenerator, rows: Any, texts: list[str]) -> dict[str, float]:
        """Loss, perplexity and bits per byte of all held-out texts."""
        return _scores(model, rows, self.batch_size, texts)

    def facts(self, model: TextGenerator, rows: Any) -> dict[str, Any]:
        """The size of the corpus, and what padding costs."""
        return {"tokens": f"{rows.num_targets:,}", "padding in the rows": f"{rows.share_of_padding:.1%}"}

    def next_command(self, folder: str) -> str:
        """A command that writes a text."""
        return f'keras-plm generate --model {folder} "The"'


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
