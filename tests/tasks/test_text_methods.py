"""Texts in, answers out: taggers, question answerers, several labels, vectors."""

import itertools
from typing import get_args

import keras
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import jaxtyped

import keras_plm as plm
from conftest import token_batch
from keras_plm.tasks import Answer, Pooling, TaggedSpan
from keras_plm.tasks.pooling import pooled_tokens

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def grown(model, factor=9.0):
    """Larger weights, so that answers differ from text to text."""
    for weight in model.weights:
        if weight.path.startswith("head/") and weight.path.endswith("kernel"):
            weight.assign(weight * factor)
    return model


@pytest.fixture(scope="module")
def tagger(config, tokenizer):
    keras.utils.set_random_seed(1)
    return grown(plm.Tagger(config, TAGS, tokenizer, crf=True))


@pytest.fixture(scope="module")
def reader(config, tokenizer):
    keras.utils.set_random_seed(2)
    return grown(plm.QuestionAnswerer(config, tokenizer))


def test_tags_are_legal_and_one_a_word(tagger):
    sentences = [["The", "cat", "sees", "小"], [], ["bxjkqzp"] * 3, ["dog", " ", "🙂"]]
    found = tagger.predict_tags(sentences)
    assert [len(tags) for tags in found] == [4, 0, 3, 3]
    for tags in found:
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]
    assert tagger.predict_tags(sentences, batch_size=1) == found
    with pytest.raises(ValueError, match="pass the words of each sentence as a list"):
        tagger.predict_tags(["the cat"])


def test_spans_stand_in_the_text(tagger):
    texts = ["The cat sees 小明, naïve cafe\u0301 🙂.", "", "dog"]
    for text, spans in zip(texts, tagger.tag(texts), strict=True):
        for span in spans:
            assert text[span.start : span.end] == span.text and span.label in ("PER", "LOC")
            assert 0 < span.score <= 1
    with pytest.raises(ValueError, match="not one string"):
        tagger.tag("the cat")


def test_plain_tags_are_of_every_word(config, tokenizer):
    tagger = plm.Tagger(config, ["NOUN", "VERB"], tokenizer)
    (spans,) = tagger.tag(["The cat sees."])
    assert [span.text for span in spans] == ["The", "cat", "sees", "."]
    assert isinstance(spans[0], TaggedSpan) and spans[1].start == 4


def test_a_very_long_text_is_tagged_whole(tagger):
    words = ["the", "cat", "bxjkqzp", "小"] * 8_000  # 100 kB
    text = " ".join(words)
    assert len(text) > 100_000
    (tags,) = tagger.predict_tags([words], batch_size=64)
    assert len(tags) == len(words)
    (one_word,) = tagger.predict_tags([["bxjkqzp" * 2_000]])
    assert len(one_word) == 1


def test_long_sentences_are_read_with_context_on_both_sides(tagger):
    """Away from the borders of rows a word is tagged as if its row were the sentence."""
    rows = plm.text.WordRows.from_words(tagger.tokenizer, [["cat"] * 60], max_length=20)
    starts, lengths = (np.asarray(part) for part in (rows.rows.first.starts, rows.rows.first.lengths))
    before = rows.position[rows.first_word] - starts
    after = starts + lengths - 1 - rows.position[rows.last_word - 1]
    # a quarter of the 18 tokens of a row is shared, half of it on each side
    assert len(starts) > 3 and (before[1:] == 2).all() and (after[:-1] == 2).all()


def test_answers_stand_in_the_context(reader):
    context = "The cat sees 小明, naïve cafe\u0301 🙂. " * 9
    found = reader.answer_all(["who sees ?", "cat ?"], [context, "dog"], best=3)
    assert [len(answers) for answers in found][0] == 3
    for answers, text in zip(found, [context, "dog"], strict=True):
        assert sum(answer.score for answer in answers) <= 1 + 1e-5
        assert answers[0].score == max(answer.score for answer in answers)
        for answer in answers:
            assert text[answer.start : answer.end] == answer.text != ""
    again = reader.answer("who sees ?", context)
    assert (again.text, again.start) == (found[0][0].text, found[0][0].start)
    assert again.score == pytest.approx(found[0][0].score, abs=1e-5)


def test_candidates_are_the_best_of_all_pairs_of_ends(reader):
    """One by one, for a context of one window."""
    context = "the cat sees the dog . the heron follows the fox ."
    (found, null), *_ = reader.candidate_answers(["who ?"], [context])
    windows = plm.text.AnswerWindows.from_questions(reader.tokenizer, ["who ?"], [context], None, 47)
    ((_, outputs),) = list(reader.batch_outputs(windows.rows, 1))
    start, end, offset = outputs["start"][0], outputs["end"][0], int(windows.offset[0])
    count = len(windows.contexts[0].token_ids)
    scores = [
        start[offset + i] + end[offset + j]
        for i in range(count)
        for j in range(i, min(i + reader.max_answer, count))
    ]  # fmt: skip
    np.testing.assert_allclose([score for *_, score in found], sorted(scores, reverse=True)[:20], rtol=1e-4)
    assert null == pytest.approx(float(start[0] + end[0]), rel=1e-4)


def test_no_answer(config, tokenizer):
    keras.utils.set_random_seed(2)
    always = plm.QuestionAnswerer(config, tokenizer, null_threshold=-1e9)
    assert always.answer("who ?", "the cat") == Answer("", 0, 0, pytest.approx(1.0))
    never = plm.QuestionAnswerer(config, tokenizer, null_threshold=1e9)
    assert never.answer("who ?", "the cat").text != ""
    for questions, contexts, message in (
        ([" "], ["the cat"], "question 1 is empty"),
        (["who ?"], ["\n"], "context 1 is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            never.answer_all(questions, contexts)
    with pytest.raises(ValueError, match="pass a list of texts, not one string"):
        never.answer_all("who ?", ["the cat"])


def test_a_context_without_a_token_has_no_answer(reader):
    assert reader.answer("who ?", "\u0301") == Answer("", 0, 0, 1.0)


def test_a_hundred_kilobytes_of_context(reader):
    context = "the cat sees the dog . " * 4_500
    answer = reader.answer("who ?", context, batch_size=64)
    assert context[answer.start : answer.end] == answer.text


def test_several_labels(config, tokenizer):
    model = grown(plm.Classifier(config, ["a", "b", "c"], tokenizer, multi_label=True))
    probabilities = model.predict_probabilities(["the cat", "dog"])
    logits = model.predict_logits(["the cat", "dog"])
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    for threshold in (0.0, 0.5, 1.1):
        expected = [[label for label, p in zip("abc", row, strict=True) if p >= threshold] for row in probabilities]
        assert model.predict_labels(["the cat", "dog"], threshold=threshold) == expected
    with pytest.raises(ValueError, match="multi_label=True needs labels"):
        plm.Classifier(config, None, tokenizer, multi_label=True)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_pooling_is_that_of_numpy(pooling):
    """States below zero: padding that counts as zero would be their maximum."""
    hidden = np.random.default_rng(0).normal(-3, 1, (3, 7, 5)).astype("float32")
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6], "int32")
    hidden[mask == 0] = 100.0
    found = jaxtyped(typechecker=beartype)(pooled_tokens)(*map(keras.ops.convert_to_tensor, (hidden, mask)), pooling)
    rows = [row[kept == 1] for row, kept in zip(hidden, mask, strict=True)]
    wanted = [{"mean": row.mean(0), "max": row.max(0), "cls": row[0]}[pooling] for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_an_embedder_pools_as_it_says(pooling, config):
    model, batch = plm.Embedder(config, pooling=pooling, normalize=False), token_batch(config)
    wanted = pooled_tokens(model.encoder(batch)["sequence_output"], batch["padding_mask"], pooling)
    np.testing.assert_allclose(model(batch), wanted, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_leaves_padding_out(pooling, config, tokenizer):
    model = plm.Classifier(config, ["a", "b"], tokenizer, pooling=pooling)
    np.testing.assert_allclose(
        model.predict_logits(["the cat", "the cat sees the dog and the dog sees"]),
        np.concatenate([model.predict_logits([t]) for t in ("the cat", "the cat sees the dog and the dog sees")]),
        atol=1e-5,
    )
    with pytest.raises(ValueError, match=r"pooling='sum'; choose one of \['mean', 'max', 'cls'\]"):
        plm.Classifier(config, ["a", "b"], tokenizer, pooling="sum")


def test_every_pooling_gives_a_classifier_answers_of_its_own(config, tokenizer):
    """The same weights: the maximum is neither the mean nor what a pooler makes of the first token."""
    first = plm.Classifier(config, ["a", "b"], tokenizer)
    others = [plm.Classifier(config, ["a", "b"], tokenizer, first.encoder, name) for name in ("mean", "max")]
    for model in others:
        model.head.set_weights(first.head.get_weights())
    answers = [model.predict_logits(["the cat sees the dog"]) for model in (first, *others)]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(answers, 2)) > 1e-3
    batch = token_batch(config)
    np.testing.assert_allclose(others[1].from_states(first.encoder(batch), batch), others[1](batch), atol=1e-6)


@pytest.mark.parametrize("kind", ["tagger", "reader", "several"])
def test_saved_and_loaded_it_answers_the_same(kind, tagger, config, tokenizer, tmp_path):
    model = {
        "tagger": lambda: plm.models.copy_model(tagger),
        "reader": lambda: grown(plm.QuestionAnswerer(config, tokenizer, null_threshold=0.25)),
        "several": lambda: grown(plm.Classifier(config, ["a", "b"], tokenizer, pooling="mean", multi_label=True)),
    }[kind]()
    if kind == "tagger":
        model.crf.follow.assign(np.arange(25).reshape(5, 5) / 9)
    plm.save(model, tmp_path / "m")
    again = plm.load(tmp_path / "m")
    assert again.get_config() == model.get_config()
    if kind == "tagger":
        assert again.predict_tags([["the", "cat"]]) == model.predict_tags([["the", "cat"]])
        np.testing.assert_array_equal(again.transitions[1], model.transitions[1])
    elif kind == "reader":
        assert again.answer("who ?", "the cat") == model.answer("who ?", "the cat")
    else:
        assert again.predict_labels(["the cat"]) == model.predict_labels(["the cat"])


def test_similarities(config, tokenizer):
    model = plm.Embedder(config, tokenizer)
    first, second = ["the cat", "dog", "the cat"], ["the cat", "heron sees", "dog"]
    expected = (model.embed(first) * model.embed(second)).sum(-1)
    np.testing.assert_allclose(model.similarities(first, second), expected, atol=1e-5)
    with pytest.raises(ValueError, match="3 first texts, but 1 second"):
        model.similarities(first, ["x"])
    with pytest.raises(ValueError, match="pass a list of texts, not one string"):
        model.similarities("a quiet film", "a calm movie")
