"""Which columns of a table a command reads: those of the flags, else those that the model was trained on."""

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
    """The flags; in place of what is None the `recipe.json` in the model's folder, then what the task usually has.

    Args:
        folder: where the model or the artifact was loaded from.
        model: it.
        text: flag of the first text.
        second: flag of the second text.
        label: flag of the labels or scores.
        tag: flag of the tags.
    """
    record = _record(Path(folder) / "recipe.json")
    trained_on = {name: record.get(f"{name}_column") for name in ("text", "second", "label", "tag")}
    flags = {"text": text, "second": second, "label": label, "tag": None if tag is None else tag_column_of(tag)}
    known = {name: value for name, value in trained_on.items() if value is not None}
    known |= {name: value for name, value in flags.items() if value is not None}
    if isinstance(known.get("label"), list):
        known["label"] = tuple(known["label"])
    return replace(task_of(model).columns, **known)


def _record(path: Path) -> dict[str, Any]:
    """What a recipe.json says, of a distilled model that of its student; nothing if there is none to read."""
    try:
        record = json.loads(path.read_text("utf-8"))
        record = record.get("student", record)
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def tag_column_of(text: str) -> int | str:
    """The number of a column of CoNLL, or a key of JSONL."""
    return int(text) if text.lstrip("-").isdigit() else text
