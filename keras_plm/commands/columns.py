"""What the commands say of columns."""

from keras_plm.text import read_rows


def read_texts(
    file: str, text_column: str, second_column: str | None, limit: int | None = None
) -> tuple[list[str], list[str] | None]:
    """The texts of a table and, for a model of pairs, the second ones."""
    table = read_rows(file, [text_column] if second_column is None else [text_column, second_column], limit)
    return table[text_column], None if second_column is None else table[second_column]


def tag_column_of(text: str) -> int | str:
    """The number of a column of CoNLL, or a key of JSONL."""
    return int(text) if text.lstrip("-").isdigit() else text
