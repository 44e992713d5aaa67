"""The columns of a table that a command reads: from the flags, or else from the training of the model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_plm.tasks import Columns, task_of


def columns_of(
    folder: str,
    model: Any,
    text: str | None = None,
    second: str | None = None,
    label: str | None = None,
    tag: str | None = None,
) -> Columns:
    """The columns from the flags. A flag of None means the column in the model's `recipe.json`, or the task's default.

    Args:
        folder: folder of the model or the artifact.
        model: the model or artifact.
        text: flag for the first text.
        second: flag for the second text.
        label: flag for the labels or scores.
        tag: flag for the tags.
    """
    record = _record(Path(folder) / "recipe.json")
    known = task_of(model).recorded_columns(record)
    flags = {"text": text, "second": second, "label": label, "tag": None if tag is None else tag_column_of(tag)}
    known |= {name: value for name, value in flags.items() if value is not None}
    if isinstance(known.get("label"), list):
        known["label"] = tuple(known["label"])
    return replace(task_of(model).columns, **known)


def _record(path: Path) -> dict[str, Any]:
    """The content of a recipe.json; for a distilled model, the student's recipe. Empty if it cannot be read."""
    try:
        record = json.loads(path.read_text("utf-8"))
        record = record.get("student", record)
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def tag_column_of(text: str) -> int | str:
    """The number of a CoNLL column, or a JSONL key."""
    return int(text) if text.lstrip("-").isdigit() else text
