"""Tables in memory → rows of fields: dicts of columns, lists of dicts, DataFrames, `datasets.Dataset`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def is_in_memory(source: Any) -> bool:
    """Whether a source is data, not one or several file names."""
    if isinstance(source, str | Path):
        return False
    return not (isinstance(source, list | tuple) and source and all(isinstance(name, str | Path) for name in source))


def rows_in_memory(source: Any, needed: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the fields of each row, as JSON types.

    Raises:
        TypeError: the type of the table is not supported.
        ValueError: the columns have unequal lengths, or a column is missing.
    """
    if isinstance(source, list | tuple):
        for number, row in enumerate(source, 1):
            if not isinstance(row, Mapping):
                raise TypeError(f"row {number} of the data is a {type(row).__name__}; give dicts like {{'text': …}}")
            yield f"row {number} of the data", {str(name): _plain(value) for name, value in row.items()}
        return
    columns = _columns(source)
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(f"the data has no column {missing[0]!r}; its columns are {sorted(columns)}")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of the data have unequal lengths: {lengths}")
    for number, values in enumerate(zip(*columns.values(), strict=True), 1):
        yield f"row {number} of the data", dict(zip(columns, map(_plain, values), strict=True))


def _columns(source: Any) -> dict[str, Any]:
    if isinstance(source, Mapping):
        for name, values in source.items():
            if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
                raise TypeError(f"the column {name!r} is a {type(values).__name__}; give a list of values")
        return {str(name): values for name, values in source.items()}
    if hasattr(source, "column_names") and hasattr(source, "features"):  # datasets.Dataset
        return {name: _named(source[name], source.features.get(name)) for name in source.column_names}
    if hasattr(source, "columns") and hasattr(source, "__getitem__"):  # pandas, polars
        names = list(source.columns)
        if len(set(names)) != len(names):
            raise ValueError(f"the data has a column twice: {names}")
        return {str(name): list(source[name]) for name in names}
    raise TypeError(
        f"a {type(source).__name__} is not a table; give the path of a file, a dict of columns, a list of dicts, a "
        f"DataFrame or a datasets.Dataset"
    )


def _named(values: Any, feature: Any) -> list:
    """Replace class numbers by class names."""
    names = getattr(feature, "names", None)
    if names:
        return [None if value is None or value < 0 else names[value] for value in values]
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else None)
    return [_named(value, inner) for value in values] if getattr(inner, "names", None) else list(values)


def _plain(value: Any) -> Any:
    """Convert NumPy and pandas values to JSON types."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    return None if type(value).__name__ in ("NAType", "NaTType") else value
