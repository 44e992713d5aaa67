import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keras_plm.text import (
    CORPUS_WORDS,
    allowed_transitions,
    canonical_labels,
    repair_tags,
    spans_to_tags,
    split_words,
    tag_scheme,
    tag_spans,
)

TEXTS = st.text(st.sampled_from("ab Zé1小明の。,!'’-🙂👍🏽  \t\né\u0301\u0308\u200dक्ष٣\u3000$€"), max_size=30)
BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = [*BIO, "E-PER", "S-PER", "E-LOC", "S-LOC"]


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_words_stand_where_they_say_and_lose_only_white_space(text):
    words, starts, ends = split_words([text])[0]
    assert [text[s:e] for s, e in zip(starts, ends, strict=True)] == words
    between = text
    for start, end in reversed(list(zip(starts, ends, strict=True))):
        between = between[:start] + between[end:]
    assert not between.strip("\x85") or between.isspace()
    assert all(words)


def test_chinese_characters_and_punctuation_are_words_of_their_own():
    assert split_words(["Don't go, 小明!", "", "naïve café"])[0].words == ["Don", "'", "t", "go", ",", "小", "明", "!"]
    assert split_words([""])[0] == ([], [], [])
    assert split_words(["naïve cafe\u0301"])[0].words == ["naïve", "cafe\u0301"]
    assert split_words([]) == []


@given(st.lists(st.sampled_from(BIOES), max_size=12))
def test_spans_are_those_of_seqeval(tags):
    from seqeval.metrics.sequence_labeling import get_entities

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [(label, start, end + 1) for label, start, end in get_entities(list(tags))]
    assert tag_spans(tags) == expected


@given(st.lists(st.sampled_from(BIO), max_size=12))
def test_repaired_tags_are_legal_and_mean_the_same(tags):
    repaired, changed = repair_tags(tags)
    assert tag_spans(repaired) == tag_spans(tags)
    assert changed == sum(a != b for a, b in zip(tags, repaired, strict=True))
    assert spans_to_tags(tag_spans(repaired), len(tags)) == repaired
    begin, follow, end = allowed_transitions(BIO)
    index = [BIO.index(tag) for tag in repaired]
    assert all(follow[a, b] for a, b in zip(index, index[1:], strict=False))
    assert not index or (begin[index[0]] and end[index[-1]])


def test_schemes():
    assert tag_scheme(BIO) == "BIO" and tag_scheme(BIOES) == "BIOES"
    assert tag_scheme(["NOUN", "O"]) == "plain" and tag_scheme(["O"]) == "plain"
    assert all(part.all() for part in allowed_transitions(["NOUN", "VERB"]))
    _, follow, end = allowed_transitions(BIOES)
    names = {name: i for i, name in enumerate(BIOES)}
    assert follow[names["B-PER"]].tolist() == [name in ("I-PER", "E-PER") for name in BIOES]
    assert not end[names["B-PER"]] and end[names["E-PER"]] and end[names["S-LOC"]]
    assert np.array_equal(follow[names["O"]], [not name.startswith(("I-", "E-")) for name in BIOES])


def test_other_spellings_of_spans():
    for labels in (["O", "B-X", "I-X", "L-X", "U-X"], ["O", "B-X", "M-X", "E-X", "S-X"]):
        assert canonical_labels(labels) == ["O", "B-X", "I-X", "E-X", "S-X"]
    assert canonical_labels(BIOES) == BIOES and canonical_labels(["NOUN", "U-X"]) == ["NOUN", "U-X"]
    # what a label map has beside the tags means outside
    assert tag_scheme(["O", "B-X", "I-X", "[PAD]"]) == "BIO"
    assert tag_spans(["[PAD]", "B-X", "X", "I-X"]) == [("X", 1, 2), ("X", 3, 4)]


def test_spans_that_cannot_be_tags():
    with pytest.raises(ValueError, match="exceeds the sentence of 3 words"):
        spans_to_tags([("x", 1, 4)], 3)
    with pytest.raises(ValueError, match="shares words with another span"):
        spans_to_tags([("x", 0, 2), ("y", 1, 3)], 3)


def test_words_of_a_corpus():
    """As corpora of tagged words cut a text: only around words, and 's apart."""
    text = "O'Neil left L.A. for St. Lucia, Baden-Württemberg (near Côte d'Ivoire) at 1,000.5 m. It's Ann's:小明!"
    found = split_words([text], CORPUS_WORDS)[0]
    assert " ".join(found.words) == (
        "O'Neil left L.A. for St. Lucia , Baden-Württemberg ( near Côte d'Ivoire ) at 1,000.5 m . "
        "It 's Ann 's : 小 明 !"
    )
    assert [text[s:e] for s, e in zip(found.starts, found.ends, strict=True)] == found.words
    assert split_words(["see https://example.org/a?b=1, a_b@c.org -- or ..."], CORPUS_WORDS)[0].words == [
        "see", "https://example.org/a?b=1,", "a_b@c.org", "--", "or", "...",
    ]  # fmt: skip


@given(TEXTS)
@example("1,1Z")
@settings(deadline=None, max_examples=100)
def test_a_corpus_never_cuts_finer(text):
    """Cut again at all punctuation, its words are those of the finer rule."""
    coarse = split_words([text], CORPUS_WORDS)[0].words
    fine = [part for word in split_words(coarse) for part in word.words] if coarse else []
    assert fine == split_words([text])[0].words
