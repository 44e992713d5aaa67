"""CoNLL and CoNLL-U files: one word and its tags per line, and a blank line between sentences."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .bad_rows import BadRowError, BadRows
from .files import file_suffix, read_text

_NO_WORD = re.compile(r"#|\d+[-.]\d")  # CoNLL-U lines to skip: comments, multiword tokens, empty nodes
_KEY = re.compile(r"#\s*[\w.:-]+(\s+[\w.:-]+)*\s*=")  # "# sent_id = 1"
_UPOS = 3


def conll_sentences(
    path: Path, tag_column: int, bad: BadRows, found: Counter[str]
) -> Iterator[tuple[str, list[str], list[str], int]]:
    """Yield (place, words, tags, 0) for each sentence; `found` counts the comments.

    A line that begins with #, before the first word of a sentence, is a comment. But it is a word if it has the same
    columns as the other lines and a tag that occurs in them; in a tweet, # is a word.
    """
    word_column = 0
    is_conllu = file_suffix(path) == ".conllu"
    if is_conllu:
        # the last of the ten columns, MISC, is not a tag; it says whether a space follows
        word_column, tag_column = 1, _UPOS if tag_column == -1 else tag_column
    lines = [line.rstrip("\r") for line in read_text(path).split("\n")]
    shapes, tags_of_file = _words_of(lines, tag_column)
    for block in _blocks(lines):
        if is_conllu:
            block = [(number, line) for number, line in block if not _NO_WORD.match(line)]
        else:
            begin = _comments(block, shapes, tags_of_file, tag_column)
            found["comments"] += begin
            block = block[begin:]
        rows: list[tuple[str, str]] = []
        try:
            for _, line in block:
                rows.append(_word(line, word_column, tag_column))
        except BadRowError as error:
            bad.add(f"{path}, line {block[len(rows)][0]}", str(error))
            continue
        if rows:
            yield f"{path}, line {block[0][0]}", [word for word, _ in rows], [tag for _, tag in rows], 0


def _blocks(lines: list[str]) -> Iterator[list[tuple[int, str]]]:
    """Yield the numbered lines of each sentence, without document marks."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate([*lines, ""], 1):
        if line.strip() and not line.startswith("-DOCSTART-"):
            block.append((number, line))
        elif block:
            yield block
            block = []


def _comments(block: list[tuple[int, str]], shapes: set[tuple[bool, int]], tags: set[str], tag_column: int) -> int:
    """Number of comment lines before the first word of a sentence."""
    count = 0
    for _, line in block:
        if not line.startswith("#") or not _is_comment(line, shapes, tags, tag_column):
            break
        count += 1
    return count


def _columns(line: str) -> list[str]:
    """Split at tabs if there are any, because a word may be a Unicode space; otherwise at white space."""
    return line.split("\t") if "\t" in line else line.split()


def _shape(line: str) -> tuple[bool, int]:
    return "\t" in line, len(_columns(line))


def _words_of(lines: list[str], tag_column: int) -> tuple[set[tuple[bool, int]], set[str]]:
    """The column layouts and the tags of all lines that do not begin with #."""
    words = [line for line in lines if line.strip() and not line.startswith(("#", "-DOCSTART-"))]
    columns = [_columns(line) for line in words]
    tags = {row[tag_column] for row in columns if -len(row) <= tag_column < len(row)}
    return {_shape(line) for line in words}, tags


def _is_comment(line: str, shapes: set[tuple[bool, int]], tags: set[str], tag_column: int) -> bool:
    columns = _columns(line)
    if _shape(line) not in shapes or len(columns[0].split()) > 1 or _KEY.match(line):
        return True
    return columns[0] == "#" and columns[tag_column].strip() not in tags


def _word(line: str, word_column: int, tag_column: int) -> tuple[str, str]:
    columns = _columns(line)
    if len(columns) < 2 or not -len(columns) <= tag_column < len(columns) or not columns[tag_column].strip():
        raise BadRowError(f"{line[:80]!r} has no tag in column {tag_column}; a line needs a word and its tag")
    if word_column >= len(columns) or not columns[word_column]:
        raise BadRowError(f"{line[:80]!r} has no word in column {word_column}; a line needs a word and its tag")
    return columns[word_column], columns[tag_column].strip()
