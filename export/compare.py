import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_plm.models import Classifier
from keras_plm.text import label_ids, read_rows, scores

from .proof import expected
from .runtime import Artifact
from .signature import example_rows, num_truncated


@dataclass(frozen=True)
class Comparison:
    """A Keras model beside its artefact, on the same rows.

    Attributes:
        artifact: path of the artefact.
        kind: its runtime.
        rows: number of rows compared.
        truncated_rows: how many of them are too long for the artefact and lost their end.
        metric: "accuracy", or "pearson" for a regression; None if the rows have no labels.
        keras_score, artifact_score: that metric on both sides, in [0, 1] (pearson: [-1, 1]).
        agreement: fraction of rows with the same label on both sides; None for a regression.
        largest_error, mean_error: absolute differences of the probabilities or scores.
        keras_bytes: bytes of the model's weights in float32.
        artifact_bytes: bytes of the artefact on disk.
        p50_ms, p95_ms: latency of one row in the artefact's runtime, median and 95th percentile.
        operators: how often each operator occurs in the artefact.
    """

    artifact: str
    kind: str
    rows: int
    truncated_rows: int
    metric: str | None
    keras_score: float | None
    artifact_score: float | None
    agreement: float | None
    largest_error: float
    mean_error: float
    keras_bytes: int
    artifact_bytes: int
    p50_ms: float
    p95_ms: float
    operators: Counter[str]

    def __str__(self) -> str:
        table = Table(title=f"{self.artifact} ({self.kind}) on {self.rows} rows")
        table.add_column("")
        table.add_column("Keras", justify="right")
        table.add_column("artefact", justify="right")
        if self.metric is not None:
            table.add_row(self.metric, f"{self.keras_score:.4f}", f"{self.artifact_score:.4f}")
        if self.agreement is not None:
            table.add_row("labels agree", "", f"{self.agreement:.2%}")
        table.add_row("largest / mean error", "", f"{self.largest_error:.2g} / {self.mean_error:.2g}")
        if self.truncated_rows:
            table.add_row("rows cut short", "", f"{self.truncated_rows}")
        table.add_row("megabytes", f"{self.keras_bytes / 1e6:.2f}", f"{self.artifact_bytes / 1e6:.2f}")
        table.add_row("latency p50 / p95 (ms)", "", f"{self.p50_ms:.2f} / {self.p95_ms:.2f}")
        if self.operators:
            table.add_row("operators", "", f"{sum(self.operators.values())}")
        console = Console(width=100)
        with console.capture() as capture:
            console.print(table)
            if self.operators:
                counted = self.operators.most_common()
                console.print("  ".join(f"{name} {count}" for name, count in counted))
        return capture.get().rstrip()


def compare(
    model: Classifier,
    artifact: str | Path | Artifact,
    data: str | Path | list,
    text_column: str = "text",
    second_column: str | None = None,
    label_column: str | None = "label",
    max_length: int | None = None,
    limit: int | None = None,
    num_threads: int = 1,
    progress: bool = False,
) -> Comparison:
    """Run a model and its artefact on the same rows and say what differs.

    Args:
        model: the Keras model.
        artifact: an artefact or its path.
        data: a table (.tsv, .csv, .jsonl) with the columns named below; or a list of texts, or of (first, second)
            pairs, without labels.
        text_column: column of the (first) texts.
        second_column: column of the second texts, for a model of pairs.
        label_column: column of the labels or scores; None for a table without.
        max_length: row length in tokens, where the artefact leaves it free; None means the model's limit.
        limit: compare the first so many rows only.
        num_threads: of the artefact's runtime.
        progress: show a progress bar.

    Raises:
        ValueError: an empty list, an unknown label in the table, a missing column, an artefact of other labels.
    """
    if not isinstance(artifact, Artifact):
        artifact = Artifact(artifact, num_threads)
    if artifact.signature.labels != model.labels:
        raise ValueError(f"{artifact.path} has the labels {artifact.signature.labels}, the model {model.labels}")
    source = str(data)
    values: list[str] | None = None
    if isinstance(data, str | Path):
        columns = [c for c in (text_column, second_column, label_column) if c is not None]
        table = read_rows(source, columns, limit)
        texts: list = table[text_column]
        if second_column is not None:
            texts = list(zip(texts, table[second_column], strict=True))
        values = None if label_column is None else table[label_column]
    else:
        texts = list(data)[:limit]
    if not texts:
        raise ValueError("no rows to compare")
    own_limit = model.config.max_sequence_length
    length = artifact.signature.length or max_length or own_limit
    rows = example_rows(model, texts, length)
    found, milliseconds = _run(artifact, rows, progress)
    # the model reads as far as it can: what a shorter artefact cuts off is a loss like any other
    whole = rows if length == own_limit else example_rows(model, texts, own_limit)
    batches = [whole[i : i + 32] for i in range(0, len(whole), 32)]
    wanted = np.concatenate([expected(model, _stack(batch)) for batch in batches])

    metric, target = _metric(model, values, source)
    error = np.abs(found - wanted)
    same = None if model.labels is None else float((found.argmax(-1) == wanted.argmax(-1)).mean())
    return Comparison(
        artifact=str(artifact.path),
        kind=artifact.kind,
        rows=len(rows),
        truncated_rows=num_truncated(model, texts, length),
        metric=metric,
        keras_score=_score(wanted, target),
        artifact_score=_score(found, target),
        agreement=same,
        largest_error=float(error.max()),
        mean_error=float(error.mean()),
        keras_bytes=4 * model.count_params(),
        artifact_bytes=artifact.size_bytes,
        p50_ms=float(np.percentile(milliseconds, 50)),
        p95_ms=float(np.percentile(milliseconds, 95)),
        operators=artifact.operators(),
    )


def _run(artifact: Artifact, rows: list[dict], progress: bool) -> tuple[np.ndarray, list[float]]:
    artifact(rows[0])  # the first call plans memory; it would not be a fair latency
    found, milliseconds = [], []
    for row in track(rows, f"running {artifact.kind}", disable=not progress):
        start = time.perf_counter()
        found.append(artifact(row))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return np.concatenate(found), milliseconds


def _stack(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _metric(model: Classifier, values: Any, source: str) -> tuple[str | None, Any]:
    if values is None:
        return None, None
    if model.labels is None:
        return "pearson", np.array(scores(values, source))
    return "accuracy", np.array(label_ids(values, model.labels, source))


def _score(outputs: np.ndarray, target: Any) -> float | None:
    if target is None:
        return None
    if outputs.shape[-1] == 1:
        return float(np.corrcoef(outputs[:, 0], target)[0, 1])
    return float((outputs.argmax(-1) == target).mean())
