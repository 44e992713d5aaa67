"""Convert flags to a recipe or to a function call."""

import difflib
import sys
from collections.abc import Sequence
from inspect import signature
from typing import Any

import tyro

from keras_plm.recipes import Distill, Recipe


def parse(target: Any, prog: str, summary: str, arguments: Sequence[str]) -> Any:
    """Make the recipe from the flags, or call the function with them and return its result.

    `--from recipe.json` starts with the settings of an earlier training; the other flags change them.

    Args:
        target: a recipe class, or a function.
        prog: the command, for its help.
        summary: one line, for its help.
        arguments: the flags.
    """
    options: dict[str, Any] = {}
    if isinstance(target, type) and issubclass(target, Recipe | Distill):
        record, arguments = _record(arguments)
        summary += "; --from recipe.json starts with the settings of an earlier training"
        if record is not None:
            kind: Any = target
            options["default"] = kind.from_json(record)
    description = f"{summary[0].upper()}{summary[1:]}."
    try:
        return tyro.cli(target, prog=prog, description=description, args=arguments, **options)
    except SystemExit as stop:
        if stop.code:
            _suggest(target, arguments)
        raise


def _suggest(target: Any, arguments: Sequence[str]) -> None:
    """Print the most similar flag for each unknown flag."""
    names = list(signature(target).parameters)
    settings = signature(target).parameters.get("settings")  # a dataclass, whose fields are flags too
    names += [] if settings is None else list(vars(settings.default))
    known = [f"--{name.replace('_', '-')}" for name in names]
    for flag in (word.partition("=")[0] for word in arguments if word.startswith("--")):
        near = difflib.get_close_matches(flag, known, 1)
        if flag not in known and not flag.startswith("--no-") and near:
            print(f"{flag}: did you mean {near[0]}?", file=sys.stderr)


def _record(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of `--from`, and the other flags."""
    rest, found = [], None
    words = iter(arguments)
    for word in words:
        if word == "--from":
            found = next(words, None)
            if found is None:
                raise ValueError("--from needs the path of a recipe.json")
        elif word.startswith("--from="):
            found = word.removeprefix("--from=")
        else:
            rest.append(word)
    return found, rest
