"""Files → parts that workers read independently → the texts of documents."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from keras_plm.text import read_text, read_texts
from keras_plm.text.readers import cells
from keras_plm.text.readers.files import file_suffix, read_lines
from keras_plm.text.readers.tables import parse_json

DocumentEnd = Literal["blank-line", "file"]
_TABLES = (".tsv", ".csv", ".jsonl")
_MARKS = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16 and UTF-32, which begins with UTF-16's
_BLANK_LINE = re.compile(r"\n\s*\n")
_BORDERS = {".jsonl": re.compile(rb"\n"), "": re.compile(rb"\n[ \t\r\f\v]*\n")}
_WINDOW = 2**20  # bytes that are searched at once for the end of a document


@dataclass(frozen=True)
class Part:
    """A range of bytes of a file, from one document's beginning to another one's end.

    Attributes:
        number: number of the part in the corpus.
        path: the file.
        start: first byte.
        end: the byte after the last one; None means the end of the file.
    """

    number: int
    path: str
    start: int = 0
    end: int | None = None

    @property
    def name(self) -> str:
        """The beginning of the names of files that belong to the part."""
        return f"shard-{self.number:05d}"


def parts_of(files: list[Path], part_bytes: int, document_end: DocumentEnd) -> list[Part]:
    """The parts of files, a function of the files alone.

    Text files with blank lines between documents and `.jsonl` files are split. A compressed file, another table, and a
    file that is one document are one part each.

    Args:
        files: the files.
        part_bytes: a part ends at the first end of a document after this number of bytes.
        document_end: whether a blank line ends a document of a text file, or only the end of the file.
    """
    found: list[Part] = []
    for path in files:
        for start, end in _ranges(path, part_bytes, document_end):
            found.append(Part(len(found), str(path), start, end))
    return found


def _ranges(path: Path, part_bytes: int, document_end: DocumentEnd) -> Iterator[tuple[int, int | None]]:
    size, suffix = path.stat().st_size, file_suffix(path)
    is_lines = suffix == ".jsonl" or (suffix not in _TABLES and document_end == "blank-line")
    with path.open("rb") as file:
        if path.suffix.lower() == ".gz" or not is_lines or file.read(2) in _MARKS or size <= part_bytes:
            yield 0, None
            return
        border = _BORDERS.get(suffix, _BORDERS[""])
        start = 0
        while start < size:
            end = size
            position = start + part_bytes
            while position < size:
                file.seek(position)
                window = file.read(_WINDOW)
                if match := border.search(window):
                    end = position + match.end()
                    break
                position += max(len(window) - 1_000, 1)  # a border may lie across the end of the window
            yield start, end
            start = end


def documents_of(part: Part, document_end: DocumentEnd, text_column: str) -> Iterator[str]:
    """The texts of the documents of a part, stripped, without empty ones.

    Raises:
        ValueError: the encoding is not UTF-8, or a row of a table is bad; the message has the place.
    """
    path = Path(part.path)
    if part.end is None and file_suffix(path) in _TABLES:
        texts = read_texts(part.path, text_column)
    elif file_suffix(path) in _TABLES:
        texts = _json_texts(part, text_column)
    elif document_end == "file":
        texts = iter([read_text(path)])
    elif part.end is None:
        texts = _paragraphs(read_lines(path))
    else:
        texts = iter(_BLANK_LINE.split(_decoded(part)))
    for text in texts:
        if stripped := text.strip():
            yield stripped


def _paragraphs(lines: Iterator[str]) -> Iterator[str]:
    document: list[str] = []
    for line in lines:
        if line.strip():
            document.append(line)
        elif document:
            yield "\n".join(document)
            document = []
    yield "\n".join(document)


def _json_texts(part: Part, text_column: str) -> Iterator[str]:
    for number, line in enumerate(_decoded(part).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{part.path}, line {number} after byte {part.start:,}"
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if not isinstance(row, dict) or text_column not in row:
            raise ValueError(f'{place}: it must be an object with a text, like {{"{text_column}": "…"}}')
        try:
            text = cells.text(row[text_column])
        except ValueError as error:
            raise ValueError(f"{place}: {text_column!r} {error}") from None
        yield text


def _decoded(part: Part) -> str:
    with open(part.path, "rb") as file:
        file.seek(part.start)
        content = file.read(None if part.end is None else part.end - part.start)
    try:
        return content.decode("utf-8-sig" if part.start == 0 else "utf-8")
    except UnicodeDecodeError as error:
        place = f"{part.path}, byte {part.start + error.start:,}"
        raise ValueError(f"{place}: 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8") from None
