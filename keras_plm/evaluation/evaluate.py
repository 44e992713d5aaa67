import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from keras_plm.models import Answering, Classifying, Embedding, Tagging
from keras_plm.text import Examples, LabelledTexts, Questions, TaggedSentences, label_ids, label_rows, tag_scheme

from .answers import answer_f1, answer_scores
from .correlation import correlations
from .entities import scores_by_label, tag_scores
from .labels import confusion, label_scores, multi_label_scores


@dataclass(frozen=True)
class Evaluation:
    """What a model answers to rows whose right answer is known, and how good that is.

    Attributes:
        scores: by name, the one that the field goes by first.
        rows: what was given, `wanted` and `found`, for each row, as JSON types.
        wrong: index of the rows that are not wholly right, the worst first.
        details: scores by label as (header, rows); None where there are none.
    """

    scores: dict[str, float]
    rows: list[dict[str, Any]]
    wrong: list[int]
    details: tuple[list[str], list[list[Any]]] | None = None

    @property
    def main(self) -> str:
        """Name of the first score."""
        return next(iter(self.scores))

    def predictions(self) -> str:
        """JSONL of all rows."""
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)

    def errors(self, limit: int = 200) -> str:
        """A Markdown page: the scores, those of each label, and the worst errors."""
        lines = ["# Errors", "", f"{len(self.wrong)} of {len(self.rows)} rows are not wholly right.", ""]
        lines += _table(["score", "value"], [[name, value] for name, value in self.scores.items()])
        if self.details is not None:
            lines += _table(*self.details)
        if self.wrong:
            shown = self.wrong[:limit]
            columns = list(self.rows[shown[0]])
            lines += [f"## The worst {len(shown)}", ""]
            lines += _table(["row", *columns], [[i + 1, *(self.rows[i][c] for c in columns)] for i in shown])
        return "\n".join(lines)


def evaluate(model: Any, examples: Examples, batch_size: int = 32) -> Evaluation:
    """Answer each row and score the answers by the metric of the field.

    | model | examples | scores |
    |---|---|---|
    | classifier | `LabelledTexts` | accuracy, macro-F1, Matthews; several labels: micro-F1, macro-F1, exact match |
    | classifier without labels | `LabelledTexts` | Pearson, Spearman, root mean squared error |
    | tagger | `TaggedSentences` | F1, precision and recall of entities, accuracy of tags |
    | question answerer | `Questions` | F1, exact match |
    | embedder | `LabelledTexts` of pairs with a score | Spearman and Pearson of the cosine |

    Args:
        model: a task model, or an exported artefact opened by `keras_plm.export.load_artifact`.
        examples: rows of the kind that the model is for.
        batch_size: rows at a time.

    Raises:
        TypeError: a model without a task, or examples of another task.
        ValueError: a label that the model does not know, with the row.
    """
    tasks: list[tuple[type, type, Any]] = [
        (Classifying, LabelledTexts, _classification),
        (Tagging, TaggedSentences, _tags),
        (Answering, Questions, _answers),
        (Embedding, LabelledTexts, _similarity),
    ]
    for kind, wanted, function in tasks:
        if isinstance(model, kind):
            if not isinstance(examples, wanted):
                raise TypeError(
                    f"a {type(model).__name__} is evaluated on {wanted.__name__}, not {type(examples).__name__}"
                )
            return function(model, examples, batch_size)
    raise TypeError(f"a {type(model).__name__} has no task to evaluate")


def _classification(model: Classifying, examples: LabelledTexts, batch_size: int) -> Evaluation:
    given = _texts(examples)
    logits = model.predict_logits(examples.first, examples.second, batch_size=batch_size)
    if model.labels is None:
        return _numbers(given, examples.scores(), logits[:, 0])
    probabilities = model.probabilities(logits)
    if model.multi_label:
        return _several(model, given, examples, probabilities)
    wanted = np.array(label_ids(examples.values, model.labels, examples.source))
    found = probabilities.argmax(-1)
    rows = [
        {**texts, "wanted": model.labels[w], "found": model.labels[f], "probability": round(float(p[f]), 4)}
        for texts, w, f, p in zip(given, wanted, found, probabilities, strict=True)
    ]
    wrong = [int(i) for i in np.argsort(-probabilities.max(-1), kind="stable") if wanted[i] != found[i]]
    return Evaluation(
        label_scores(wanted, found, len(model.labels)), rows, wrong, _by_label(model.labels, wanted, found)
    )


def _by_label(labels: list[str], wanted: np.ndarray, found: np.ndarray) -> tuple[list[str], list[list[Any]]]:
    table = confusion(wanted, found, len(labels))
    rows = []
    for i, label in enumerate(labels):
        right, total, claimed = table[i, i], table[i].sum(), table[:, i].sum()
        others = np.where(np.arange(len(labels)) == i, 0, table[i])
        taken_for = labels[int(others.argmax())] if others.max() else ""
        rows.append([label, int(total), right / max(total, 1), right / max(claimed, 1), taken_for])
    return ["label", "rows", "recall", "precision", "most often taken for"], rows


def _several(model: Classifying, given: list[dict], examples: LabelledTexts, probabilities: np.ndarray) -> Evaluation:
    labels = model.labels or []
    wanted = np.zeros(probabilities.shape, bool)
    for row, ids in enumerate(label_rows(examples.label_lists(), labels, examples.source)):
        wanted[row, ids] = True
    found = probabilities >= 0.5
    rows = [
        {**texts, "wanted": [labels[i] for i in np.flatnonzero(w)], "found": [labels[i] for i in np.flatnonzero(f)]}
        for texts, w, f in zip(given, wanted, found, strict=True)
    ]
    loss = np.abs(wanted - probabilities).max(-1)
    wrong = [int(i) for i in np.argsort(-loss, kind="stable") if (wanted[i] != found[i]).any()]
    return Evaluation(multi_label_scores(wanted, found), rows, wrong)


def _numbers(given: list[dict], wanted: Sequence[float], found: np.ndarray) -> Evaluation:
    rows = [
        {**texts, "wanted": w, "found": round(float(f), 4)} for texts, w, f in zip(given, wanted, found, strict=True)
    ]
    worst = [int(i) for i in np.argsort(-np.abs(np.asarray(wanted) - found), kind="stable")]
    return Evaluation(correlations(wanted, found), rows, worst)


def _similarity(model: Embedding, examples: LabelledTexts, batch_size: int) -> Evaluation:
    if examples.second is None:
        raise TypeError("an embedder is evaluated on pairs of texts with a score")
    wanted = np.array(examples.scores())
    found = model.similarities(examples.first, examples.second, batch_size)
    measured = correlations(wanted, found)
    rows = [
        {**texts, "wanted": float(w), "found": round(float(f), 4)}
        for texts, w, f in zip(_texts(examples), wanted, found, strict=True)
    ]
    # by rank: scores and cosines have different scales
    distance = np.abs(wanted.argsort().argsort() - found.argsort().argsort())
    worst = [int(i) for i in np.argsort(-distance, kind="stable")]
    return Evaluation({name: measured[name] for name in ("spearman", "pearson")}, rows, worst)


def _tags(model: Tagging, examples: TaggedSentences, batch_size: int) -> Evaluation:
    label_rows(examples.tags, model.labels, examples.source, "sentence")  # tags of another column are an error
    if tag_scheme(model.labels) == "plain":
        found = model.predict_tags(examples.words, batch_size=batch_size)
    else:
        # what `tag` says of the text: its words may be other ones than the file has, so both are cut at all punctuation
        words = [text.words for text in model.words_of(examples.texts())]
        tags = model.predict_tags(words, batch_size=batch_size)
        examples, found = examples.split(), replace(examples, words=words, tags=tags).split().tags
    rows = [
        {"words": words, "wanted": wanted, "found": tags}
        for words, wanted, tags in zip(examples.words, examples.tags, found, strict=True)
    ]
    mistakes = np.array([sum(a != b for a, b in zip(r["wanted"], r["found"], strict=True)) for r in rows])
    wrong = [int(i) for i in np.argsort(-mistakes, kind="stable") if mistakes[i]]
    measured = tag_scores(examples.tags, found, model.labels)
    details = None
    if "f1" in measured:
        by_label = scores_by_label(examples.tags, found)
        header = ["label", "f1", "precision", "recall", "support"]
        details = header, [[label, *(row[name] for name in header[1:])] for label, row in by_label.items()]
    return Evaluation(measured, rows, wrong, details)


def _answers(model: Answering, examples: Questions, batch_size: int) -> Evaluation:
    found = [a[0] for a in model.answer_all(examples.questions, examples.contexts, batch_size=batch_size)]
    wanted = [[text for text, _ in answers] for answers in examples.answers]
    rows: list[dict[str, Any]] = [
        {
            "id": i,
            "question": q,
            "wanted": list(dict.fromkeys(w)),
            "found": a.text,
            "start": a.start,
            "score": round(a.score, 4),
        }
        for i, q, w, a in zip(examples.ids, examples.questions, wanted, found, strict=True)
    ]
    overlap = np.array([max(answer_f1(w, r["found"]) for w in r["wanted"] or [""]) for r in rows])
    confidence = np.array([r["score"] for r in rows])
    wrong = [int(i) for i in np.lexsort((-confidence, overlap)) if overlap[i] < 1]
    return Evaluation(answer_scores(wanted, [a.text for a in found]), rows, wrong)


def _texts(examples: LabelledTexts) -> list[dict[str, Any]]:
    if examples.second is None:
        return [{"text": text} for text in examples.first]
    return [{"first": a, "second": b} for a, b in zip(examples.first, examples.second, strict=True)]


def _table(header: list[str], rows: list[list[Any]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return [*lines, ""]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")
