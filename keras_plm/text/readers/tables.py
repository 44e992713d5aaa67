"""Tables → rows of fields by name: .tsv, .csv and .jsonl files, and data in memory."""

import csv
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .bad_rows import BadRowError, BadRows, OnBadRow
from .cells import Cell, text
from .files import expand_files, file_suffix, lines_of_table, read_lines
from .memory import is_in_memory, rows_in_memory

# the place of a row, for messages, and its fields
Row = tuple[str, dict[str, Any]]


def first_value(source: Any, column: str) -> Any:
    """The first value of a column, as it is in the table; None if there is none."""
    bad = BadRows("skip")
    return next((row.get(column) for _, row in records(source, bad, (column,))), None)


def read_columns(
    source: Any,
    columns: Mapping[str, Cell],
    limit: int | None = None,
    on_bad_row: OnBadRow = "error",
) -> tuple[dict[str, list], list[str]]:
    """Read columns of a table, by name, and convert each value to the type of its column.

    TSV and CSV files have a header line. CSV files have quoting, TSV files do not. If the header of a CSV has no comma,
    semicolons or tabs can separate the fields, as in files from spreadsheets. JSONL has one object per line. A table
    in memory is a dict of columns, a list of dicts, a pandas or polars DataFrame, or a `datasets.Dataset`.

    Args:
        source: paths or globs of `.tsv`, `.csv` or `.jsonl` files, also `.gz`; or a table in memory.
        columns: for each column, the function of `cells` that converts its values.
        limit: stop after this number of good rows, 1 or more; None means all.
        on_bad_row: "error", or "skip" to leave bad rows out.

    Returns:
        A list for each column, all of the same length, and a line for each row that was left out.

    Raises:
        FileNotFoundError: a pattern matches no file.
        ValueError: the limit is below 1, the extension is unknown, the encoding is not UTF-8 or UTF-16, a column is
            missing or occurs twice, there is no row, or there are bad rows. The message lists the bad rows with file,
            row and a remedy.
    """
    check_limit(limit)
    table: dict[str, list] = {column: [] for column in columns}
    bad = BadRows(on_bad_row)
    count = 0
    for place, row in records(source, bad, tuple(columns)):
        with bad.at(place):
            values = {column: _value(row, column, cell) for column, cell in columns.items()}
            for column, value in values.items():
                table[column].append(value)
            count += 1
        if count == limit:
            break
    problems = bad.done(name_of(source))
    if not count:
        raise ValueError(f"no row in {name_of(source)}{f': all {len(problems)} are bad' if problems else ''}")
    return table, problems


def read_rows(source: Any, columns: Sequence[str], limit: int | None = None) -> dict[str, list[str]]:
    """Read columns of texts, by name; see `read_columns` for tables and errors.

    Example:
        >>> read_rows({"text": ["A quiet film.", "A calm movie."], "year": [1999, 2004]}, ["text"])
        {'text': ['A quiet film.', 'A calm movie.']}
    """
    return read_columns(source, {column: text for column in columns}, limit)[0]


def read_texts(source: Any, column: str) -> Iterator[str]:
    """The texts of a column, one by one; see `read_columns` for tables and errors.

    Raises:
        ValueError: after the last row, if there were bad rows.
    """
    bad = BadRows(advice=False)
    for place, row in records(source, bad, (column,)):
        value = None
        with bad.at(place):
            value = _value(row, column, text)
        if value is not None:
            yield value
    bad.done(name_of(source))


def check_limit(limit: int | None) -> None:
    """Raise ValueError for a limit below 1."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}; it is a number of rows, 1 or more, or None for all")


def name_of(source: Any) -> str:
    """The name of a source in messages."""
    if is_in_memory(source):
        return f"the {type(source).__name__} in memory"
    return ", ".join(map(str, [source] if isinstance(source, str | Path) else source))


def records(source: Any, bad: BadRows, needed: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the place and the fields of each row.

    Args:
        source: as in `read_columns`.
        bad: collects the rows that have no fields.
        needed: columns that a file with a header must have.
    """
    if is_in_memory(source):
        yield from rows_in_memory(source, needed)
        return
    for path in expand_files(source):
        suffix = file_suffix(path)
        if suffix == ".jsonl":
            yield from json_lines(path, bad)
        elif suffix in (".tsv", ".csv"):
            yield from _delimited(path, suffix, bad, needed)
        else:
            raise ValueError(f"{path}: unknown kind of table {suffix!r}; use .tsv, .csv or .jsonl (or .gz)")


def json_lines(path: Path, bad: BadRows) -> Iterator[Row]:
    """Yield the place and the fields of each object of a JSONL file. A line that is not a JSON object is a bad row."""
    # not splitlines(), which also splits at the U+2028 that JSON allows inside a string
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            place, row = f"{path}, line {number}", None
            with bad.at(place):
                row = parse_json(line)
                if not isinstance(row, dict):
                    row = None
                    raise BadRowError('a row must be a JSON object like {"text": …}')
            if row is not None:
                yield place, row


def parse_json(content: str) -> Any:
    """Parse JSON in which no object has a key twice.

    Raises:
        BadRowError: it is not JSON, is nested too deeply, or has a key twice.
    """
    try:
        return json.loads(content, object_pairs_hook=_object)
    except BadRowError:
        raise
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"not JSON ({str(error)[:200]})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise BadRowError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return found


def _value(row: dict, column: str, cell: Cell) -> Any:
    if column not in row:
        raise BadRowError(f"no column {column!r}; the row has {sorted(map(str, row))}")
    try:
        return cell(row[column])
    except BadRowError as error:
        raise BadRowError(f"{column!r} {error}") from None


def _delimited(path: Path, suffix: str, bad: BadRows, needed: Sequence[str]) -> Iterator[Row]:
    lines = lines_of_table(path)
    csv.field_size_limit(2**31 - 1)  # a document may be longer than Python's limit of 131,072 characters
    first_line, separator = 0, "\t"
    if suffix == ".csv":
        first_line, separator, lines = _separator(lines)
    if suffix == ".tsv":
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=separator != "\t")
    try:
        header = [name.strip() for name in next(reader, [])]
        if not header:
            return
        _check_header(path, header, needed)
        for fields in reader:
            if not fields and len(header) > 1:
                continue
            place = f"{path}, line {reader.line_num + first_line}"
            fields = fields or [""]  # in a table with one column, a blank line is a row
            if len(fields) != len(header):
                problem = f"{len(fields)} fields, but the header has {len(header)} ({', '.join(header)})"
                bad.add(place, f"{problem}; a separator inside a field?")
            elif [field.strip() for field in fields] == header:
                bad.add(place, "the header again; remove the line")
            else:
                yield place, dict(zip(header, fields, strict=True))
    except csv.Error as error:  # the rest cannot be parsed into rows
        raise ValueError(f"{path}, line {reader.line_num + first_line}: {error}") from None


def _separator(lines: Iterator[str]) -> tuple[int, str, Iterator[str]]:
    """For a CSV: the number of lines before the header, the field separator, and the lines from the header on."""
    header = next(lines, "")
    mark = header.strip("\r\n ").lower()
    if mark in ("sep=;", "sep=,", "sep=\t"):  # Excel's separator line
        return 1, mark[4], lines
    return 0, next((mark for mark in ",;\t" if mark in header), ","), itertools.chain([header], lines)


def _check_header(path: Path, header: list[str], needed: Sequence[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ValueError(f"{path}: the header has {', '.join(map(repr, twice))} twice; rename or remove one")
    missing = [name for name in needed if name not in header]
    if missing:
        raise ValueError(f"{path}: no column {missing[0]!r}; the table has {header}")
