"""A pre-trained encoder and a table of labeled texts → a classifier of texts or of pairs.

Input    TSV, CSV or JSONL files with a column of texts (two for pairs) and a column of labels or scores
Output   a folder with a Classifier, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm classify --start-from saved_models/mini --train train.tsv --save-to saved_models/reviews
Time     MINI, 7,000 sentences of 25 tokens: about 25 seconds an epoch on 2 cores with AVX-512 BF16
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras_plm.models import Encoder
from keras_plm.tasks import CLASSIFICATION, Classifier, Columns, Pooling, Task
from keras_plm.tasks.classification.task import ClassWeights
from keras_plm.text import LabeledTexts, TextRows
from keras_plm.text.readers.labeled_texts import Kind

from .fine_tune import FineTune


@dataclass(frozen=True, kw_only=True)
class Classify(FineTune[Classifier]):
    """Fine-tune an encoder to give each text, or pair of texts, a label, several labels or a score.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no encoder at `encoder`, or a pattern matches no file.
        ValueError: a column is missing, a label is empty, a label of `validation` or `test` is unknown, or a score is
            not a finite number.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> reviews = Classify(  # doctest: +SKIP
        ...     start_from="saved_models/mini", train="train.tsv", validation="dev.tsv",
        ...     save_to="saved_models/reviews",
        ... ).run()
        >>> reviews.predict_labels(["A quiet, lovely film."])  # doctest: +SKIP
        ['positive']

    Source: Devlin et al. 2019, §4.1, https://arxiv.org/abs/1810.04805
    """

    task: ClassVar[Task] = CLASSIFICATION

    text_column: str = "text"  # column of the text, or of the first text of a pair
    second_column: str | None = None  # column of the second text of a pair
    # column of the labels or scores; with multi_label also several columns of 0 and 1
    label_column: str | tuple[str, ...] = "label"
    regression: bool = False  # predict a number instead of a label
    multi_label: bool = False  # several labels for each text: a JSON list, or names separated by semicolons
    pooling: Pooling = "cls"  # vector of the text: the pooled first token (cls), or the mean or max of all tokens
    class_weights: ClassWeights = "equal"  # balanced: rare labels count as much as frequent ones

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.label_column, str) and not self.multi_label:
            raise ValueError(f"label_column={self.label_column}: several label columns need multi_label=True")
        if self.regression and self.multi_label:
            raise ValueError("regression and multi_label exclude each other: a score, or labels")
        if self.class_weights == "balanced" and (self.regression or self.multi_label):
            raise ValueError("class_weights='balanced' needs one label a text")

    @property
    def needs_pooler(self) -> bool:
        """Whether the head reads the pooled first token. If the pre-trained model has no pooler, a new one is made."""
        return self.pooling == "cls"

    @property
    def columns(self) -> Columns:
        """The fields whose names end in `_column`."""
        return Columns(self.text_column, self.second_column, self.label_column)

    def read(self, source: Any) -> LabeledTexts:
        """Read the examples from these columns of the tables."""
        kind: Kind = "score" if self.regression else "labels" if self.multi_label else "label"
        return CLASSIFICATION.read(source, self.columns, self.on_bad_row, kind=kind)

    def make(self, encoder: Encoder, examples: LabeledTexts) -> Classifier:
        """A classifier. Its labels come from `examples`; with several label columns, they are all of these columns."""
        if not self.regression and not examples.counts():
            raise ValueError(f"{examples.source}: no row has a label in column {self.label_column!r}")
        labels = None if isinstance(self.label_column, str) else list(self.label_column)
        return CLASSIFICATION.build(encoder, examples, self.pooling, self.regression, self.multi_label, labels)

    def rows(self, model: Classifier, examples: LabeledTexts) -> TextRows:
        """Texts with their labels, and with weights if `class_weights` is "balanced"."""
        return CLASSIFICATION.rows(model, examples, self.max_length, self.class_weights)
