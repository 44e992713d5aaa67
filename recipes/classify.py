"""A pre-trained encoder and a table of labelled texts → a classifier of texts or of pairs.

Input    TSV, CSV or JSONL files with a column of texts (two for pairs) and a column of labels or scores
Output   a folder with a Classifier, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm classify --encoder saved_models/mini --train train.tsv --save-to saved_models/reviews
Time     MINI, 7,000 sentences of 25 tokens: about 25 seconds an epoch on 2 cores with AVX-512 BF16
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from keras_plm.config import ModelConfig
from keras_plm.models import Classifier, Encoder, Pooling
from keras_plm.text import Examples, LabelledTexts, TextRows, distinct_labels, label_ids, label_rows
from keras_plm.text.readers.labelled_texts import Kind
from keras_plm.training import CrossEntropy, Pearson

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

    text_column: str = "text"  # the (first) text
    second_column: str | None = None  # the second text of a pair
    # labels, or scores; with multi_label also several columns of 0 and 1
    label_column: str | tuple[str, ...] = "label"
    regression: bool = False  # predict a number instead of a label
    multi_label: bool = False  # several labels a text: a JSON list, or names between semicolons
    pooling: Pooling = "cls"  # what stands for the text: its pooled first token, or the mean of all tokens
    class_weights: Literal["equal", "balanced"] = "equal"  # balanced: rare labels count as much as frequent ones

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.label_column, str) and not self.multi_label:
            raise ValueError(f"label_column={self.label_column}: one column for each label needs multi_label=True")
        if self.regression and self.multi_label:
            raise ValueError("regression and multi_label exclude each other: a score, or labels")
        if self.class_weights == "balanced" and (self.regression or self.multi_label):
            raise ValueError("class_weights='balanced' needs one label a text")

    def shape(self, config: ModelConfig) -> ModelConfig:
        """With a pooler, a new one where the pre-training had none, unless tokens are averaged."""
        return dataclasses.replace(super().shape(config), has_pooler=self.pooling == "cls")

    def read(self, source: Any) -> LabelledTexts:
        """Columns of tables."""
        kind: Kind = "score" if self.regression else "labels" if self.multi_label else "label"
        columns = self.text_column, self.second_column, self.label_column
        return LabelledTexts.read(source, *columns, kind=kind, on_bad_row=self.on_bad_row)

    def make(self, encoder: Encoder, examples: Examples) -> Classifier:
        """A classifier for the labels of these rows."""
        assert isinstance(examples, LabelledTexts)
        labels: list[str] | None = None
        if not self.regression:
            labels = distinct_labels(list(examples.counts()))
            if not labels:
                raise ValueError(f"{examples.source}: no row has a label in column {self.label_column!r}")
            if self.multi_label and not isinstance(self.label_column, str):
                labels = list(self.label_column)  # in the order of the columns, also one that no row has
        pairs = examples.second is not None
        return Classifier(encoder.config, labels, encoder.tokenizer, encoder, self.pooling, self.multi_label, pairs)

    def rows(self, model: Classifier, examples: Examples) -> TextRows:
        """Texts with the ids of their labels, with 0 and 1 for each label, or with their scores."""
        assert isinstance(examples, LabelledTexts)
        weights = None
        if model.labels is None:
            targets = np.array(examples.scores(), "float32")[:, None]
        elif model.multi_label:
            targets = np.zeros((len(examples), len(model.labels)), "float32")
            for row, ids in enumerate(label_rows(examples.label_lists(), model.labels, examples.source)):
                targets[row, ids] = 1
        else:
            targets = np.array(label_ids(examples.values, model.labels, examples.source), "int32")
            if self.class_weights == "balanced":
                counts = np.bincount(targets, minlength=len(model.labels))
                weights = (len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1)))[targets]
        tokenizer = model.needs_tokenizer()
        return TextRows.from_texts(tokenizer, examples.first, examples.second, targets, self.max_length, weights)

    def loss(self, model: Classifier) -> Any:
        """Cross-entropy, that of each label alone, or squared error."""
        if model.labels is None:
            return keras.losses.MeanSquaredError()
        return keras.losses.BinaryCrossentropy(from_logits=True) if model.multi_label else CrossEntropy()

    def metrics(self, model: Classifier) -> list[Any]:
        """Accuracy or correlation."""
        if model.labels is None:
            return [Pearson()]
        return [] if model.multi_label else [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def facts(self, model: Classifier) -> dict[str, Any]:
        """The labels."""
        return {"labels": "a score" if model.labels is None else ", ".join(model.labels)}
