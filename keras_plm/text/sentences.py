"""Sentences of words with tags, read from CoNLL or JSONL."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .corpus import expand_files, read_text
from .examples import Examples, Patterns
from .rows import json_lines, table_suffix
from .tags import repair_tags, spans_to_tags
from .words import Words, split_words

_NO_WORD = re.compile(r"#|\d+[-.]\d")  # in CoNLL-U: a comment, several words in one, a word that was left out
_UPOS = 3


@dataclass(frozen=True)
class TaggedSentences(Examples):
    """Sentences of words, each word with a tag.

    Attributes:
        words: the words of each sentence.
        tags: the tag of each word; BIO is made legal (see `repair_tags`).
        repaired: how many tags or spans of each sentence were changed for that.
    """

    words: list[list[str]]
    tags: list[list[str]]
    repaired: list[int]

    @classmethod
    def read(cls, patterns: Patterns, tag_column: int | str = -1) -> Self:
        """Read CoNLL or JSONL files.

        CoNLL (any extension but the following; `.gz` too): a word and its tags a line, between tabs or spaces; a blank
        line between sentences. CoNLL-U (`.conllu`): the word is in column 1, UPOS in 3, the default. JSONL:
        `{"words": […], "tags": […]}`, or `{"text": …, "spans": [{"start", "end", "label"}]}` with characters (`slots`
        and `slot` are understood too): the text is split by `split_words`, and a span that begins or ends inside a word
        is widened to the word; a word that two spans share goes to the one that has more of it. `repaired` counts
        these spans.

        Args:
            patterns: paths or globs.
            tag_column: in CoNLL the column of the tag, counted from 0, the last by default; in JSONL the key of the
                list.

        Raises:
            FileNotFoundError: a pattern that matches no file.
            ValueError: a line without a tag, words and tags of unequal number, spans outside the text; with file and
                line.
        """
        words: list[list[str]] = []
        tags: list[list[str]] = []
        repaired: list[int] = []
        files = expand_files(patterns)
        for path in files:
            for sentence, found, moved in _tagged(path, tag_column):
                legal, changed = repair_tags(found)
                words.append(sentence)
                tags.append(legal)
                repaired.append(changed + moved)
        if not words:
            raise ValueError(f"no sentence in {', '.join(map(str, files))}")
        return cls(str(patterns), words, tags, repaired)


def _tagged(path: Path, tag_column: int | str) -> Iterator[tuple[list[str], list[str], int]]:
    if table_suffix(path) == ".jsonl":
        return _tagged_json(path, "tags" if isinstance(tag_column, int) else tag_column)
    if isinstance(tag_column, str):
        raise ValueError(f"tag_column={tag_column!r}; in CoNLL a column is a number, counted from 0")
    return _tagged_lines(path, tag_column)


def _tagged_json(path: Path, key: str) -> Iterator[tuple[list[str], list[str], int]]:
    rows = [(f"{path}, line {number}", row) for number, row in json_lines(path)]
    texts = [row["text"] for _, row in rows if "words" not in row and isinstance(row.get("text"), str)]
    split = iter(split_words(texts))
    for place, row in rows:
        if "words" in row:
            yield _listed(row, key, place)
        elif isinstance(row.get("text"), str):
            yield _spanned(row, next(split), place)
        else:
            raise ValueError(f'{place}: give "words" and "{key}", or "text" and "spans"; the row has {sorted(row)}')


def _tagged_lines(path: Path, tag_column: int) -> Iterator[tuple[list[str], list[str], int]]:
    word_column = 0
    if table_suffix(path) == ".conllu":
        # the last of its ten columns, MISC, says whether a space follows
        word_column, tag_column = 1, _UPOS if tag_column == -1 else tag_column
    words: list[str] = []
    tags: list[str] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip():
            if words:
                yield words, tags, 0
            words, tags = [], []
        elif not line.startswith("-DOCSTART-") and not (word_column and _NO_WORD.match(line)):
            # tabs where there are any: a word may be a space of another alphabet
            columns = line.split("\t") if "\t" in line else line.split()
            if len(columns) < 2 or not -len(columns) <= tag_column < len(columns) or not columns[tag_column].strip():
                raise ValueError(
                    f"{path}, line {number}: {line!r} has no tag in column {tag_column}; a word and its tag"
                )
            words.append(columns[word_column])
            tags.append(columns[tag_column].strip())
    if words:
        yield words, tags, 0


def _listed(row: dict, key: str, place: str) -> tuple[list[str], list[str], int]:
    words: Any = row["words"]
    tags: Any = row.get(key)
    for name, values in (("words", words), (key, tags)):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise ValueError(f"{place}: {name!r} must be a list of strings")
    if len(words) != len(tags):
        raise ValueError(f"{place}: {len(words)} words, but {len(tags)} tags")
    if not words:
        raise ValueError(f"{place}: a sentence without words; leave the row out")
    return words, tags, 0


def _spanned(row: dict, split: Words, place: str) -> tuple[list[str], list[str], int]:
    """Words and tags, and how many spans got another border than they asked for."""
    if not split.words:
        raise ValueError(f"{place}: a text without words; leave the row out")
    owner: list[int | None] = [None] * len(split.words)
    shared = [0] * len(split.words)
    wanted = []
    spans = row.get("spans", row.get("slots"))
    if not isinstance(spans, list):
        raise ValueError(f'{place}: "spans" is {spans!r}; give a list, empty where there is none')
    for number, span in enumerate(spans):
        start, end, label = _span(span, len(row["text"]), place)
        words = [i for i in range(len(owner)) if split.starts[i] < end and split.ends[i] > start]
        if not words:
            raise ValueError(f"{place}: the span {span!r} has white space only")
        wanted.append((label, words, split.starts[words[0]] == start and split.ends[words[-1]] == end))
        for i in words:
            common = min(end, split.ends[i]) - max(start, split.starts[i])
            if common > shared[i]:
                owner[i], shared[i] = number, common
    kept = [(label, [i for i in words if owner[i] == number]) for number, (label, words, _) in enumerate(wanted)]
    moved = sum(
        not exact or len(words) != len(asked) for (_, words), (_, asked, exact) in zip(kept, wanted, strict=True)
    )
    try:
        whole = [(label, words[0], words[-1] + 1) for label, words in kept if words]
        return split.words, spans_to_tags(whole, len(split.words)), moved
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _span(span: Any, length: int, place: str) -> tuple[int, int, str]:
    try:
        start, end, label = int(span["start"]), int(span["end"]), span.get("label", span.get("slot"))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"{place}: a span is {{start, end, label}}, not {span!r}") from None
    if not 0 <= start < end <= length or not isinstance(label, str):
        raise ValueError(f"{place}: the span {span!r} is none of the text's {length} characters")
    return start, end, label
