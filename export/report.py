"""An HTML page about a model and its artifacts: scores, sizes, and the texts with different answers."""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_plm.evaluation import Evaluation
from keras_plm.models import check_free, whole_file

from .compare import Comparison
from .optional_imports import import_extra

_MOST_LABELS = 30  # a larger confusion matrix is not shown
_MOST_ROWS = 40  # rows in the table of disagreements
_BINS = 10  # bins of the calibration curve

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .8rem 0; font-size: 14px }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: right; vertical-align: top }
td:first-child, th:first-child, td.text { text-align: left } td.text { max-width: 42rem; overflow-wrap: anywhere }
.worse { color: #b00020 } .better { color: #00695c } h2 { margin-top: 2.2rem } .note { color: #666 }
"""


def write_report(comparisons: Comparison | Sequence[Comparison], path: str | Path, overwrite: bool = False) -> Path:
    """Write one self-contained HTML page about the artifacts of a model.

    One table shows the sizes, latencies and scores of all artifacts. For each artifact the page shows the change by
    class and by text length, the calibration curve, the confusion matrix and the worst disagreements with their texts.
    It also lists the operators and how many of them XNNPACK runs.

    Args:
        comparisons: results of `compare`, all on the same rows.
        path: the file of the page.
        overwrite: replace an existing file.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ImportError: matplotlib is not installed; it is the extra "plots".
        ValueError: there are no comparisons, or they are not all on the same rows.

    Example:
        >>> write_report([compare(reviews, file, "test.tsv") for file in files], "report.html")  # doctest: +SKIP
    """
    several = [comparisons] if isinstance(comparisons, Comparison) else list(comparisons)
    if not several:
        raise ValueError("no comparisons to report")
    first = several[0]
    for one in several:
        if (one.metric, one.lengths) != (first.metric, first.lengths):
            raise ValueError(
                f"{one.artifact} was compared on other examples than {first.artifact}: make a page for each"
            )
    check_free(path, overwrite)
    parts = ["<h1>Model and artifacts</h1>", _overview(several)]
    for one in several:
        parts += [f"<h2>{html.escape(_name(one))}</h2>", *_chapter(one)]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Artifacts</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, "utf-8")
    return Path(path)


def _name(one: Comparison) -> str:
    return f"{one.artifact} ({one.kind}, {one.quantization})"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]], text_columns: Sequence[int] = ()) -> str:
    def cell(content: Any, column: int) -> str:
        if isinstance(content, _Change):
            return f'<td class="{content.kind}">{content}</td>'
        return f"<td{' class=text' if column in text_columns else ''}>{html.escape(str(content))}</td>"

    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(cell(c, i) for i, c in enumerate(row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


class _Change(float):
    """A difference in points, with its sign and color."""

    @property
    def kind(self) -> str:
        return "worse" if self < -0.005 else "better" if self > 0.005 else ""

    def __str__(self) -> str:
        return f"{float(self):+.2f}"


def _overview(several: list[Comparison]) -> str:
    first = several[0]
    metric = first.metric or "score"
    rows: list[list[Any]] = [
        ["Keras", f"{first.keras_bytes / 1e6:.2f}", "", "", _number(first.keras_score), "", "", "", ""]
    ]
    for one in several:
        change = "" if one.keras_score is None or one.artifact_score is None else one.artifact_score - one.keras_score
        rows.append([
            _name(one), f"{one.artifact_bytes / 1e6:.2f}", f"{one.p50_ms:.2f}", f"{one.p95_ms:.2f}",
            _number(one.artifact_score), _Change(100 * change) if change != "" else "",
            "" if one.agreement is None else f"{one.agreement:.2%}", f"{one.largest_error:.2g}", one.truncated_rows,
        ])  # fmt: skip
    header = ["", "MB", "ms (median)", "ms (95 %)", metric, "points", "labels agree", "largest error", "truncated"]
    return _table(header, rows) + f'<p class="note">{first.rows} examples, one at a time.</p>'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _chapter(one: Comparison) -> list[str]:
    parts: list[str] = []
    keras, found = one.keras_evaluation, one.artifact_evaluation
    if keras is not None and found is not None:
        parts += [_by_class(keras, found), _by_length(one, keras, found)]
        if found.rows and "probability" in found.rows[0]:
            parts += [_calibration(keras, found), _confusions(found)]
        parts.append(_disagreements(keras, found))
    return [*parts, _operators(one)]


def _by_class(keras: Evaluation, found: Evaluation) -> str:
    if keras.details is None or found.details is None:
        return ""
    header, ours = keras.details
    if not ours:
        return ""
    numbers = [i for i, value in enumerate(ours[0]) if isinstance(value, float)]
    count = next(i for i, value in enumerate(ours[0]) if isinstance(value, int))
    columns = [header[0], header[count], *(f"{header[i]}{side}" for i in numbers for side in ("", ", points"))]
    theirs = {row[0]: row for row in found.details[1]}
    rows = [
        [row[0], row[count], *(c for i in numbers for c in (f"{there[i]:.4f}", _Change(100 * (there[i] - row[i]))))]
        for row in ours
        if (there := theirs.get(row[0])) is not None
    ]
    return f"<h3>By class</h3>{_table(columns, rows)}" if rows else ""


def _by_length(one: Comparison, keras: Evaluation, found: Evaluation) -> str:
    """The fraction of fully correct examples in each quarter of the rows, from the shortest to the longest."""
    if len(one.lengths) != len(keras.rows) or len(keras.rows) < 8 or _is_number(found):
        return ""
    right = [np.isin(np.arange(len(side.rows)), side.wrong, invert=True) for side in (keras, found)]
    rows = []
    for index in np.array_split(np.argsort(one.lengths, kind="stable"), 4):
        tokens = [one.lengths[i] for i in index]
        ours, theirs = (float(side[index].mean()) for side in right)
        rows.append(
            [f"{min(tokens)} to {max(tokens)} tokens", len(index), f"{theirs:.4f}", _Change(100 * (theirs - ours))]
        )
    return "<h3>By length</h3>" + _table(["length", "examples", "fully correct", "points"], rows)


def _calibration(keras: Evaluation, found: Evaluation) -> str:
    """The calibration curve: accuracy over predicted probability, for the model and the artifact."""
    figure = import_extra("matplotlib.figure", "plots").Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for side, name in ((keras, "Keras"), (found, "artifact")):
        sure = np.array([row["probability"] for row in side.rows])
        right = np.array([row["wanted"] == row["found"] for row in side.rows])
        bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
        there = [b for b in range(_BINS) if (bins == b).any()]
        error = sum(abs(right[bins == b].mean() - sure[bins == b].mean()) * (bins == b).mean() for b in there)
        points = [(sure[bins == b].mean(), right[bins == b].mean()) for b in there]
        axes.plot(*zip(*points, strict=True), marker="o", label=f"{name}: calibration error {100 * error:.1f} points")
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1)
    axes.set(xlabel="predicted probability", ylabel="accuracy", ylim=(0, 1.02))
    axes.legend(fontsize=8)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return f"<h3>Calibration</h3>{file.getvalue()[file.getvalue().index('<svg') :]}"


def _confusions(found: Evaluation) -> str:
    labels = sorted({row[side] for row in found.rows for side in ("wanted", "found")})
    if len(labels) > _MOST_LABELS:
        return ""
    counts = {(w, f): 0 for w in labels for f in labels}
    for row in found.rows:
        counts[row["wanted"], row["found"]] += 1
    rows = [[wanted, *(counts[wanted, label] for label in labels)] for wanted in labels]
    return "<h3>Confusion matrix of the artifact</h3>" + _table(["wanted", *labels], rows)


def _disagreements(keras: Evaluation, found: Evaluation) -> str:
    """Rows for which the model and the artifact give different answers.

    The order depends on the answers. With probabilities, the artifact's most certain answer comes first. With numbers,
    the largest difference comes first. Otherwise, the artifact's worst error comes first.
    """
    pairs = [(k, f) for k, f in zip(keras.rows, found.rows, strict=True) if k["found"] != f["found"]]
    if _is_number(found):
        pairs.sort(key=lambda pair: -abs(pair[0]["found"] - pair[1]["found"]))
    elif "probability" in found.rows[0]:
        pairs.sort(key=lambda pair: -pair[1]["probability"])
    else:
        place = {id(found.rows[row]): i for i, row in enumerate(found.wrong)}
        pairs.sort(key=lambda pair: place.get(id(pair[1]), len(place)))
    if not pairs:
        return "<h3>Disagreements</h3><p>None.</p>"
    given = [name for name in pairs[0][0] if name not in ("wanted", "found", "probability", "start", "score")]
    rows = [
        [*(_text(k[name]) for name in given), _text(k["wanted"]), _text(k["found"]), _text(f["found"]),
         f.get("probability", "")]
        for k, f in pairs[:_MOST_ROWS]
    ]  # fmt: skip
    header = [*given, "wanted", "Keras", "artifact", "probability"]
    title = f"<h3>Disagreements: {len(pairs)} of {len(keras.rows)} examples</h3>"
    return title + _table(header, rows, text_columns=range(len(given) + 3))


def _is_number(evaluation: Evaluation) -> bool:
    return bool(evaluation.rows) and isinstance(evaluation.rows[0]["found"], float)


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _operators(one: Comparison) -> str:
    if not one.operators:
        return ""
    rows = [[name, count, one.delegated.get(name, 0)] for name, count in one.operators.most_common()]
    rows.append(["all", one.operators.total(), one.delegated.total()])
    return "<h3>Operators</h3>" + _table(["operator", "number", "run by XNNPACK"], rows)
