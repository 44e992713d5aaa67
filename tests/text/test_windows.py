"""Word rows and answer windows: nothing is lost, every place is right."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_plm.text import AnswerWindows, WordRows
from keras_plm.text.answer_windows import token_span

WORDS = st.lists(st.sampled_from(["the", "cats", "bxjkqzp", "小", "café", "🙂", "\u0301", " ", "it's"]), max_size=25)


@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(5, 13), st.booleans())
@settings(deadline=None, max_examples=25)
def test_every_word_is_read_once_at_its_first_piece(tokenizer, sentences, max_length, training):
    labels = [list(range(len(words))) for words in sentences] if training else None
    rows = WordRows.from_words(tokenizer, sentences, labels, max_length)
    room = max_length - 2
    read = [(r, w) for r in range(len(rows.rows)) for w in range(rows.first_word[r], rows.last_word[r])]
    assert [word for _, word in read] == list(range(sum(map(len, sentences))))
    flat = [word for words in sentences for word in words]
    tokens, starts, lengths = (np.asarray(part) for part in rows.rows.first)
    assert (lengths <= room).all() and (lengths > 0).all()
    for row, word in read:
        place = rows.position[word] - starts[row]
        assert 0 <= place < lengths[row]
        own = tokenizer.encode(f" {flat[word]}").token_ids or [tokenizer.unk_id]
        count = min(len(own), room, lengths[row] - place)
        assert tokens[rows.position[word]] == own[0]
        assert tokens[rows.position[word] :][:count].tolist() == own[:count]
    values = np.arange(max_length)
    for row in range(len(rows.rows)):
        assert len(rows.take_words(row, values)) == rows.last_word[row] - rows.first_word[row]


def test_labels_stand_at_first_pieces(tokenizer):
    sentences, labels = [["bxjkqzp", "the", "cat"], ["dog"]], [[1, 2, 0], [3]]
    rows = WordRows.from_words(tokenizer, sentences, labels, 32).rows
    inputs, found, weights = next(iter(rows.evaluation_dataset(2)[0]))
    assert np.asarray(weights).sum() == pytest.approx(np.size(weights))  # scaled to an average of 1
    ids, found, labeled = np.asarray(inputs["token_ids"]), np.asarray(found), np.asarray(weights) > 0
    by_row = {tuple(found[i][labeled[i]]): ids[i][labeled[i]] for i in range(2)}
    assert set(by_row) == {(1, 2, 0), (3,)}
    first = [tokenizer.encode(word).token_ids[0] for word in sentences[0]]
    assert by_row[(1, 2, 0)].tolist() == first


PIECES = ["the cat", "sees", "小明", "naïve", "cafe\u0301", "🙂", "it,", "\n", "  ", "bxjkqzp", "dog's", "123"]


@given(st.data())
@settings(deadline=None, max_examples=50)
def test_answers_are_found_again_from_their_tokens(tokenizer, data):
    context = " ".join(data.draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=30)))
    start = data.draw(st.integers(0, len(context) - 1))
    end = data.draw(st.integers(start + 1, len(context)))
    answer = context[start:end]
    max_length = data.draw(st.integers(16, 40))
    overlap = data.draw(st.integers(0, 3))
    windows = AnswerWindows.from_questions(
        tokenizer, ["who?"], [context], [[(answer, start)]], max_length, overlap, max_question=4
    )
    tokens = windows.contexts[0]
    covered = set()
    for row in range(len(windows.rows)):
        first, count = int(windows.first_token[row]), int(windows.rows.second.lengths[row])
        covered |= set(range(first, first + count))
        if row:
            assert first == before - min(overlap, (max_length - 3 - 4) // 2)  # noqa: F821
        before = first + count  # noqa: F841
        assert int(windows.rows.lengths[row]) <= max_length
    assert covered == set(range(len(tokens.token_ids)))
    span = token_span(tokens, answer, start)
    for row in range(len(windows.rows)):
        target = int(windows.rows.targets["start"][row]), int(windows.rows.targets["end"][row])
        if target == (0, 0):
            continue
        assert span is not None
        shift = int(windows.first_token[row]) - int(windows.offset[row])
        assert (target[0] + shift, target[1] + shift) == span
    if span is not None:  # its tokens are those that share a character with the answer
        inside = [i for i, (s, e) in enumerate(zip(tokens.starts, tokens.ends, strict=True)) if s < end and e > start]
        assert span == (inside[0], inside[-1])


def test_targets_point_into_the_packed_row(tokenizer):
    context = "the cat sees the dog , unafraid . " * 3 + "the heron follows the cat ."
    place = context.index("heron")
    windows = AnswerWindows.from_questions(
        tokenizer, ["who follows the cat ?", "x"], [context, context], [[("heron follows", place)], []], 32, 8
    )
    found = 0
    dataset, order = windows.rows.evaluation_dataset(1)
    for row, (inputs, targets) in zip(order, dataset, strict=True):
        start, end = int(targets["start"][0]), int(targets["end"][0])
        if (start, end) != (0, 0):
            found += 1
            assert windows.question[row] == 0
            assert tokenizer.decode(np.asarray(inputs["token_ids"])[0, start : end + 1]) == "heron follows"
    assert found >= 1


def test_windows_that_would_never_end(tokenizer):
    with pytest.raises(ValueError, match="leaves no room for a token of the context"):
        AnswerWindows.from_questions(tokenizer, ["a"], ["b"], None, max_length=6)
    rows = AnswerWindows.from_questions(tokenizer, ["a"], ["the cat " * 40], None, max_length=16, overlap=99)
    assert len(rows.rows) > 2  # half of a window at most
    with pytest.raises(ValueError, match="2 questions, but 1 contexts"):
        AnswerWindows.from_questions(tokenizer, ["a", "b"], ["b"])
    with pytest.raises(ValueError, match="leaves no room for a token"):
        WordRows.from_words(tokenizer, [["a"]], max_length=2)
