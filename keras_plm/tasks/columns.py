from dataclasses import dataclass

from keras_plm.text import read_rows


@dataclass(frozen=True)
class Columns:
    """Which column of a file holds what; a task looks at those that it needs.

    Attributes:
        text: the (first) text.
        second: the second text of a pair; None for single texts.
        label: the label, the labels or the score; the names of several columns of 0 and 1; None where there is none.
        tag: of CoNLL the column of the tag, counted from 0, the last by default; of JSONL its key.
    """

    text: str = "text"
    second: str | None = None
    label: str | tuple[str, ...] | None = "label"
    tag: int | str = -1


def read_texts(source: str, columns: Columns, limit: int | None = None) -> list:
    """The texts of a table, or (first, second) pairs if there is a second column, without labels."""
    if columns.second is None:
        return read_rows(source, [columns.text], limit)[columns.text]
    table = read_rows(source, [columns.text, columns.second], limit)
    return list(zip(table[columns.text], table[columns.second], strict=True))
