import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from keras_plm.evaluation import Evaluation
from keras_plm.tasks import Columns, TaskModel, evaluate, task_of
from keras_plm.text import Examples, OnBadRow

from .evaluation_data import read_data
from .loaded_model import load_artifact
from .runtime import Artifact
from .signature import example_rows, num_truncated
from .verify import expected


@dataclass(frozen=True)
class Comparison:
    """Comparison of a Keras model and its artifact on the same examples.

    Attributes:
        artifact: path of the artifact.
        kind: its runtime.
        rows: number of rows compared.
        truncated_rows: number of rows that are too long for the artifact and were truncated.
        metric: the first score of `evaluate`; None if the rows have no answers.
        keras_score, artifact_score: the metric of the model and of the artifact, in [0, 1] (correlations: [-1, 1]).
        agreement: fraction of rows for which both give the same label (questions: the same start and end). For a
            tagger: mean over rows of the fraction of tokens with the same tag, including [CLS] and [SEP]. None if the
            model gives numbers.
        largest_error, mean_error: absolute differences of the probabilities or scores.
        keras_bytes: bytes of the model's weights in float32.
        artifact_bytes: bytes of the artifact on disk.
        p50_ms, p95_ms: latency of one row in the artifact's runtime, median and 95th percentile.
        operators: how often each operator occurs in the artifact.
        delegated: how many of these operators XNNPACK computes; empty unless the runtime is TFLite.
        quantization: the scheme of the artifact.
        lengths: number of tokens of each row.
        keras_evaluation, artifact_evaluation: the evaluations of the model and of the artifact; None if the rows have
            no answers.
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
    delegated: Counter[str]
    quantization: str
    lengths: list[int] = field(repr=False)
    keras_evaluation: Evaluation | None = field(repr=False)
    artifact_evaluation: Evaluation | None = field(repr=False)

    def __str__(self) -> str:
        table = Table(title=escape(f"{self.artifact} ({self.kind}) on {self.rows} examples"))
        table.add_column("")
        table.add_column("Keras", justify="right")
        table.add_column("artifact", justify="right")
        if self.metric is not None:
            table.add_row(self.metric, f"{self.keras_score:.4f}", f"{self.artifact_score:.4f}")
        if self.agreement is not None:
            table.add_row("labels agree", "", f"{self.agreement:.2%}")
        table.add_row("largest / mean error", "", f"{self.largest_error:.2g} / {self.mean_error:.2g}")
        if self.truncated_rows:
            table.add_row("examples truncated", "", f"{self.truncated_rows}")
        table.add_row("megabytes", f"{self.keras_bytes / 1e6:.2f}", f"{self.artifact_bytes / 1e6:.2f}")
        table.add_row("latency p50 / p95 (ms)", "", f"{self.p50_ms:.2f} / {self.p95_ms:.2f}")
        if self.operators:
            shown = f"{self.operators.total()}"
            if self.delegated:
                shown += f", {self.delegated.total() / self.operators.total():.0%} on XNNPACK"
            table.add_row("operators", "", shown)
        console = Console(width=100, force_jupyter=False, force_terminal=False)
        with console.capture() as capture:
            console.print(table)
            if self.operators:
                counted = self.operators.most_common()
                console.print("  ".join(f"{name} {count}" for name, count in counted))
        return capture.get().rstrip()


def compare(
    model: TaskModel,
    artifact: str | Path | Artifact,
    data: str | Path | list | Examples,
    text_column: str = "text",
    second_column: str | None = None,
    label_column: str | tuple[str, ...] | None = "label",
    max_length: int | None = None,
    limit: int | None = None,
    num_threads: int = 1,
    progress: bool = False,
    tag_column: int | str = -1,
    on_bad_row: OnBadRow = "error",
) -> Comparison:
    """Run a model and its artifact on the same examples and compare their outputs, scores, sizes and speed.

    Args:
        model: the Keras model.
        artifact: an artifact or its path.
        data: a table (.tsv, .csv, .jsonl) with the columns named below; for a tagger also CoNLL, for a question
            answerer SQuAD's JSON. Or `Examples`. Or a list of texts, or of (first, second) pairs, without labels.
        text_column: column of the texts, or of the first texts of pairs.
        second_column: column of the second texts, if the model takes pairs.
        label_column: column of the labels or scores; None if the table has none.
        max_length: row length in tokens, if the artifact does not fix it; None, or a value above the model's limit,
            means the limit.
        limit: compare at most this number of rows.
        num_threads: threads of the artifact's runtime.
        progress: show a progress bar.
        on_bad_row: "error", or "skip" to leave out rows that cannot be used, including rows with unknown labels.
        tag_column: for a tagger: the column of the tags in CoNLL files (by default the last), or their key in JSONL.

    Raises:
        ValueError: there are no rows, a label is unknown, a column is missing, or the artifact has another task or
            other labels.
    """
    if not isinstance(artifact, Artifact):
        artifact = Artifact(artifact, num_threads)
    signature, task = artifact.signature, task_of(model, keras=True)
    if signature.spec is not task:
        raise ValueError(f"{artifact.path} is for {signature.task}, but the model is a {type(model).__name__}")
    settings = task.settings(model)
    for name in task.shared_settings:
        if signature.settings[name] != settings[name]:
            raise ValueError(
                f"{artifact.path} has {name}={signature.settings[name]}, but the model has {settings[name]}"
            )
    columns = Columns(text_column, second_column, label_column, tag_column)
    texts, examples = read_data(model, data, columns, limit, on_bad_row)
    if not texts:
        raise ValueError("no examples to compare")
    own_limit = model.longest_row
    # with the artifact's own tokenizer, which may have a smaller vocabulary
    answering = load_artifact(artifact, max_length=None if signature.length else max_length)
    length = answering.longest_row
    if task.per_token and answering.tokenizer.files() != model.needs_tokenizer().files():
        raise ValueError(
            f"{artifact.path} has another vocabulary than the model, so tokens cannot be compared; use plm.evaluate"
        )
    rows = example_rows(answering, texts, length)
    found, milliseconds = _run(artifact, rows, progress)
    # The model reads rows of its full length. If the artifact truncates more, that counts as its error.
    whole = example_rows(model, texts, own_limit)
    wanted = [row for i in range(0, len(whole), 32) for row in _split(expected(model, _stack(whole[i : i + 32])))]
    if task.per_token:
        found, wanted = _visible(rows, found), _visible(rows, wanted)
    pairs = list(zip(found, wanted, strict=True))
    errors = np.concatenate([np.abs(f[name] - w[name]).ravel() for f, w in pairs for name in w])
    ours, theirs = (None, None) if examples is None else _evaluations(model, answering, examples, found, wanted)
    return Comparison(
        artifact=str(artifact.path),
        kind=artifact.kind,
        rows=len(rows),
        truncated_rows=num_truncated(answering, texts, length),
        metric=None if ours is None else ours.main,
        keras_score=None if ours is None else ours.scores[ours.main],
        artifact_score=None if theirs is None else theirs.scores[theirs.main],
        agreement=task.agreement(signature.settings, found, wanted),
        largest_error=float(errors.max()),
        mean_error=float(errors.mean()),
        keras_bytes=4 * model.count_params(),
        artifact_bytes=artifact.size_bytes,
        p50_ms=float(np.percentile(milliseconds, 50)),
        p95_ms=float(np.percentile(milliseconds, 95)),
        operators=artifact.operators(),
        delegated=artifact.delegated(),
        quantization=signature.quantization,
        lengths=[int(row["padding_mask"].sum()) for row in whole],
        keras_evaluation=ours,
        artifact_evaluation=theirs,
    )


def _run(artifact: Artifact, rows: list[dict], progress: bool) -> tuple[list[dict], list[float]]:
    artifact.outputs(rows[0])  # warm-up: the first call plans memory
    found, milliseconds = [], []
    for row in track(rows, f"running {artifact.kind}", disable=not progress):
        start = time.perf_counter()
        outputs = artifact.outputs(row)
        milliseconds.append(1e3 * (time.perf_counter() - start))
        found.append({name: value[0] for name, value in outputs.items()})
    return found, milliseconds


def _stack(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _split(batch: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]


def _visible(rows: list[dict], outputs: list[dict]) -> list[dict]:
    """The outputs of the tokens in the artifact's rows, without padding."""
    counts = [int(row["padding_mask"].sum()) for row in rows]
    return [{name: v[:count] for name, v in side.items()} for count, side in zip(counts, outputs, strict=True)]


def _evaluations(
    model: TaskModel, answering: Any, examples: Examples, found: list, wanted: list
) -> tuple[Evaluation, Evaluation]:
    """The evaluations of the model and the artifact. If the task allows, they reuse the computed outputs."""
    return _evaluated(model, examples, wanted), _evaluated(answering, examples, found)


def _evaluated(model: Any, examples: Examples, outputs: list) -> Evaluation:
    task = task_of(model)
    known = None if task.per_token else task.with_outputs(task.settings(model), _stacked(outputs))
    return evaluate(model if known is None else known, examples)


def _stacked(outputs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([output[name] for output in outputs]) for name in outputs[0]}
