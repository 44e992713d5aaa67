"""Paths and globs → files → text, in the encodings that common programs write."""

import codecs
import glob
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

# longer byte-order marks first: the UTF-32 mark begins with the UTF-16 mark
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"),
)  # fmt: skip
_GUESSES = {"cp1252": "Windows' encoding of Western Europe", "gb18030": "an encoding of Chinese"}


def expand_files(patterns: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that match the paths or globs, sorted and without duplicates.

    Args:
        patterns: a path or glob (also with `**`), or several.

    Raises:
        FileNotFoundError: a pattern matches no file.
    """
    found: set[Path] = set()
    for pattern in map(str, [patterns] if isinstance(patterns, str | Path) else patterns):
        names = (
            [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)
        )  # "a[1].tsv" is a file name
        matches = [Path(p) for p in names if Path(p).is_file()]
        if not matches:
            raise FileNotFoundError(f"no file matches {pattern!r}")
        found.update(matches)
    return sorted(found)


def file_suffix(path: Path) -> str:
    """The extension of a file in lower case, ignoring a final `.gz`."""
    return (Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix).lower()


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 or UTF-32 with a byte-order mark. A `.gz` file is decompressed.

    Raises:
        ValueError: the file has another encoding; the message has the file, line and byte, and a guess of the encoding.
    """
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not a complete gzip file: {error}") from None
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding in ("utf-16", "utf-32"):
            raise ValueError(f"{path} has the byte-order mark of {encoding}, but is damaged: {error}") from None
        raise ValueError(_not_utf8(path, content, error)) from None


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file one by one, without the line feeds. Encodings and errors are those of `read_text`."""
    # not "\r": a line of a corpus or of JSON may contain it
    return (line.removesuffix("\n") for line in _lines(path, newline="\n"))


def lines_of_table(path: Path) -> Iterator[str]:
    """The lines of a .csv or .tsv file one by one, with their ends, of any system; otherwise as `read_lines`."""
    return _lines(path, newline="")


def _lines(path: Path, newline: str) -> Iterator[str]:
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        try:
            start = file.read(4)
            encoding = next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")
            file.seek(0)
            with io.TextIOWrapper(file, encoding, newline=newline) as lines:
                yield from lines
        except (UnicodeDecodeError, OSError, EOFError, zlib.error):
            read_text(path)  # raises an error with the line
            raise


def _not_utf8(path: Path, content: bytes, error: UnicodeDecodeError) -> str:
    line = content.count(b"\n", 0, error.start) + 1
    problem = f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8"
    # a Western text is mostly ASCII, with single accents and quotes; in a Chinese text nearly every byte is high
    window = content[error.start : error.start + 100]
    dense = sum(byte >= 0x80 for byte in window) > 0.4 * len(window)
    for encoding in sorted(_GUESSES, reverse=dense):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return f"{problem}; it may be {encoding}, {_GUESSES[encoding]}: `iconv -f {encoding} -t utf-8` converts it"
    return f"{problem}, and its encoding is unknown; save the file as UTF-8"
