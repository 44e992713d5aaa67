"""Settings by value: which tokens may be drawn, and how logits change; the formulas are those of Transformers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_plm.generation import GenerationSettings, LogitsProcessor, TextStream
from keras_plm.generation.sampling import draw, generator_of, probabilities
from keras_plm.tasks.text_generation import TextGenerator
from tests.tasks.test_text_generation import byte_tokenizer, make

LOGITS = np.log(np.array([0.02, 0.4, 0.08, 0.3, 0.05, 0.15], "float32"))


def sampling(**fields):
    return probabilities(LOGITS, GenerationSettings(do_sample=True, **fields))


@pytest.mark.parametrize(
    ("fields", "support"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"top_k": 2}, [1, 3]),
        ({"top_k": 99}, [0, 1, 2, 3, 4, 5]),
        ({"top_p": 0.69}, [1, 3]),  # 0.4 + 0.3 ≥ 0.69
        ({"top_p": 0.71}, [1, 3, 5]),
        ({"top_p": 0.01}, [1]),
        ({"min_p": 0.19}, [1, 2, 3, 5]),  # at least 0.19 · 0.4
        ({"top_k": 3, "top_p": 0.8}, [1, 3]),  # of 0.4, 0.3, 0.15 scaled to 1: 0.47 + 0.35 ≥ 0.8
    ],
)
def test_supports_are_exact(fields, support):
    found = sampling(**fields)
    assert np.flatnonzero(found).tolist() == support and found.sum() == pytest.approx(1)
    inside = np.exp(LOGITS.astype("float64"))[support]
    np.testing.assert_allclose(found[support], inside / inside.sum(), rtol=1e-6)


def test_temperature():
    powers = np.exp(LOGITS.astype("float64") / 0.5)
    np.testing.assert_allclose(sampling(temperature=0.5), powers / powers.sum(), rtol=1e-6)


def test_equal_logits_all_stay_in_top_k():
    found = probabilities(np.zeros(5, "float32"), GenerationSettings(do_sample=True, top_k=2))
    np.testing.assert_allclose(found, 0.2)


def test_frequencies_are_the_probabilities():
    found, random = sampling(top_p=0.9), np.random.default_rng(0)
    counts = np.bincount([draw(found, random) for _ in range(20_000)], minlength=6) / 20_000
    # four standard errors
    np.testing.assert_array_less(np.abs(counts - found), 4 * np.sqrt(found * (1 - found) / 20_000) + 1e-12)


def test_random_numbers_of_texts_are_independent():
    draws = [generator_of(3, prompt, index).random() for prompt in ([1], [1, 2], [2]) for index in range(3)]
    draws += [generator_of(seed, [1], 0).random() for seed in (-3, 4)]
    assert len(set(draws)) == len(draws)


def processed(prompt, new, **fields):
    return LogitsProcessor(GenerationSettings(**fields), bad_words=[[2, 3], [4]], end_ids=[5])(LOGITS, prompt, new)


def test_penalties_by_value():
    plain = processed([0], [1])
    np.testing.assert_allclose(plain, np.where(np.arange(6) == 4, -np.inf, LOGITS))
    repeated = processed([0], [1, 1], repetition_penalty=2.0)
    np.testing.assert_allclose(repeated[:4], [2 * LOGITS[0], 2 * LOGITS[1], LOGITS[2], LOGITS[3]])
    counted = processed([0], [1, 1, 3], presence_penalty=0.5, frequency_penalty=0.25)
    np.testing.assert_allclose(counted[:4], [LOGITS[0], LOGITS[1] - 1.0, LOGITS[2], LOGITS[3] - 0.75], rtol=1e-6)
    positive = LogitsProcessor(GenerationSettings(repetition_penalty=2.0))(np.ones(3, "float32"), [0], [])
    np.testing.assert_allclose(positive, [0.5, 1, 1])


def test_forbidden_tokens():
    assert processed([0], [2])[3] == -np.inf and processed([2], [])[3] == -np.inf  # 2, 3 is a bad word
    assert processed([0], [3])[3] > -np.inf
    assert processed([0, 1, 3, 0], [1], no_repeat_ngram_size=3)[3] == -np.inf
    assert processed([0, 1, 3, 0], [1], no_repeat_ngram_size=4)[3] > -np.inf
    assert processed([], [0], min_new_tokens=2)[5] == -np.inf and processed([], [0, 1], min_new_tokens=2)[5] > -np.inf
    fewer = LogitsProcessor(GenerationSettings(), num_tokens=4)(LOGITS, [], [])
    assert (fewer[4:] == -np.inf).all() and (fewer[:4] == LOGITS[:4]).all()
    with pytest.raises(ValueError, match="token id 6, but there are only 6 tokens"):
        processed([0], [], logit_bias={6: 1.0})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"temperature": 0.5, "top_p": 0.9}, "temperature, top_p would have no effect without do_sample=True"),
        ({"length_penalty": 2.0}, "length_penalty would have no effect without num_beams"),
        ({"prompt_lookup_num_tokens": 3, "num_beams": 2}, "prompt_lookup_num_tokens is for greedy decoding"),
        ({"logit_bias": {1: float("inf")}}, "logit_bias has the value inf"),
    ],
)
def test_settings_that_would_do_nothing(fields, words):
    with pytest.raises(ValueError, match=words):
        GenerationSettings(**fields)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.text("aé屋🎉 \n", max_size=12), st.lists(st.integers(1, 5), min_size=1, max_size=40))
def test_a_stream_is_the_text_wherever_tokens_end(text, sizes):
    """Tokens of any number of bytes; no part ends inside a character."""
    content, parts = text.encode(), []
    while content:
        size = sizes[len(parts) % len(sizes)]
        parts.append(content[:size])
        content = content[size:]
    stream = TextStream(lambda ids: b"".join(parts[i] for i in ids).decode(errors="replace"))
    told = [stream.push(i) for i in range(len(parts))]
    assert "".join(told) + stream.finish() == text and "\ufffd" not in "".join(told)


def test_bytes_that_are_no_character_are_told_in_the_end():
    tokenizer = byte_tokenizer()
    stream = TextStream(tokenizer.decode)
    ids = [tokenizer.id(token) for token in ("å", "å", "a", "å")]
    assert [stream.push(i) for i in ids] == ["", "", "\ufffd\ufffda", ""] and stream.finish() == "\ufffd"
    assert tokenizer.decode(ids) == "\ufffd\ufffda\ufffd"


def test_a_vocabulary_larger_than_the_tokenizer():
    model = make("gpt2", vocabulary_size=400, num_layers=1)
    texts = model.generate(["a", "b"], do_sample=True, temperature=9.0, seed=1, max_new_tokens=30)
    assert all(texts)


def test_more_tokens_end_a_text():
    model = make("gpt2", num_layers=1)
    letter = model.tokenizer.id("Z")
    always = {letter: 1e9}
    assert model.generate(["a"], logit_bias=always, max_new_tokens=3) == ["ZZZ"]
    model.end_tokens = ("Z",)
    assert model.generate(["a"], logit_bias=always, max_new_tokens=3) == [""]
    assert model.get_config()["end_tokens"] == ["Z"]
    with pytest.raises(ValueError, match=r"the end tokens \['<none>'\] are not in the vocabulary"):
        TextGenerator(model.config, model.tokenizer, model.decoder, end_tokens=["<none>"])


def test_scores_of_a_broken_model():
    model = make("gpt2", num_layers=1)
    model.decoder.final_norm.gamma.assign(model.decoder.final_norm.gamma * np.nan)
    with pytest.raises(ValueError, match="no numbers"):
        model.score(["a cat"])
    with pytest.raises(ValueError, match="batch_size=0; it must be at least 1"):
        model.generate(["a"], batch_size=0)
