from dataclasses import asdict, fields
from types import UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin


class TypedFields:
    """Base class of settings in frozen dataclasses. Each field is checked, because a file may contain any value."""

    def check_types(self) -> None:
        """Raise ValueError if a field has another type. A list, as in JSON, becomes a tuple."""
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if get_origin(field.type) is tuple and isinstance(value, list):
                value = tuple(value)
                object.__setattr__(self, field.name, value)
            if not _fits(value, field.type):
                raise ValueError(f"{field.name}={value!r:.60}; it must be {_described(field.type)}")

    def check_at_least(self, least: int, *names: str) -> None:
        """Raise ValueError if a field is below `least`."""
        for name in names:
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least {least}")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        values = asdict(self)  # type: ignore[call-overload]
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: a field is unknown, or a value has another type; the error names each of them.
        """
        return cls._made_of(values)

    @classmethod
    def _made_of(cls, values: dict[str, Any]) -> Self:
        unknown = sorted(set(values) - {field.name for field in fields(cls)})  # type: ignore[arg-type]
        if unknown:
            raise ValueError(f"unknown {cls.__name__} fields {unknown}; were they written by a later version?")
        return cls(**values)


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is dict:
        return isinstance(value, dict)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_origin(kind) in (UnionType, Union):
        return any(_fits(value, one) for one in get_args(kind))
    return type(value) is kind or (kind is float and type(value) is int)


def _described(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"a list of {_described(get_args(kind)[0])}"
    kinds = get_args(kind) or (kind,)
    return " or ".join(getattr(one, "__name__", repr(one)) for one in kinds)
