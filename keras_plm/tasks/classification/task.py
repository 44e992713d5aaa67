"""Classification: one label, several labels or a score for a text or a pair of texts."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from keras_plm.evaluation import Evaluation, confusion, correlations, label_scores, multi_label_scores
from keras_plm.models import Encoder
from keras_plm.tasks import pooled_string_graph
from keras_plm.tasks.columns import Columns
from keras_plm.tasks.pooling import Pooling
from keras_plm.tasks.registry import register
from keras_plm.tasks.task import Serve, Settings, Task
from keras_plm.text import LabeledTexts, OnBadRow, TextRows, distinct_labels, label_ids, label_rows
from keras_plm.text.readers.labeled_texts import Kind
from keras_plm.training import CrossEntropy, Pearson

from .keras_model import Classifier
from .text_methods import ClassifierMethods

ClassWeights = Literal["equal", "balanced"]
_MULTI_LABEL = "multi_label_classification"  # the name in Transformers


class ClassificationTask(Task[ClassifierMethods, Classifier, LabeledTexts]):
    """See `Task`; the examples are `LabeledTexts`."""

    name = "classification"
    model, methods, examples = Classifier, ClassifierMethods, LabeledTexts
    labels_optional = True
    takes_pairs = True
    can_augment = True
    predicts_scores = True
    setting_types = {"labels": list | None, "multi_label": bool, "pairs": bool | None}
    shared_settings = ("labels", "multi_label")
    peft_type = "SEQ_CLS"

    def read(
        self,
        source: Any,
        columns: Columns,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        model: ClassifierMethods | None = None,
        kind: Kind = "label",
    ) -> LabeledTexts:
        """Read examples from the columns of a table. Without a model, `kind` says what the label column contains."""
        if model is not None:
            kind = "score" if model.labels is None else "labels" if model.multi_label else "label"
        return LabeledTexts.read(source, columns.text, columns.second, columns.label, limit, kind, on_bad_row)

    def build(
        self,
        encoder: Encoder,
        examples: LabeledTexts,
        pooling: Pooling = "cls",
        regression: bool = False,
        multi_label: bool = False,
        labels: Sequence[str] | None = None,
    ) -> Classifier:
        """A classifier with the given labels, or with the labels of these examples; without labels for a regression."""
        if not regression and labels is None:
            labels = distinct_labels(list(examples.counts()))
            if not labels:
                raise ValueError(f"{examples.source}: no row has a label")
        pairs = examples.second is not None
        return Classifier(encoder.config, labels, encoder.tokenizer, encoder, pooling, multi_label, pairs)

    def rows(
        self, model: Classifier, examples: LabeledTexts, max_length: int, class_weights: ClassWeights = "equal"
    ) -> TextRows:
        """Tokenized texts with their targets: label ids, a 0 or 1 for each label, or scores.

        Args:
            model: the model; its labels define the ids.
            examples: texts or pairs.
            max_length: longest row in tokens.
            class_weights: "balanced": rare labels count as much as frequent ones.
        """
        weights = None
        if model.labels is None:
            targets = np.array(examples.scores(), "float32")[:, None]
        elif model.multi_label:
            targets = _several_hot(examples, model.labels).astype("float32")
        else:
            targets = np.array(label_ids(examples.values, model.labels, examples.source), "int32")
            if class_weights == "balanced":
                counts = np.bincount(targets, minlength=len(model.labels))
                weights = (len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1)))[targets]
        tokenizer = model.needs_tokenizer()
        return TextRows.from_texts(tokenizer, examples.first, examples.second, targets, max_length, weights)

    def loss(self, model: Classifier) -> Any:
        """Cross-entropy; binary cross-entropy for several labels; mean squared error for regression."""
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

    def evaluate(self, model: ClassifierMethods, examples: LabeledTexts, batch_size: int = 32) -> Evaluation:
        """Accuracy, macro-F1 and Matthews correlation; F1 for several labels; correlations for regression."""
        logits = model.predict_logits(examples.first, examples.second, batch_size=batch_size)
        if model.labels is None:
            return _evaluated_scores(examples, logits[:, 0])
        probabilities = model.probabilities(logits)
        return (_evaluated_sets if model.multi_label else _evaluated_labels)(examples, model.labels, probabilities)

    def with_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> ClassifierMethods:
        """A classifier that returns these outputs instead of running a model."""
        return _Recorded(settings, self.from_outputs(settings, arrays))

    def lines(
        self, model: ClassifierMethods, first: list[str], second: list[str] | None, question: str | None = None
    ) -> Iterator[str]:
        """Lines with label, probability and text; for several labels, all of them; for regression, score and text."""
        if model.labels is None:
            for text, score in zip(first, model.predict_logits(first, second)[:, 0], strict=True):
                yield f"{score:.4f}\t{text}"
            return
        for text, row in zip(first, model.predict_probabilities(first, second), strict=True):
            if model.multi_label:
                found = [f"{label} {p:.4f}" for label, p in zip(model.labels, row, strict=True) if p >= 0.5]
                yield f"{'; '.join(found)}\t{text}"
            else:
                yield f"{model.labels[row.argmax()]}\t{row.max():.4f}\t{text}"

    def arrays(self, model: ClassifierMethods, first: list[str], second: list[str] | None) -> np.ndarray:
        """Probabilities, (rows, C), or scores, (rows, 1)."""
        predict = model.predict_logits if model.labels is None else model.predict_probabilities
        return predict(first, second)

    def output_names(self, settings: Settings) -> list[str]:
        """`score` (B, 1) for regression, otherwise `probabilities` (B, C)."""
        return ["score"] if settings["labels"] is None else ["probabilities"]

    def to_outputs(self, settings: Settings, outputs: Any) -> dict[str, Any]:
        """Convert logits to probabilities; scores are not changed."""
        if settings["labels"] is None:
            return {"score": outputs}
        return {"probabilities": tf.sigmoid(outputs) if settings["multi_label"] else tf.nn.softmax(outputs)}

    def from_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Convert probabilities to logits; scores are not changed."""
        if settings["labels"] is None:
            return arrays["score"]
        logits = np.log(np.maximum(arrays["probabilities"], 1e-30))
        return logits - np.log(np.maximum(1 - arrays["probabilities"], 1e-30)) if settings["multi_label"] else logits

    def num_outputs(self, settings: Settings) -> int:
        """C, or 1 for regression."""
        return 1 if settings["labels"] is None else len(settings["labels"])

    def agreement(self, settings: Settings, found: list[dict], wanted: list[dict]) -> float | None:
        """The fraction of rows with the same label or labels; None for scores."""
        if settings["labels"] is None:
            return None
        both = [(f["probabilities"], w["probabilities"]) for f, w in zip(found, wanted, strict=True)]
        if settings["multi_label"]:
            return float(np.mean([((f >= 0.5) == (w >= 0.5)).all() for f, w in both]))
        return float(np.mean([f.argmax(-1) == w.argmax(-1) for f, w in both]))

    def string_function(
        self, model: Classifier, serve: Serve, max_length: int, pairs: bool
    ) -> tuple[Callable, list[str]]:
        """The function returns the outputs, and `label` (B,) if each text has one label."""
        if model.labels is None or model.multi_label:
            return pooled_string_graph.pooled_function(model, serve, max_length, pairs)
        labels = tf.constant(model.labels)

        def named(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = serve(**inputs)
            return outputs | {"label": tf.gather(labels, tf.argmax(outputs["probabilities"], -1))}

        return pooled_string_graph.pooled_function(model, named, max_length, pairs)

    def wrong_strings(
        self, model: Classifier, given: dict[str, list[str]], found: dict[str, np.ndarray], max_length: int
    ) -> str | None:
        """Also checks that each label belongs to the highest probability."""
        problem = super().wrong_strings(model, given, found, max_length)
        if problem is None and "label" in found and model.labels is not None:
            named = [model.labels[i] for i in found["probabilities"].argmax(-1)]
            if [label.decode() for label in found["label"]] != named:
                return "a label does not belong to the highest probability"
        return problem

    def task_library_problem(self, settings: Settings, length: int | None) -> str | None:
        """Both libraries support single-label classifiers only."""
        takes = settings["labels"] is not None and not settings["multi_label"]
        return None if takes else super().task_library_problem(settings, length)

    def from_hugging_face(self, theirs: dict[str, Any], labels: list[str] | None) -> dict[str, Any]:
        """The labels; their `problem_type` says whether a text may have several."""
        several = labels is not None and theirs.get("problem_type") == _MULTI_LABEL
        return {"labels": labels} | ({"multi_label": True} if several else {})

    def to_hugging_face(self, model: Classifier) -> dict[str, Any]:
        """The labels and the `problem_type`. Raises for `pooling` over all tokens, which Transformers does not have."""
        if model.pooling != "cls":
            raise ValueError(
                "Transformers' classifiers read the first token, but this one has pooling="
                f"{model.pooling!r}. Train with pooling='cls', or write only the encoder: to_hugging_face(plm.Embedder("
                "model.config, model.tokenizer, model.pooling, encoder=model.encoder), folder), and keep "
                "the head in a folder written by plm.save"
            )
        if model.labels is None:
            return {"problem_type": "regression", "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        return super().to_hugging_face(model) | ({"problem_type": _MULTI_LABEL} if model.multi_label else {})


class _Recorded(ClassifierMethods):
    """A classifier whose logits are already known."""

    def __init__(self, settings: Settings, logits: np.ndarray) -> None:
        self.labels, self.multi_label = settings["labels"], settings["multi_label"]
        self.logits = logits

    def predict_logits(self, *texts: Any, **options: Any) -> np.ndarray:
        return self.logits


def _evaluated_labels(examples: LabeledTexts, labels: list[str], probabilities: np.ndarray) -> Evaluation:
    wanted = np.array(label_ids(examples.values, labels, examples.source))
    found = probabilities.argmax(-1)
    rows = [
        {**texts, "wanted": labels[w], "found": labels[f], "probability": round(float(p[f]), 4)}
        for texts, w, f, p in zip(examples.given(), wanted, found, probabilities, strict=True)
    ]
    wrong = [int(i) for i in np.argsort(-probabilities.max(-1), kind="stable") if wanted[i] != found[i]]
    return Evaluation(label_scores(wanted, found, len(labels)), rows, wrong, _by_label(labels, wanted, found))


def _by_label(labels: list[str], wanted: np.ndarray, found: np.ndarray) -> tuple[list[str], list[list[Any]]]:
    table = confusion(wanted, found, len(labels))
    rows = []
    for i, label in enumerate(labels):
        right, total, claimed = table[i, i], table[i].sum(), table[:, i].sum()
        others = np.where(np.arange(len(labels)) == i, 0, table[i])
        taken_for = labels[int(others.argmax())] if others.max() else ""
        rows.append([label, int(total), right / max(total, 1), right / max(claimed, 1), taken_for])
    return ["label", "rows", "recall", "precision", "most often taken for"], rows


def _evaluated_sets(examples: LabeledTexts, labels: list[str], probabilities: np.ndarray) -> Evaluation:
    wanted = _several_hot(examples, labels)
    found = probabilities >= 0.5
    rows = [
        {**texts, "wanted": [labels[i] for i in np.flatnonzero(w)], "found": [labels[i] for i in np.flatnonzero(f)]}
        for texts, w, f in zip(examples.given(), wanted, found, strict=True)
    ]
    loss = np.abs(wanted - probabilities).max(-1)
    wrong = [int(i) for i in np.argsort(-loss, kind="stable") if (wanted[i] != found[i]).any()]
    return Evaluation(multi_label_scores(wanted, found), rows, wrong)


def _several_hot(examples: LabeledTexts, labels: list[str]) -> np.ndarray:
    """(rows, C) bool, True for each label of a text."""
    found = np.zeros((len(examples), len(labels)), bool)
    for row, ids in enumerate(label_rows(examples.label_lists(), labels, examples.source)):
        found[row, ids] = True
    return found


def _evaluated_scores(examples: LabeledTexts, found: np.ndarray) -> Evaluation:
    wanted = examples.scores()
    rows = [
        {**texts, "wanted": w, "found": round(float(f), 4)}
        for texts, w, f in zip(examples.given(), wanted, found, strict=True)
    ]
    worst = [int(i) for i in np.argsort(-np.abs(np.asarray(wanted) - found), kind="stable")]
    return Evaluation(correlations(wanted, found), rows, worst)


CLASSIFICATION = ClassificationTask()
register(CLASSIFICATION)
