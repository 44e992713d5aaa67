"""Which columns of a table a command reads: those of the flags, else those that the model was trained on."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from keras_plm.models import Embedding
from keras_plm.text import read_rows


class Columns(NamedTuple):
    """Names of columns; `tag` is a number in CoNLL and a key in JSONL."""

    text: str
    second: str | None
    label: str | tuple[str, ...]
    tag: int | str

    @classmethod
    def of(
        cls,
        folder: str,
        model: Any,
        text: str | None = None,
        second: str | None = None,
        label: str | None = None,
        tag: str | None = None,
    ) -> "Columns":
        """The flags, in place of what is None the `recipe.json` in the model's folder, then the recipes' defaults.

        Args:
            folder: where the model or the artifact was loaded from.
            model: it.
            text: flag of the first text.
            second: flag of the second text.
            label: flag of the labels or scores.
            tag: flag of the tags.
        """
        pairs = isinstance(model, Embedding)
        found: dict[str, Any] = {
            "text_column": "sentence1" if pairs else "text", "second_column": "sentence2" if pairs else None,
            "label_column": "score" if pairs else "label", "tag_column": -1,
        }  # fmt: skip
        record = _record(Path(folder) / "recipe.json")
        found |= {name: record[name] for name in found if record.get(name) is not None}
        label_column = found["label_column"] if label is None else label
        return cls(
            found["text_column"] if text is None else text,
            found["second_column"] if second is None else second,
            label_column if isinstance(label_column, str) else tuple(label_column),
            found["tag_column"] if tag is None else tag_column_of(tag),
        )


def _record(path: Path) -> dict[str, Any]:
    """What a recipe.json says, of a distilled model that of its student; nothing if there is none to read."""
    try:
        record = json.loads(path.read_text("utf-8"))
        record = record.get("student", record)
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def read_texts(
    file: str, text_column: str, second_column: str | None, limit: int | None = None
) -> tuple[list[str], list[str] | None]:
    """The texts of a table and, for a model of pairs, the second ones."""
    table = read_rows(file, [text_column] if second_column is None else [text_column, second_column], limit)
    return table[text_column], None if second_column is None else table[second_column]


def tag_column_of(text: str) -> int | str:
    """The number of a column of CoNLL, or a key of JSONL."""
    return int(text) if text.lstrip("-").isdigit() else text
