"""Convert one value of a table to the type of its column, or raise an error that describes the value."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from .bad_rows import BadRowError

Cell = Callable[[Any], Any]

HALF = re.compile("[\ud800-\udfff]")
_FILL = "fill it in, or leave the row out"


def text(value: Any) -> str:
    """A text that is not only white space."""
    _present(value)
    if not isinstance(value, str):
        raise BadRowError(f"is {_kind(value)}, where a text is needed")
    if not value.strip():
        raise BadRowError(f"is empty; {_FILL}")
    check_characters(value)
    return value


def check_characters(value: str) -> None:
    """Raise BadRowError for half of a character (a lone surrogate): JSON can encode it, UTF-8 cannot."""
    if not value.isascii() and HALF.search(value):
        raise BadRowError("has half of a character (a lone surrogate); remove it")


class Label:
    """A label: a name, a whole number or true/false. All labels of a column must have the same type."""

    def __init__(self) -> None:
        self.kind: type | None = None

    def __call__(self, value: Any) -> str:
        _present(value)
        if not isinstance(value, str | int):
            raise BadRowError(f"is {_kind(value)}; a label is a text or a whole number (a regression takes scores)")
        if self.kind is None:
            self.kind = type(value)
        if type(value) is not self.kind:
            kinds = {str: "texts", bool: "true or false", int: "whole numbers"}
            raise BadRowError(
                f"is {_kind(value)}, but the labels before it are {kinds[self.kind]}; use one type for all labels"
            )
        return text(value).strip() if isinstance(value, str) else json.dumps(value)


class Labels:
    """Several labels: a JSON list of texts, or a text with names separated by semicolons; [] for none."""

    def __call__(self, value: Any) -> list[str]:
        if isinstance(value, str) and not value.strip():
            raise BadRowError("is empty; write [] if a text has no label, or leave the row out")
        if isinstance(value, str) and not value.strip().startswith("["):
            if "," in value:
                raise BadRowError(
                    f"is {value!r}; separate labels by semicolons; if a label has a comma in its name, use a JSON list"
                )
            return _distinct([name.strip() for name in value.split(";") if name.strip()])
        _present(value)
        names = value
        if isinstance(value, str):
            try:
                names = json.loads(value)
            except (ValueError, RecursionError):
                raise BadRowError(f"is {_shown(value)}, which is not a JSON list of labels") from None
        if not isinstance(names, list):
            raise BadRowError(f"is {_kind(value)}; a list of labels is needed, [] if there is none")
        if not all(isinstance(name, str) for name in names):
            raise BadRowError(
                f'is {_shown(names)}; labels are texts, such as ["joy"]. If each label is a 0 or 1, give each label '
                f"its own column, and name these columns"
            )
        return _distinct([text(name).strip() for name in names])


def _distinct(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def flag(value: Any) -> bool:
    """0 or 1: whether the row has the label of this column."""
    _present(value)
    if isinstance(value, str):
        value = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}.get(value.strip().lower(), value)
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise BadRowError(f"is {_kind(value)}; a column for one label contains only 0 and 1")


def score(value: Any) -> float:
    """A finite number."""
    _present(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadRowError(f"is {_kind(value)}, where a number is needed")
    if isinstance(value, str) and not value.strip():
        raise BadRowError(f"is empty; {_FILL}")
    try:
        number = float(value)
    except ValueError:
        raise BadRowError(f"is {value!r}, which is not a number") from None
    except OverflowError:
        raise BadRowError(f"is {_shown(value)}, which is too large a number") from None
    if not math.isfinite(number):
        raise BadRowError(f"is {value!r}, which is not a finite number")
    return number


def _present(value: Any) -> None:
    if value is None:
        raise BadRowError(f"is null; {_FILL}")
    if isinstance(value, float) and math.isnan(value):
        raise BadRowError(f"is NaN, a missing value; {_FILL}")


def _kind(value: Any) -> str:
    """A description of a value in the terms of JSON."""
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"the number {_shown(value)}"
    if isinstance(value, list | tuple):
        return f"the list {_shown(value)}"
    if isinstance(value, dict):
        return f"the object {_shown(value)}"
    return f"a {type(value).__name__}, {_shown(value)}" if not isinstance(value, str) else f"the text {_shown(value)}"


def _shown(value: Any) -> str:
    written = repr(value)
    return written if len(written) <= 60 else f"{written[:57]}…"
