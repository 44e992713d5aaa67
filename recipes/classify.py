"""A pre-trained encoder and a table of labeled texts → a classifier of texts or of pairs.

Input    TSV, CSV or JSONL files with a column of texts (two for pairs) and a column of labels or scores
Output   a folder with a Classifier, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm classify --encoder saved_models/mini --train train.tsv --save-to saved_models/reviews
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
        FileNotFoundError: no encoder there, a pattern that matches no file.
        ValueError: a missing column, an empty label, an unknown one in `validation` or `test`, a score that is no
            finite number.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> reviews = Classify(  # doctest: +SKIP
        ...     encoder="saved_models/mini", train="train.tsv", validation="dev.tsv",
        ...     save_to="saved_models/reviews",
        ... ).run()
        >>> reviews.predict_labels(["A quiet, lovely film."])  # doctest: +SKIP
        ['positive']

    Source: Devlin et al. 2019, §4.1, https://arxiv.org/abs/1810.04805
    """

    task: ClassVar[Task] = CLASSIFICATION

    text_column: str = "text"  # the (first) text
    second_column: str | None = None  # the second text of a pair
    # labels, or scores; with multi_label also several columns of 0 and 1
    label_column: str | tuple[str, ...] = "label"
    regression: bool = False  # predict a number instead of a label
    multi_label: bool = False  # several labels a text: a JSON list, or names between semicolons
    pooling: Pooling = "cls"  # what stands for the text: its pooled first token, or mean or max of all tokens
    class_weights: ClassWeights = "equal"  # balanced: rare labels count as much as frequent ones

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.label_column, str) and not self.multi_label:
            raise ValueError(f"label_column={self.label_column}: one column for each label needs multi_label=True")
        if self.regression and self.multi_label:
            raise ValueError("regression and multi_label exclude each other: a score, or labels")
        if self.class_weights == "balanced" and (self.regression or self.multi_label):
            raise ValueError("class_weights='balanced' needs one label a text")

    @property
    def needs_pooler(self) -> bool:
        """With a pooler, a new one where the pre-training had none, unless all tokens are read."""
        return self.pooling == "cls"

    @property
    def columns(self) -> Columns:
        """The fields of that name."""
        return Columns(self.text_column, self.second_column, self.label_column)

    def read(self, source: Any) -> LabeledTexts:
        """Columns of tables."""
        kind: Kind = "score" if self.regression else "labels" if self.multi_label else "label"
        return CLASSIFICATION.read(source, self.columns, self.on_bad_row, kind=kind)

    def make(self, encoder: Encoder, examples: LabeledTexts) -> Classifier:
        """A classifier; of one column for each label the labels are in their order, also one that no row has."""
        if not self.regression and not examples.counts():
            raise ValueError(f"{examples.source}: no row has a label in column {self.label_column!r}")
        labels = None if isinstance(self.label_column, str) else list(self.label_column)
        return CLASSIFICATION.build(encoder, examples, self.pooling, self.regression, self.multi_label, labels)

    def rows(self, model: Classifier, examples: LabeledTexts) -> TextRows:
        """Texts with their labels, and weights where rare labels are to count as much as frequent ones."""
        return CLASSIFICATION.rows(model, examples, self.max_length, self.class_weights)
