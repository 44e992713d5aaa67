"""A pre-trained encoder and a table of texts with their summaries → a model that selects the important sentences.

Input    TSV, CSV or JSONL files with a column of texts and a column of summaries
Output   a folder with a Classifier of sentences, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm summarize-extractive --start-from saved_models/mini --train train.tsv --save-to saved_models/short
"""

from dataclasses import dataclass
from statistics import mean
from typing import Any, ClassVar

from keras_plm.evaluation import Evaluation
from keras_plm.evaluation.text_scores import needs_text_scores, rouge_scores
from keras_plm.models import Encoder
from keras_plm.tasks import CLASSIFICATION, Classifier, Columns, Pooling, Task, extract_summaries
from keras_plm.text import Completions, LabeledTexts, TextRows, sentences_of

from .fine_tune import FineTune


@dataclass(frozen=True, kw_only=True)
class SummarizeExtractive(FineTune[Classifier]):
    """Fine-tune an encoder to select the sentences of a text that make a good summary (extractive summarization).

    The encoder reads each sentence with its text, and learns how much the sentence has in common with the summary: the
    mean of the F-scores of ROUGE-1 and ROUGE-2, in [0, 1]. `plm.tasks.extract_summaries` selects sentences. The scores
    on held-out data are those of the selected sentences; `plm.evaluate` would compare the numbers of single sentences.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no encoder at `start_from`, or a pattern matches no file.
        ImportError: the extra `text-scores` is not installed.
        ValueError: a column is missing, or a text has no sentence.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> extractor = SummarizeExtractive(  # doctest: +SKIP
        ...     start_from="saved_models/mini", train="train.jsonl", num_sentences=1, save_to="saved_models/extractor"
        ... ).run()
        >>> plm.tasks.extract_summaries(extractor, ["A text. With some sentences."], 1)  # doctest: +SKIP
        ['A text.']

    Source: Liu & Lapata 2019, §3.1, https://arxiv.org/abs/1908.08345
    Differs: see `plm.tasks.extract_summaries`. The target is a score of each sentence alone, not the greedily best set.
    """

    task: ClassVar[Task] = CLASSIFICATION

    text_column: str = "text"  # column of the texts; a line break ends a sentence
    summary_column: str = "summary"  # column of the summaries
    num_sentences: int = 3  # sentences of a summary, for the scores on held-out data
    pooling: Pooling = "cls"  # vector of the pair: the pooled first token (cls), or the mean or max of all tokens
    max_length: int = 256  # longest row in tokens: a sentence and its text, which is truncated

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least_one("num_sentences")
        needs_text_scores()

    @property
    def needs_pooler(self) -> bool:
        """Whether the head reads the pooled first token."""
        return self.pooling == "cls"

    @property
    def columns(self) -> Columns:
        """The fields `text_column` and `summary_column`."""
        return Columns(text=self.text_column, label=self.summary_column)

    def read(self, source: Any) -> Completions:
        """Read texts and summaries."""
        return Completions.read(source, self.text_column, self.summary_column, on_bad_row=self.on_bad_row)

    def make(self, encoder: Encoder, examples: Completions) -> Classifier:
        """A model without labels, for pairs."""
        return CLASSIFICATION.build(encoder, _scored(examples.head(1)), self.pooling, regression=True)

    def rows(self, model: Classifier, examples: Completions) -> TextRows:
        """Each sentence with its text, and what it has in common with the summary."""
        return CLASSIFICATION.rows(model, _scored(examples), self.max_length)

    def next_command(self, folder: str) -> str:
        """A command that selects sentences."""
        return f'keras-plm extract --model {folder} "A text. With some sentences."'

    def evaluate(self, model: Classifier, examples: Completions) -> Evaluation:
        """ROUGE of the selected sentences, and of the first sentences."""
        texts, wanted = examples.prompts or [], examples.completions
        found = extract_summaries(model, texts, self.num_sentences, self.batch_size)
        first = [" ".join(sentences_of(text)[: self.num_sentences]) for text in texts]
        of_rows, of_first = rouge_scores(found, wanted), rouge_scores(first, wanted)
        scores = {name: 100 * mean(row[name] for row in of_rows) for name in of_rows[0]}
        scores |= {f"{name}_of_first_sentences": 100 * mean(row[name] for row in of_first) for name in of_first[0]}
        rows = [{"text": text, "wanted": w, "found": f} for text, w, f in zip(texts, wanted, found, strict=True)]
        worst = sorted(range(len(rows)), key=lambda row: of_rows[row]["rouge1"])
        return Evaluation(scores, rows, [row for row in worst if of_rows[row]["rouge1"] < 1])


def _scored(examples: Completions) -> LabeledTexts:
    """The sentences of each text, with the text and the score of the sentence."""
    first, second, values = [], [], []
    for number, (text, summary) in enumerate(zip(examples.prompts or [], examples.completions, strict=True), start=1):
        sentences = sentences_of(text)
        if not sentences:
            raise ValueError(f"{examples.source}: the text of row {number} has no sentence")
        found = rouge_scores(sentences, [summary] * len(sentences))
        first += sentences
        second += [text] * len(sentences)
        values += [(score["rouge1"] + score["rouge2"]) / 2 for score in found]
    return LabeledTexts(examples.source, first, second, values)
