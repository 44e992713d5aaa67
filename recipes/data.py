"""What a recipe is trained on: names of files, or a table in memory; and how its record tells of it."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from keras_plm.config import ModelConfig
from keras_plm.text import Examples
from keras_plm.text.readers.memory import is_in_memory, rows_in_memory

_FILES = tyro.constructors.PrimitiveConstructorSpec(
    nargs="*",
    metavar="FILE…",
    instance_from_str=lambda words: None if words == ["None"] else words[0] if len(words) == 1 else tuple(words),
    is_instance=lambda value: value is None or not is_in_memory(value),
    str_from_instance=lambda value: [str(value)] if value is None or isinstance(value, str) else list(map(str, value)),
)
# paths or globs; a dict of columns, a list of dicts, a DataFrame or a `datasets.Dataset`; or `Examples`
Data = Annotated[Any, _FILES]


def recorded(value: Any) -> Any:
    """A field of a recipe as the types of JSON."""
    if isinstance(value, ModelConfig):
        return value.to_dict()
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Examples):
        return {"in memory": type(value).__name__, "rows": len(value), "sha256": value.fingerprint()}
    if dataclasses.is_dataclass(value):
        return {field.name: recorded(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Sequence) and all(isinstance(item, str | int | float) for item in value):
        return list(value)
    if is_in_memory(value):
        rows = [row for _, row in rows_in_memory(value)]
        content = json.dumps(rows, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass")
        return {"in memory": type(value).__name__, "rows": len(rows), "sha256": hashlib.sha256(content).hexdigest()}
    return [str(item) for item in value]


def named(data: Any) -> str:
    """Data in a line of a model card."""
    found = recorded(data)
    if isinstance(found, dict):
        return f"{found['rows']} rows in memory"
    return found if isinstance(found, str) else ", ".join(found)
