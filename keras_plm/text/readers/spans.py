"""Rows with words and tags, or with a text and its character spans → sentences of words with tags."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from keras_plm.text.tags import spans_to_tags
from keras_plm.text.words import Words, split_words

from .bad_rows import BadRowError, BadRows
from .cells import HALF, check_characters

# the names of the fields in Hugging Face's data sets, doccano and spaCy
_WORDS = ("words", "tokens")
_TAGS = ("tags", "ner_tags")
_SPANS = ("spans", "slots", "entities", "label", "labels")
_ENDS = (("start", "end"), ("start_offset", "end_offset"), ("start_char", "end_char"))
_NAMES = ("label", "slot", "tag", "type")

Row = tuple[str, dict[str, Any]]


def tagged_rows(
    rows: Iterable[Row], key: str | None, bad: BadRows, found: Counter[str]
) -> Iterator[tuple[str, list[str], list[str], int]]:
    """Yield the place, the words, the tags, and the number of spans that were moved to word boundaries.

    Args:
        rows: places and fields.
        key: name of the list of tags; None looks for the usual names.
        bad: collects the bad rows.
        found: counts the rows that are texts with spans.
    """
    rows = list(rows)
    texts = [row["text"] for _, row in rows if _is_text(row)]
    split = iter(split_words(texts))
    for place, row in rows:
        words = next(split) if _is_text(row) else None
        found["texts"] += words is not None
        sentence = None
        with bad.at(place):
            sentence = _listed(row, key) if words is None else _spanned(row, words)
        if sentence is not None:
            yield place, *sentence


def _is_text(row: dict) -> bool:
    return isinstance(row.get("text"), str) and _first(row, _WORDS) is None and not HALF.search(row["text"])


def _first(row: dict, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in row), None)


def _listed(row: dict, key: str | None) -> tuple[list[str], list[str], int]:
    word_key, key = _first(row, _WORDS), key or _first(row, _TAGS) or _TAGS[0]
    if isinstance(row.get("text"), str) and HALF.search(row["text"]):
        raise BadRowError("its text has half of a character (a lone surrogate); remove it")
    if word_key is None:
        raise BadRowError(f'give "words" and "{key}", or "text" and "spans"; the row has {sorted(row)}')
    words: Any = row[word_key]
    tags: Any = row.get(key)
    for name, values in ((word_key, words), (key, tags)):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            numbers = isinstance(values, list) and all(isinstance(value, int) for value in values)
            hint = "; give the names of the tags instead of their numbers" if numbers and values else ""
            raise BadRowError(f"{name!r} must be a list of strings{hint}")
    if len(words) != len(tags):
        raise BadRowError(f"{len(words)} words, but {len(tags)} tags")
    if not words:
        raise BadRowError("a sentence without words; leave the row out")
    for word in words:
        try:
            check_characters(word)
        except BadRowError as error:
            raise BadRowError(f"the word {word!r} {error}") from None
    if not all(tag.strip() for tag in tags):
        raise BadRowError(f"the tag of {words[[bool(tag.strip()) for tag in tags].index(False)]!r} is empty")
    return words, [tag.strip() for tag in tags], 0


def _spanned(row: dict, split: Words) -> tuple[list[str], list[str], int]:
    """The words, the tags, and the number of spans whose boundaries were moved."""
    if not split.words:
        raise BadRowError("a text without words; leave the row out")
    owner: list[int | None] = [None] * len(split.words)
    shared = [0] * len(split.words)
    wanted = []
    key = _first(row, _SPANS) or _SPANS[0]
    spans = row.get(key)
    if not isinstance(spans, list):
        raise BadRowError(f'"{key}" is {spans!r}; give a list, empty if there is no span')
    for number, span in enumerate(spans):
        start, end, label = _span(span, len(row["text"]))
        words = [i for i in range(len(owner)) if split.starts[i] < end and split.ends[i] > start]
        if not words:
            raise BadRowError(f"the span {span!r} has white space only")
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
        raise BadRowError(str(error)) from None


def _span(span: Any, length: int) -> tuple[int, int, str]:
    start = end = label = None
    if isinstance(span, dict):
        ends = next((names for names in _ENDS if names[0] in span), _ENDS[0])
        start, end = (span.get(name) for name in ends)
        label = span.get(_first(span, _NAMES) or _NAMES[0])
    elif isinstance(span, list | tuple) and len(span) == 3:
        start, end, label = span
    if type(start) is not int or type(end) is not int or not isinstance(label, str) or not label.strip():
        raise BadRowError(f"a span must be {{start, end, label}} or [start, end, label], not {span!r:.100}")
    if not 0 <= start < end <= length:
        raise BadRowError(f"the span {span!r:.100} is outside the text, which has {length} characters")
    return start, end, label.strip()
