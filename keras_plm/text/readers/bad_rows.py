"""What is wrong with the rows of a source: all of it is told at once, or the rows are left out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

OnBadRow = Literal["error", "skip"]
_SHOWN = 10


class BadRowError(ValueError):
    """One row that cannot be used; the message does not say where it stands."""


class BadRows:
    """Collects bad rows while a source is read.

    Args:
        on_bad_row: "error" raises when the source has been read; "skip" leaves the rows out.

    Attributes:
        problems: a line for each bad row: where it stands, what is wrong, what to do.

    Example:
        >>> bad = BadRows("skip")
        >>> with bad.at("a.csv, line 2"):
        ...     raise BadRowError("'text' is empty")
        >>> bad.problems
        ["a.csv, line 2: 'text' is empty"]
    """

    def __init__(self, on_bad_row: OnBadRow = "error") -> None:
        if on_bad_row not in get_args(OnBadRow):
            raise ValueError(f"on_bad_row={on_bad_row!r}; choose 'error' or 'skip'")
        self.on_bad_row = on_bad_row
        self.problems: list[str] = []

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """A `BadRowError` that is raised inside is noted, and the code inside ends there."""
        try:
            yield
        except BadRowError as error:
            self.add(place, str(error))

    def add(self, place: str, problem: str) -> None:
        """Note a bad row."""
        self.problems.append(f"{place}: {problem}")

    def done(self, source: str) -> list[str]:
        """The problems of a source that has been read to its end.

        Raises:
            ValueError: there are any, and they are to be errors: how many, and the first ten.
        """
        if self.problems and self.on_bad_row == "error":
            count = len(self.problems)
            if count == 1:
                raise ValueError(f"{self.problems[0]} (on_bad_row='skip', --on-bad-row skip, leaves such a row out)")
            shown = [*self.problems[:_SHOWN], *([f"… and {count - _SHOWN} more"] if count > _SHOWN else [])]
            raise ValueError(
                f"{source}: {count} bad rows; correct them, or leave them out with on_bad_row='skip' "
                f"(--on-bad-row skip)\n  " + "\n  ".join(shown)
            )
        return self.problems
