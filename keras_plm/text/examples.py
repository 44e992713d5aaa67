import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from .rows import read_rows

Patterns = str | Sequence[str]


@dataclass(frozen=True)
class Examples:
    """Rows of one task: lists of one length.

    Attributes:
        source: where they come from, for messages.
    """

    source: str

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[1].name))

    def take(self, index: Sequence[int]) -> Self:
        """The rows of that index."""
        lists = {
            f.name: None if (values := getattr(self, f.name)) is None else [values[i] for i in index]
            for f in fields(self)[1:]
        }
        return type(self)(self.source, **lists)

    def head(self, limit: int | None) -> Self:
        """The first `limit` rows, or all."""
        return self if limit is None else self.take(range(min(limit, len(self))))

    def fingerprint(self) -> str:
        """A hash of all rows: other rows have another one, wherever they come from."""
        rows = {name: values for name, values in asdict(self).items() if name != "source"}
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@dataclass(frozen=True)
class LabelledTexts(Examples):
    """Texts, or pairs of texts, each with a label, a score, or several labels.

    Attributes:
        first: texts.
        second: the texts they are paired with, or None.
        values: what stands in the column of labels.
    """

    first: list[str]
    second: list[str] | None
    values: list[str]

    @classmethod
    def read(
        cls,
        patterns: Patterns,
        text_column: str,
        second_column: str | None,
        label_column: str,
        limit: int | None = None,
    ) -> Self:
        """Columns of tables; see `read_rows` for formats and errors."""
        columns = [text_column, label_column] if second_column is None else [text_column, second_column, label_column]
        table = read_rows(patterns, columns, limit)
        second = None if second_column is None else table[second_column]
        return cls(str(patterns), table[text_column], second, table[label_column])


def list_of_texts(texts: Any, name: str) -> list:
    """Texts, or (first, second) pairs, as a list.

    Args:
        texts: a list, an array or a column of them.
        name: of the argument, for messages.

    Raises:
        ValueError: a single text or a path, a row that is neither a text nor a pair, or both kinds beside each other.
    """
    if isinstance(texts, str | Path):
        raise ValueError(f"{name} is one text or path ({str(texts)[:40]!r}); give a list of texts")
    if isinstance(texts, Mapping) or hasattr(texts, "columns"):  # the names of its columns are what a list has of it
        raise ValueError(f"{name} is a table of {', '.join(map(str, texts))}; give one of its columns")
    found = list(texts)
    for i, text in enumerate(found):
        is_pair = isinstance(text, tuple | list) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not is_pair and not isinstance(text, str):
            raise ValueError(f"{name}[{i}] is {str(text)[:40]!r}; it must be a text or a (first, second) pair of texts")
        if is_pair == isinstance(found[0], str):
            raise ValueError(f"{name} has texts and pairs: {name}[0] is {found[0]!r:.40}, {name}[{i}] {text!r:.40}")
    return found
