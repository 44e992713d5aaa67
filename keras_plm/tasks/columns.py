from dataclasses import dataclass

from keras_plm.text import read_rows


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a file. Each task uses only the columns that it needs.

    Attributes:
        text: column of the text, or of the first text of a pair.
        second: column of the second text of a pair; None for single texts.
        label: column of the label, labels or score; or several columns of 0 and 1; or None.
        tag: column of the tags in CoNLL, counted from 0 (-1 is the last); or their key in JSONL.
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
