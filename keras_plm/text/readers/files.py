"""Paths and globs → files → text, whatever program wrote it."""

import codecs
import glob
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

# the longer mark first: UTF-32's begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"),
)  # fmt: skip
_GUESSES = {"cp1252": "Windows' encoding of Western Europe", "gb18030": "an encoding of Chinese"}


def expand_files(patterns: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that the paths or globs name, sorted, each once.

    Args:
        patterns: a path or glob (`**` included), or several.

    Raises:
        FileNotFoundError: a pattern that matches no file.
    """
    found: set[Path] = set()
    for pattern in map(str, [patterns] if isinstance(patterns, str | Path) else patterns):
        names = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)  # a name may hold [1]
        matches = [Path(p) for p in names if Path(p).is_file()]
        if not matches:
            raise FileNotFoundError(f"no file matches {pattern!r}")
        found.update(matches)
    return sorted(found)


def file_suffix(path: Path) -> str:
    """The extension that says what kind of file it is, before `.gz` if there is one, in lower case."""
    return (Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix).lower()


def read_text(path: Path) -> str:
    """The text of a file, plain or gzipped (by the ending .gz): UTF-8, or UTF-16 and UTF-32 that begin with their mark.

    Raises:
        ValueError: another encoding; the message has the file, the line, the byte, and a guess which one it is.
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
            raise ValueError(f"{path} begins as {encoding}, but is damaged: {error}") from None
        raise ValueError(_not_utf8(path, content, error)) from None


def _not_utf8(path: Path, content: bytes, error: UnicodeDecodeError) -> str:
    line = content.count(b"\n", 0, error.start) + 1
    problem = f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8"
    # in a Western text single accents and quotes stand between ASCII; in a Chinese one nearly every byte is high
    window = content[error.start : error.start + 100]
    dense = sum(byte >= 0x80 for byte in window) > 0.4 * len(window)
    for encoding in sorted(_GUESSES, reverse=dense):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return f"{problem}; it may be {encoding}, {_GUESSES[encoding]}: `iconv -f {encoding} -t utf-8` converts it"
    return f"{problem}, and no encoding that is known here; save the file as UTF-8"
