import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class Examples:
    """Rows of one task: lists of one length, and what is known of all of them.

    Attributes:
        source: where they come from, for messages.
        skipped: a line for each row that was left out because it is bad.
    """

    source: str
    skipped: list[str] = field(default_factory=list, kw_only=True)
    # what is no list with a value for each row
    facts: ClassVar[tuple[str, ...]] = ("source", "skipped")

    @property
    def columns(self) -> dict[str, list]:
        """The lists, by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.facts}
        return {name: values for name, values in found.items() if values is not None}

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, index: Sequence[int]) -> Self:
        """The rows of that index."""
        taken: dict[str, Any] = {name: [values[i] for i in index] for name, values in self.columns.items()}
        return replace(self, **taken)

    def head(self, limit: int | None) -> Self:
        """The first `limit` rows, or all."""
        return self if limit is None else self.take(range(min(limit, len(self))))

    def fingerprint(self) -> str:
        """A hash of all rows: other rows have another one, wherever they come from."""
        rows = {name: values for name, values in asdict(self).items() if name not in self.facts}
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def texts(self) -> list:
        """What a model reads of each row, in a form that can be compared."""
        raise NotImplementedError

    def counts(self) -> Counter[str]:
        """How often each label occurs; empty where there are none."""
        return Counter()

    def notes(self) -> list[str]:
        """What was noticed in reading, for the summary before a training: a line each."""
        return []

    def card(self) -> dict[str, Any]:
        """What a model card says of them, beside their number."""
        return {}

    def strata(self) -> list[str] | None:
        """A label of each row, of which every held-out part gets its share; None where rows are alike."""
        return None

    def groups(self) -> list[str] | None:
        """What each row belongs to, such as a context: a held-out part has all its rows or none; None if nothing."""
        return None

    def augmented(self, copies: int, seed: int) -> Self:
        """With this number of altered copies of each row appended; their labels may no longer be right."""
        raise NotImplementedError

    def known(self, labels: Sequence[str] | None) -> Self:
        """Without the rows that have a label which is none of these; they are among the `skipped`."""
        return self

    def _only(self, unknown: list[tuple[int, str]], unit: str) -> Self:
        """Without these (row, unknown label)."""
        bad = {row for row, _ in unknown}
        if bad and len(bad) == len(self):
            raise ValueError(f"{self.source}: no {unit} has a label that the model knows; the first: {unknown[0][1]!r}")
        kept = self.take([row for row in range(len(self)) if row not in bad])
        lines = [f"{self.source}, {unit} {row + 1}: unknown label {label!r}" for row, label in unknown]
        return replace(kept, skipped=[*self.skipped, *lines])


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
