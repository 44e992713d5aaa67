"""Bad rows of a source: they are all reported in one error, or left out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

OnBadRow = Literal["error", "skip"]
_SHOWN = 10


class BadRowError(ValueError):
    """A row cannot be used. The message does not have its place in the source."""


class BadRows:
    """Collects bad rows while a source is read.

    Args:
        on_bad_row: "error" raises an error after the source was read; "skip" leaves the rows out.
        advice: whether the error names the option that leaves rows out.

    Attributes:
        problems: a line for each bad row, with its place, the problem and a remedy.

    Example:
        >>> bad = BadRows("skip")
        >>> with bad.at("a.csv, line 2"):
        ...     raise BadRowError("'text' is empty")
        >>> bad.problems
        ["a.csv, line 2: 'text' is empty"]
    """

    def __init__(self, on_bad_row: OnBadRow = "error", advice: bool = True) -> None:
        if on_bad_row not in get_args(OnBadRow):
            raise ValueError(f"on_bad_row={on_bad_row!r}; choose 'error' or 'skip'")
        self.on_bad_row, self.advice = on_bad_row, advice
        self.problems: list[str] = []

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """A context that records a `BadRowError` raised inside it. The error ends the code in the context."""
        try:
            yield
        except BadRowError as error:
            self.add(place, str(error))

    def add(self, place: str, problem: str) -> None:
        """Record a bad row."""
        self.problems.append(f"{place}: {problem}")

    def done(self, source: str) -> list[str]:
        """The problems of a source, after it was read completely.

        Raises:
            ValueError: there are problems and `on_bad_row` is "error". The message has their number and the first ten.
        """
        if self.problems and self.on_bad_row == "error":
            count = len(self.problems)
            advice = self.advice
            if count == 1:
                more = " (on_bad_row='skip', --on-bad-row skip, leaves such a row out)" if advice else ""
                raise ValueError(f"{self.problems[0]}{more}")
            shown = [*self.problems[:_SHOWN], *([f"… and {count - _SHOWN} more"] if count > _SHOWN else [])]
            more = ", or leave them out with on_bad_row='skip' (--on-bad-row skip)" if advice else ""
            raise ValueError(f"{source}: {count} bad rows; correct them{more}\n  " + "\n  ".join(shown))
        return self.problems
