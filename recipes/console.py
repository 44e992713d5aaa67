"""What a recipe prints: the data before the training; the scores and the next command after it."""

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_plm.evaluation import Evaluation
from keras_plm.text import Examples, TextRows

# what spreadsheets and pandas write for a missing value
_LOOKS_MISSING = {"nan", "na", "n/a", "none", "null", "nil", "-", "?", "<na>"}
_SHOWN_LABELS = 12
_SHOWN_SAMPLES = 2


def print_summary(examples: Mapping[str, Examples], rows: Mapping[str, TextRows]) -> None:
    """Print a table of the data sets, a line with the labels, and warnings.

    Args:
        examples: the data sets by name, "train" first.
        rows: the tokens of each data set.
    """
    console = Console(soft_wrap=True, highlight=False)
    table = Table(title="data")
    for column in ("data set", "examples", "tokens: p50 / p95 / max", "truncated", "also in train"):
        table.add_column(column, justify="left" if column == "data set" else "right")
    known = set(examples["train"].texts())
    for name, part in examples.items():
        whole = rows[name].num_tokens
        lengths = rows[name].lengths if whole is None else whole
        cut, total = rows[name].num_truncated, len(rows[name])
        again = "" if name == "train" else f"{sum(text in known for text in part.texts()):,}"
        percentiles = [f"{int(np.percentile(lengths, share)):,}" for share in (50, 95, 100)]
        share = f"{cut:,} ({cut / total:.0%})" if cut else "0"
        table.add_row(name, f"{len(part):,}", " / ".join(percentiles), share, again)
    console.print(table)
    for line in _about(examples["train"]):
        console.print(line, markup=False)
    for name, part in examples.items():
        if part.skipped:
            console.print(f"{len(part.skipped):,} rows of {name} were skipped:", markup=False)
        for problem in part.skipped[:10]:
            console.print(f"  {problem}", markup=False)


def _about(train: Examples) -> list[str]:
    lines = train.notes()
    counts = train.counts().most_common()
    shown = [f"{label} {count:,}" for label, count in counts[:_SHOWN_LABELS]]
    if counts:
        more = f" · and {len(counts) - _SHOWN_LABELS} more" if len(counts) > _SHOWN_LABELS else ""
        lines.append(f"{len(counts)} labels: {' · '.join(shown)}{more}")
    missing = [f"{label!r} ({count:,})" for label, count in counts if label.lower() in _LOOKS_MISSING]
    if missing:
        lines.append(f"warning: the labels {', '.join(missing)} look like missing values")
    return lines


def print_result(found: Mapping[str, Evaluation], folder: str | None, command: str) -> None:
    """Print the scores, the folder of the model and the next commands.

    Args:
        found: the evaluations of the model, by the name of the data set.
        folder: where the model was saved; None if it was not saved.
        command: a command that uses the model.
    """
    console = Console(soft_wrap=True, highlight=False)
    for name, evaluation in found.items():
        scores = "  ".join(f"{score} {value:.4f}" for score, value in evaluation.scores.items())
        console.print(f"{name} ({len(evaluation.rows):,} examples): {scores}", markup=False)
    if folder is None:
        return
    console.print(f"saved in {folder}; its README.md is the model card", markup=False)
    console.print(f"next:  {command}\n       keras-plm export tflite {folder} {folder}_phone", markup=False)


def print_samples(rows: Sequence[tuple[str, str, str]]) -> None:
    """Print the first texts with what the model wrote, and with what was wanted."""
    console = Console(soft_wrap=True, highlight=False)
    for row in rows[:_SHOWN_SAMPLES]:
        for mark, text in zip(("", "  → ", "  = "), row, strict=True):
            console.print(f"{mark}{shorten(text, 160)}", markup=False)


def print_pretrained(scores: Mapping[str, Any], folder: str, command: str) -> None:
    """Print the scores of a pre-training, the folder of the model and the next command."""
    console = Console(soft_wrap=True, highlight=False)
    shown = (
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value:,}" for name, value in scores.items()
    )
    console.print("  ".join(shown), markup=False)
    console.print(f"saved in {folder}; its README.md is the model card", markup=False)
    console.print(f"next:  {command}", markup=False)
