from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from keras_plm.text.augmentation import altered

from . import cells
from .bad_rows import BadRowError, OnBadRow
from .examples import Examples
from .tables import name_of, read_columns

Kind = Literal["label", "labels", "score"]


@dataclass(frozen=True)
class LabeledTexts(Examples):
    """Texts, or pairs of texts, each with a label, a score, or several labels.

    Attributes:
        first: texts, or the first texts of pairs.
        second: the second texts of pairs, or None.
        values: for each row its label, its score as a number, or a list of its labels.
    """

    first: list[str]
    second: list[str] | None
    values: list[Any]

    @classmethod
    def read(
        cls,
        source: Any,
        text_column: str,
        second_column: str | None,
        label_column: str | Sequence[str] | None,
        limit: int | None = None,
        kind: Kind = "label",
        on_bad_row: OnBadRow = "error",
    ) -> Self:
        """Read columns of a table; see `read_columns` for the kinds of tables and errors.

        Args:
            source: paths, globs, or a table in memory.
            text_column: column of the text, or of the first text of a pair.
            second_column: column of the second text of a pair; None for single texts.
            label_column: column of the label, score or labels. For several labels also the names of several columns:
                1 if a text has the label, otherwise 0. None for pairs that are all similar.
            limit: read at most this number of rows, 1 or more.
            kind: content of the label column: a "label", several "labels", or a "score".
            on_bad_row: "error", or "skip" to leave bad rows out.
        """
        texts = [text_column] if second_column is None else [text_column, second_column]
        several = label_column is not None and not isinstance(label_column, str)
        if several and kind != "labels":
            raise ValueError(
                f"several columns of labels ({', '.join(label_column or ())}) are only for several labels per text"
            )
        named = [label_column] if isinstance(label_column, str) else list(label_column or ())
        if len(set(names := [*texts, *named])) != len(names):
            raise ValueError(f"a column is named twice: {', '.join(names)}")
        kinds: dict[str, cells.Cell] = {"label": cells.Label(), "labels": cells.Labels(), "score": cells.score}
        value = kinds[kind]
        columns = {name: cells.text for name in texts} | {name: cells.flag if several else value for name in named}
        table, skipped = read_columns(source, columns, limit, on_bad_row)
        if several:
            flags = zip(*(table[name] for name in named), strict=True)
            values: list = [[name for name, on in zip(named, row, strict=True) if on] for row in flags]
        else:
            values = table[named[0]] if named else [1.0] * len(table[text_column])
        second = None if second_column is None else table[second_column]
        return cls(name_of(source), table[text_column], second, values, skipped=skipped)

    def texts(self) -> list:
        """Each text, or (first, second) pair."""
        return self.first if self.second is None else list(zip(self.first, self.second, strict=True))

    def scores(self) -> list[float]:
        """The values as numbers.

        Raises:
            ValueError: a value is not a number; the message names its row.
        """
        return self._converted(cells.score, "score")

    def label_lists(self) -> list[list[str]]:
        """The values as lists of labels; a value such as "joy; surprise" is split.

        Raises:
            ValueError: a value is not a list of labels; the message names its row.
        """
        return self._converted(cells.Labels(), "list of labels")

    def _converted(self, cell: cells.Cell, name: str) -> list:
        found = []
        for row, value in enumerate(self.values, 1):
            try:
                found.append(cell(value))
            except BadRowError as error:
                raise ValueError(f"{self.source}, row {row}: the {name} {error}") from None
        return found

    def counts(self) -> Counter[str]:
        """How often each label occurs; empty for scores."""
        rows = (value if isinstance(value, list) else [value] for value in self.values if not isinstance(value, float))
        return Counter(label for row in rows for label in row)

    def strata(self) -> list[str]:
        """The label of each row, as text."""
        return [str(value) for value in self.values]

    def augmented(self, copies: int, seed: int) -> Self:
        """The rows, followed by copies whose (first) texts are altered; see `altered`."""
        many = self.take(list(range(len(self))) * (1 + copies))
        return replace(many, first=[*self.first, *altered(self.first, copies, seed)])

    def given(self) -> list[dict[str, str]]:
        """The text or texts of each row by name, for lists of predictions."""
        if self.second is None:
            return [{"text": text} for text in self.first]
        return [{"first": a, "second": b} for a, b in zip(self.first, self.second, strict=True)]

    def known(self, labels: Sequence[str] | None) -> Self:
        """The rows without unknown labels."""
        if labels is None:
            return self
        rows = [value if isinstance(value, list) else [value] for value in self.values]
        unknown = [(row, [v for v in values if v not in labels]) for row, values in enumerate(rows)]
        return self._only([(row, values[0]) for row, values in unknown if values], "row")
