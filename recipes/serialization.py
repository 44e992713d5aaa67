"""A recipe to and from JSON, the `recipe.json` in the folder of its model."""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from keras_plm.config import BackboneConfig
from keras_plm.text import Examples
from keras_plm.text.readers.memory import is_in_memory, rows_in_memory


def recorded(value: Any) -> Any:
    """A field of a recipe, converted to JSON types."""
    if isinstance(value, BackboneConfig):
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


def read_record(kind: type, path: str | Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Read the fields of a recipe from a `recipe.json`; see `Recipe.from_json`."""
    try:
        record = json.loads(Path(path).read_text("utf-8"))
        name = record.pop("recipe")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not the record of a recipe: {error!r:.200}") from None
    if name != kind.__name__:
        raise ValueError(f"{path} is the record of a recipe {name}, not {kind.__name__}")
    return fields_of(kind, record | changes, path)


def fields_of(kind: type, record: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Convert the fields of a recipe from JSON to arguments of its constructor."""
    record = {name: value for name, value in record.items() if name != "recipe"}
    known = {field.name for field in dataclasses.fields(kind)} | {"student"}
    record.pop("rows", None)  # the fingerprint of an unfinished training
    for field in record:
        if field not in known:
            near = difflib.get_close_matches(field, known, 1)
            raise ValueError(f"{path}: unknown field {field!r}{f'; is it {near[0]}?' if near else ''}")
    fields, hints = dict(record), get_type_hints(kind)
    for field, value in fields.items():
        if isinstance(value, dict) and "in memory" in value:
            raise ValueError(f"{path}: {field!r} was a table in memory; give it again: {field}=…")
        value = fields[field] = tuple(value) if isinstance(value, list) else value
        if field == "config" and isinstance(value, dict):
            fields[field] = BackboneConfig.from_dict(value)
        elif not _fits(value, hints.get(field, Any)):
            raise ValueError(f"{path}: {field}={value!r:.60} does not have the type {hints[field]}")
    return fields


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value has the type of a field. Types that JSON does not have are not checked."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, inner) for inner in get_args(hint))
    if hint is float:
        return type(value) in (int, float)
    if isinstance(value, tuple):
        return hint is Any or get_origin(hint) is tuple
    return type(value) is hint if hint in (int, bool, str, type(None)) else True
