from dataclasses import dataclass
from typing import Any, Self

from . import cells
from .bad_rows import OnBadRow
from .examples import Examples
from .tables import name_of, read_columns


@dataclass(frozen=True)
class Completions(Examples):
    """Prompts, each with the text that completes it; or plain texts without prompts.

    Attributes:
        prompts: texts, or None.
        completions: the text after each prompt, or plain texts.
    """

    prompts: list[str] | None
    completions: list[str]

    @classmethod
    def read(
        cls,
        source: Any,
        prompt_column: str | None,
        completion_column: str,
        limit: int | None = None,
        on_bad_row: OnBadRow = "error",
    ) -> Self:
        """Read columns of a table; see `read_columns` for the kinds of tables and errors.

        Args:
            source: paths, globs, or a table in memory.
            prompt_column: column of the prompts; None for plain texts.
            completion_column: column of the completions, or of plain texts.
            limit: read at most this number of rows, 1 or more.
            on_bad_row: "error", or "skip" to leave bad rows out.

        Raises:
            ValueError: both columns have the same name.
        """
        if prompt_column == completion_column:
            raise ValueError(f"the column {prompt_column!r} cannot contain both the prompts and the completions")
        names = [completion_column] if prompt_column is None else [prompt_column, completion_column]
        table, skipped = read_columns(source, {name: cells.text for name in names}, limit, on_bad_row)
        prompts = None if prompt_column is None else table[prompt_column]
        return cls(name_of(source), prompts, table[completion_column], skipped=skipped)

    def texts(self) -> list:
        """Each (prompt, completion), or plain text."""
        if self.prompts is None:
            return self.completions
        return list(zip(self.prompts, self.completions, strict=True))
