import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .corpus import expand_files, read_text

_HALF = re.compile("[\ud800-\udfff]")


def read_rows(patterns: str | Sequence[str], columns: Sequence[str], limit: int | None = None) -> dict[str, list[str]]:
    """Columns of TSV, CSV or JSONL files (by extension, `.gz` too), by name.

    TSV has no quoting, CSV has; both have a header line. JSONL has one object a line.

    Args:
        patterns: paths or globs.
        columns: names of the columns to read.
        limit: stop after so many rows, 1 or more; None means all.

    Returns:
        A list of strings for each column, all of one length.

    Raises:
        FileNotFoundError: a pattern that matches no file.
        ValueError: a limit below 1, another extension, a missing column or field, half of a character, not UTF-8, or
            no row at all; the message has the file, the line and what to do.
    """
    check_limit(limit)
    table: dict[str, list[str]] = {column: [] for column in columns}
    files = expand_files(patterns)
    for path in files:
        for line, row in _records(path):
            for column in columns:
                table[column].append(_field(row, column, f"{path}, line {line}"))
            if limit is not None and len(table[columns[0]]) >= limit:
                return table
    if not table[columns[0]]:
        raise ValueError(f"no row in {', '.join(map(str, files))}")
    return table


def check_limit(limit: int | None) -> None:
    """Raise ValueError unless there is a row in so many."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}; it is a number of rows, 1 or more, or None for all")


def _field(row: dict, column: str, place: str) -> str:
    if column not in row:
        raise ValueError(f"{place}: no column {column!r}; the row has {sorted(map(str, row))}")
    value = row[column]
    if value is None:
        raise ValueError(f"{place}: {column!r} is null; fill it in, or leave the row out")
    return value if isinstance(value, str) else json.dumps(value)


def _records(path: Path) -> Iterator[tuple[int, dict]]:
    """Line number and fields of each row."""
    suffix = table_suffix(path)
    if suffix == ".jsonl":
        yield from json_lines(path)
    elif suffix in (".tsv", ".csv"):
        yield from _delimited(path, suffix)
    else:
        raise ValueError(f"{path}: unknown kind of table {suffix!r}; use .tsv, .csv or .jsonl (or .gz)")


def table_suffix(path: Path) -> str:
    """The extension that says what kind of file it is, before `.gz` if there is one."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def json_lines(path: Path) -> Iterator[tuple[int, dict]]:
    """Line number and fields of each object of a JSONL file.

    Raises:
        ValueError: a line that is no JSON object.
    """
    # not splitlines(), which also splits at the U+2028 that JSON allows inside a string
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, _json_object(path, number, line)


def _delimited(path: Path, suffix: str) -> Iterator[tuple[int, dict]]:
    text = io.StringIO(read_text(path), newline="")
    csv.field_size_limit(2**31 - 1)  # a document may be longer than Python's limit of 131,072 characters
    if suffix == ".tsv":
        reader = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(text, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        for fields in reader:
            if not fields:
                if len(header) > 1:
                    continue
                fields = [""]  # in a table of one column, a blank line is a row
            if len(fields) != len(header):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {len(fields)} fields, but the header has "
                    f"{len(header)} ({', '.join(header)}); a separator inside a field?"
                )
            yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}") from None


def _json_object(path: Path, number: int, line: str) -> dict:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f'{path}, line {number}: a row must be a JSON object like {{"text": …}}')
    if "\\u" in line and _HALF.search(json.dumps(row, ensure_ascii=False)):  # JSON can write half of a character
        raise ValueError(f"{path}, line {number}: half of a character (a lone surrogate); remove it")
    return row


def label_ids(values: Sequence[str], labels: Sequence[str], source: str) -> list[int]:
    """Index of each value among the labels.

    Raises:
        ValueError: a value that is no label; the message counts the rows and names the first.
    """
    return [ids[0] for ids in label_rows([[value] for value in values], labels, source)]


def label_rows(rows: Sequence[Sequence[str]], labels: Sequence[str], source: str, unit: str = "row") -> list[list[int]]:
    """Indices among the labels, of the several values of each row.

    Args:
        rows: values.
        labels: those that the model knows.
        source: where they come from, for messages.
        unit: what a row is, for messages.

    Raises:
        ValueError: a value that is no label; the message counts the rows and names the first.
    """
    index = {label: i for i, label in enumerate(labels)}
    unknown = [(number, value) for number, row in enumerate(rows, 1) for value in row if value not in index]
    if unknown:
        number, value = unknown[0]
        raise ValueError(
            f"{source}, {unit} {number}: unknown label {value!r} "
            f"({len({number for number, _ in unknown})} such {unit}s); the model knows {list(labels)}"
        )
    return [[index[value] for value in row] for row in rows]


def split_labels(values: Sequence[str], source: str = "labels") -> list[list[str]]:
    """The labels of each row of a multi-label table: a JSON list, or names between semicolons; "" for none.

    Example:
        >>> split_labels(["joy; surprise", "", '["fear"]'])
        [['joy', 'surprise'], [], ['fear']]
    """
    rows = []
    for row, value in enumerate(values, 1):
        if value.strip().startswith("["):
            try:
                names = json.loads(value)
            except json.JSONDecodeError:
                names = None
            if not isinstance(names, list):
                raise ValueError(f"{source}, row {row}: {value!r} is no list of labels")
            rows.append([str(name) for name in names])
        else:
            rows.append([name.strip() for name in value.split(";") if name.strip()])
    return rows


def scores(values: Sequence[str], source: str) -> list[float]:
    """Each value as a number, for regression.

    Raises:
        ValueError: a value that is not a finite number; the message names its row.
    """
    numbers = []
    for row, value in enumerate(values, 1):
        try:
            numbers.append(float(value))
        except ValueError:
            raise ValueError(f"{source}, row {row}: {value!r} is not a number") from None
        if not math.isfinite(numbers[-1]):
            raise ValueError(f"{source}, row {row}: {value!r} is not a finite number")
    return numbers


def distinct_labels(values: Sequence[str], source: str) -> list[str]:
    """The different labels, sorted.

    Raises:
        ValueError: a row without a label; the message names it.
    """
    for row, value in enumerate(values, 1):
        if not value.strip():
            raise ValueError(f"{source}, row {row}: the label is empty; fill it in, or leave the row out")
    return sorted(set(values))
