"""Tags of words ↔ spans, for IOB1, IOB2, BIOES with its spellings, and plain tags (parts of speech)."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

Scheme = Literal["BIO", "BIOES", "plain"]

_OUTSIDE = "O"
_CHUNK = re.compile(r"[BIES]-.")
_SPELLED = re.compile(r"([BIESLUMW])-.")
# other spellings of BIOES: the allowed letters, letters of which at least one must occur, and their BIOES letters
_SPELLINGS = {
    "BILOU": ("BILU", "LU", {"L": "E", "U": "S"}),
    "BMES": ("BMESW", "M", {"M": "I", "W": "S"}),
    "BEW": ("BEIW", "W", {"W": "S"}),
}


def canonical_labels(labels: Sequence[str]) -> list[str]:
    """Convert BILOU and BMES (BMEW) tags to BIOES. Other tags are not changed.

    Example:
        >>> canonical_labels(["O", "B-PER", "L-PER", "U-PER"])
        ['O', 'B-PER', 'E-PER', 'S-PER']
    """
    _, letters = _spelling(labels)
    return [letters.get(label[0], label[0]) + label[1:] if _SPELLED.match(label) else label for label in labels]


def _spelling(labels: Iterable[str]) -> tuple[str | None, dict[str, str]]:
    """The name of the BIOES spelling, and a map from its letters to BIOES letters; (None, {}) if there is none."""
    labels = set(labels)
    found = {match[1] for label in labels if (match := _SPELLED.match(label))}
    if _OUTSIDE in labels or all(map(_SPELLED.match, labels)):
        for name, (allowed, told_by, letters) in _SPELLINGS.items():
            if found <= set(allowed) and found & set(told_by):
                return name, letters
    return None, {}


def tag_scheme(labels: Iterable[str]) -> Scheme:
    """The scheme of the tags: "BIO" (O, B-x, I-x), "BIOES" (also E-x, S-x), or "plain" tags, one per word.

    In BIO and BIOES, other tags (such as X or [PAD]) mean outside. A set of tags with prefixes such as B- is BIO or
    BIOES only if it contains O, or if all its tags have a prefix.

    Example:
        >>> tag_scheme(["O", "B-PER", "I-PER"]), tag_scheme(["NOUN", "VERB"])
        ('BIO', 'plain')
    """
    labels = list(labels)
    chunks = [label for label in labels if _CHUNK.match(label)]
    if not chunks or _OUTSIDE not in labels and len(chunks) < len(labels):
        return "plain"
    return "BIOES" if any(label[0] in "ES" for label in chunks) else "BIO"


def tag_notation(sentences: Iterable[Sequence[str]]) -> str:
    """The notation of the tags of a whole data set: IOB1, IOB2, BIOES, BILOU, BMES, BEW or plain.

    In IOB1 an entity begins with I. It begins with B only if it directly follows an entity with the same label.

    Example:
        >>> tag_notation([["I-PER", "O"], ["I-LOC", "B-LOC"]]), tag_notation([["B-PER", "I-PER"]])
        ('IOB1', 'IOB2')
    """
    sentences = list(sentences)
    labels = {tag for tags in sentences for tag in tags}
    spelling, _ = _spelling(labels)
    if spelling is not None:
        return spelling
    scheme = tag_scheme(labels)
    if scheme != "BIO":
        return scheme
    # whether an I begins an entity; whether a B begins an entity that does not follow one with the same label
    begins = {"I": False, "B": False}
    for tags in sentences:
        for previous, tag in zip([_OUTSIDE, *tags], tags, strict=False):
            if _CHUNK.match(tag) and not continues(previous, tag):
                after_its_like = previous[:2] in ("B-", "I-") and previous[2:] == tag[2:]
                begins[tag[0]] |= tag[0] == "I" or not after_its_like
    return "IOB1" if begins["I"] and not begins["B"] else "IOB2"


def odd_tags(labels: Iterable[str]) -> list[str]:
    """Tags that do not fit the others, for example a zero instead of O, or a tag without a prefix among O and B-x.

    Example:
        >>> odd_tags(["O", "0", "B-PER"]), odd_tags(["NOUN", "VERB"])
        (['0'], [])
    """
    labels = canonical_labels(sorted(set(labels)))
    chunks = [label for label in labels if _CHUNK.match(label)]
    others = [label for label in labels if not _CHUNK.match(label)]
    outside = {_OUTSIDE} if _OUTSIDE in others else {"0", "o"} & set(others)
    # "S-bar" among fifty plain tags is a plain tag, too
    if not chunks or not outside and len(chunks) < len(others):
        return []
    return [label for label in others if label != _OUTSIDE]


def continues(previous: str, tag: str) -> bool:
    """Whether a tag continues the entity of the tag before it."""
    return tag[:2] in ("I-", "E-") and previous[:2] in ("B-", "I-") and tag[2:] == previous[2:]


def tag_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(label, first word, end word) of each entity of BIO or BIOES tags; the end is exclusive.

    Illegal sequences are read as in seqeval and in the CoNLL script: an I or E that does not continue the previous tag
    begins an entity. Therefore IOB1 is read correctly, too.

    Example:
        >>> tag_spans(["B-PER", "I-PER", "O", "I-LOC"])
        [('PER', 0, 2), ('LOC', 3, 4)]
    """
    spans: list[tuple[str, int, int]] = []
    previous = _OUTSIDE
    for index, tag in enumerate(tags):
        if continues(previous, tag):
            label, start, _ = spans.pop()
            spans.append((label, start, index + 1))
        elif _CHUNK.match(tag):
            spans.append((tag[2:], index, index + 1))
        previous = tag
    return spans


def repair_tags(tags: Sequence[str]) -> tuple[list[str], int]:
    """Convert tags to IOB2: an I that begins an entity becomes a B. Also returns the number of changed tags.

    BIOES and plain tags are not changed.
    """
    if tag_scheme(tags) != "BIO":
        return list(tags), 0
    repaired = [
        "B-" + tag[2:] if tag.startswith("I-") and not continues(previous, tag) else tag
        for previous, tag in zip([_OUTSIDE, *tags], tags, strict=False)
    ]
    return repaired, sum(new != old for new, old in zip(repaired, tags, strict=True))


def spans_to_tags(spans: Iterable[tuple[str, int, int]], num_words: int) -> list[str]:
    """IOB2 tags of (label, first word, end word) spans, with exclusive ends; the inverse of `tag_spans`.

    Raises:
        ValueError: two spans share a word, or a span is outside the sentence.
    """
    tags = [_OUTSIDE] * num_words
    for label, start, end in spans:
        if not 0 <= start < end <= num_words:
            raise ValueError(f"the span {label} of words {start} to {end} exceeds the sentence of {num_words} words")
        if any(tag != _OUTSIDE for tag in tags[start:end]):
            raise ValueError(f"the span {label} of words {start} to {end} shares words with another span")
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def spread_tag(tag: str, parts: int) -> list[str]:
    """The tags of the parts of a word that had this tag.

    Example:
        >>> spread_tag("B-LOC", 3), spread_tag("S-LOC", 3), spread_tag("NOUN", 2)
        (['B-LOC', 'I-LOC', 'I-LOC'], ['B-LOC', 'I-LOC', 'E-LOC'], ['NOUN', 'NOUN'])
    """
    if parts == 1 or not _CHUNK.match(tag):
        return [tag] * parts
    inside = f"I-{tag[2:]}"
    first = f"B-{tag[2:]}" if tag[0] in "BS" else inside
    last = f"E-{tag[2:]}" if tag[0] in "ES" else inside
    return [first, *[inside] * (parts - 2), last]


def allowed_transitions(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bool arrays: tags that may begin a sentence (C,), transitions (C, C; from row to column), and last tags (C,).

    With plain tags, everything is allowed. In IOB2, an I follows only a B or I with the same label. In BIOES, a B or I
    must also be continued.

    Example:
        >>> begin, follow, end = allowed_transitions(["O", "B-x", "I-x"])
        >>> begin.tolist(), follow[0].tolist()
        ([True, True, False], [True, True, False])
    """
    scheme = tag_scheme(labels)
    count = len(labels)
    if scheme == "plain":
        return np.ones(count, bool), np.ones((count, count), bool), np.ones(count, bool)
    goes_on = np.array([label[:2] in ("I-", "E-") for label in labels])
    must_go_on = np.array([scheme == "BIOES" and label[:2] in ("B-", "I-") for label in labels])
    linked = np.array([[continues(first, second) for second in labels] for first in labels])
    return ~goes_on, np.where(goes_on, linked, ~must_go_on[:, None]), ~must_go_on
