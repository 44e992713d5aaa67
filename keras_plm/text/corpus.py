import glob
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

# After . ! ? … and closing quotes, before white space; Chinese full stops need no white space.
_SPACED_END = re.compile(r"(?<=[.!?…؟।])([\"'”’»)\]]*)\s+(?=[\"'“‘«(\[¿¡–—-]*(\w))")
_CHINESE_END = re.compile(r"(?<=[。！？；])(?![”’」』）。！？；])|(?<=[。！？；][”’」』）])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\"'“‘])(?:Mr|Mrs|Ms|Dr|St|Prof|Rev|Hon|Col|Gen|Capt|Lt|Sgt|No|vs|etc|e\.g|i\.e|cf|[A-Z])\.$"
)


def split_sentences(text: str) -> list[str]:
    """Split a paragraph into sentences: English, Chinese and other scripts that mark their ends.

    A rule, not a model: a full stop, question or exclamation mark followed by white space and a letter or digit that is
    not lower-case (quotes, brackets, dashes, ¿ and ¡ may stand before it) ends a sentence, unless the word before it is
    a title, an initial or a common abbreviation;
    。！？； end one wherever they stand.

    Args:
        text: one paragraph without line breaks.

    Returns:
        The sentences, stripped, without empty ones.

    Example:
        >>> split_sentences("Mr. Bell rang. Who answered? 没有人。他走了。")
        ['Mr. Bell rang.', 'Who answered?', '没有人。', '他走了。']
    """
    sentences: list[str] = []
    for piece in _CHINESE_END.split(text):
        start = 0
        for match in _SPACED_END.finditer(piece):
            if match[2].islower():  # the sentence goes on; scripts without capitals have nothing lower
                continue
            sentence = piece[start : match.end(1)]
            if not _ABBREVIATION.search(sentence):
                sentences.append(sentence.strip())
                start = match.end()
        sentences.append(piece[start:].strip())
    return [sentence for sentence in sentences if sentence]


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


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, plain or gzipped (by the ending .gz), a leading BOM removed.

    Raises:
        ValueError: not UTF-8; the message has the file, the line and the byte.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is not a complete gzip file: {error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; convert the file "
            f"first, e.g. `iconv -f latin1 -t utf-8`"
        ) from None


def read_documents(patterns: str | Path | Sequence[str | Path]) -> Iterator[list[str]]:
    """Yield documents as lists of sentences.

    A blank line ends a document, so does the end of a file; each other line is one or more whole
    sentences, which `split_sentences` separates.

    Args:
        patterns: paths or globs of UTF-8 text files, `.gz` too.

    Raises:
        FileNotFoundError: a pattern that matches no file.
        ValueError: a file that is not UTF-8, or files without a single sentence.
    """
    empty = True
    files = expand_files(patterns)
    for path in files:
        document: list[str] = []
        for line in [*read_text(path).split("\n"), ""]:
            sentences = split_sentences(line)
            document.extend(sentences)
            if not sentences and document:
                empty = False
                yield document
                document = []
    if empty:
        names = ", ".join(str(path) for path in files[:3])
        raise ValueError(f"the corpus is empty: no sentence in {len(files)} file(s) ({names})")
