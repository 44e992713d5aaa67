"""Tags of words and the spans they mean: BIO, BIOES, and plain tags such as parts of speech."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

Scheme = Literal["BIO", "BIOES", "plain"]


def tag_scheme(labels: Iterable[str]) -> Scheme:
    """What kind of tags these are: each O, B-x or I-x; E-x and S-x too; or anything else.

    Raises:
        ValueError: BILOU or BMES, other spellings of BIOES.

    Example:
        >>> tag_scheme(["O", "B-PER", "I-PER"]), tag_scheme(["NOUN", "VERB"])
        ('BIO', 'plain')
    """
    labels = list(labels)
    prefixes = {label[:2] for label in labels if label != "O"}
    if "O" in labels and prefixes & {"L-", "U-", "M-"} and prefixes <= {f"{letter}-" for letter in "BILUMES"}:
        raise ValueError(f"the tags {sorted(labels)} are BILOU or BMES; write BIOES: L as E, U as S, M as I")
    if not prefixes or not prefixes <= {"B-", "I-", "E-", "S-"}:
        return "plain"
    return "BIOES" if prefixes & {"E-", "S-"} else "BIO"


def continues(previous: str, tag: str) -> bool:
    """Whether a tag goes on with the entity of the tag before it."""
    return tag[:2] in ("I-", "E-") and previous[:2] in ("B-", "I-") and tag[2:] == previous[2:]


def tag_spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """(label, first word, word after the last) of each entity of BIO or BIOES tags.

    A tag sequence that is not legal is read as seqeval and the CoNLL script read it: an I or E that cannot go on with
    what stands before it begins an entity.

    Example:
        >>> tag_spans(["B-PER", "I-PER", "O", "I-LOC"])
        [('PER', 0, 2), ('LOC', 3, 4)]
    """
    spans: list[tuple[str, int, int]] = []
    previous = "O"
    for index, tag in enumerate(tags):
        if continues(previous, tag):
            label, start, _ = spans.pop()
            spans.append((label, start, index + 1))
        elif tag != "O":
            spans.append((tag[2:], index, index + 1))
        previous = tag
    return spans


def repair_tags(tags: Sequence[str]) -> tuple[list[str], int]:
    """The same entities as legal BIO, and how many tags were changed: an I that begins an entity becomes a B.

    BIOES and plain tags are left as they are.
    """
    if tag_scheme(tags) != "BIO":
        return list(tags), 0
    repaired = [
        "B-" + tag[2:] if tag.startswith("I-") and not continues(previous, tag) else tag
        for previous, tag in zip(["O", *tags], tags, strict=False)
    ]
    return repaired, sum(new != old for new, old in zip(repaired, tags, strict=True))


def spans_to_tags(spans: Iterable[tuple[str, int, int]], num_words: int) -> list[str]:
    """BIO tags of (label, first word, word after the last) spans; the inverse of `tag_spans`.

    Raises:
        ValueError: spans that share a word, or leave the sentence.
    """
    tags = ["O"] * num_words
    for label, start, end in spans:
        if not 0 <= start < end <= num_words:
            raise ValueError(f"the span {label} of words {start} to {end} leaves the sentence of {num_words} words")
        if any(tag != "O" for tag in tags[start:end]):
            raise ValueError(f"the span {label} of words {start} to {end} shares words with another one")
        tags[start:end] = [f"B-{label}"] + [f"I-{label}"] * (end - start - 1)
    return tags


def allowed_transitions(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which tags may begin a sentence (C,), follow each other (C, C; row: the first), and end it (C,); bool.

    All of them for plain tags. In BIO an I follows only a B or I of its label; in BIOES a B or I must go on too.

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
