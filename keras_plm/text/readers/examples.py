import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class Examples:
    """Rows of one task: several lists of the same length, and facts about all rows.

    Attributes:
        source: name of the source, for messages.
        skipped: a line for each bad row that was left out.
    """

    source: str
    skipped: list[str] = field(default_factory=list, kw_only=True)
    # fields that do not have one value per row
    facts: ClassVar[tuple[str, ...]] = ("source", "skipped")

    @property
    def columns(self) -> dict[str, list]:
        """The lists, by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in self.facts}
        return {name: values for name, values in found.items() if values is not None}

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, index: Sequence[int]) -> Self:
        """The rows with these indices."""
        taken: dict[str, Any] = {name: [values[i] for i in index] for name, values in self.columns.items()}
        return replace(self, **taken)

    def head(self, limit: int | None) -> Self:
        """The first `limit` rows, or all."""
        return self if limit is None else self.take(range(min(limit, len(self))))

    def fingerprint(self) -> str:
        """A hash of all rows. It does not depend on their source."""
        rows = {name: values for name, values in asdict(self).items() if name not in self.facts}
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def texts(self) -> list:
        """The model's input of each row, in a comparable form."""
        raise NotImplementedError

    def counts(self) -> Counter[str]:
        """How often each label occurs; empty if there are no labels."""
        return Counter()

    def notes(self) -> list[str]:
        """Notes about the data, one line each, for the summary before a training."""
        return []

    def card(self) -> dict[str, Any]:
        """Facts for the model card, in addition to the number of examples."""
        return {}

    def strata(self) -> list[str] | None:
        """A label of each row for stratified splits; None if splits are not stratified."""
        return None

    def groups(self) -> list[str] | None:
        """The group of each row, such as its context. A split does not divide a group. None if there are no groups."""
        return None

    def augmented(self, copies: int, seed: int) -> Self:
        """The rows, followed by this number of altered copies of each. The labels of copies may be wrong."""
        raise NotImplementedError

    def known(self, labels: Sequence[str] | None) -> Self:
        """The rows without unknown labels. The other rows are added to `skipped`."""
        return self

    def _only(self, unknown: list[tuple[int, str]], unit: str) -> Self:
        """The rows without those in `unknown`, a list of (row, unknown label)."""
        bad = {row for row, _ in unknown}
        if bad and len(bad) == len(self):
            raise ValueError(
                f"{self.source}: no {unit} has a label that the model knows; the first label is {unknown[0][1]!r}"
            )
        kept = self.take([row for row in range(len(self)) if row not in bad])
        lines = [f"{self.source}, {unit} {row + 1}: unknown label {label!r}" for row, label in unknown]
        return replace(kept, skipped=[*self.skipped, *lines])


def list_of_texts(texts: Any, name: str) -> list:
    """Texts, or (first, second) pairs, as a list.

    Args:
        texts: a list, an array or a column of texts or pairs.
        name: name of the argument, for messages.

    Raises:
        ValueError: `texts` is a single text or a path, a row is neither a text nor a pair, or texts and pairs are
            mixed.
    """
    if isinstance(texts, str | Path):
        raise ValueError(f"{name} is one text or path ({str(texts)[:40]!r}); give a list of texts")
    if isinstance(texts, Mapping) or hasattr(texts, "columns"):  # list(texts) would be the names of its columns
        raise ValueError(f"{name} is a table of {', '.join(map(str, texts))}; give one of its columns")
    found = list(texts)
    for i, text in enumerate(found):
        is_pair = isinstance(text, tuple | list) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not is_pair and not isinstance(text, str):
            raise ValueError(f"{name}[{i}] is {str(text)[:40]!r}; it must be a text or a (first, second) pair of texts")
        if is_pair == isinstance(found[0], str):
            raise ValueError(f"{name} has texts and pairs: {name}[0] is {found[0]!r:.40}, {name}[{i}] {text!r:.40}")
    return found
