"""Texts that a small decoder with random weights writes: the same whichever way they are computed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm.config import DecoderConfig
from keras_plm.generation import GenerationSettings
from keras_plm.tasks.keras_session import KerasSession
from keras_plm.tasks.text_generation import TextGenerator
from keras_plm.text import SpecialTokens, Template
from keras_plm.text.byte_pair import BYTE_CHARACTERS, BytePairTokenizer

END = "<|endoftext|>"
PROMPTS = ["The house is", "a", "Über den Wolken 屋", "Nothing ever happens twice, and"]
SMALL = {"num_layers": 3, "num_heads": 4, "hidden_dim": 44, "intermediate_dim": 53, "dropout": 0.0}
LLAMA = {
    "positions": "rotary", "num_key_value_heads": 2, "head_dim": 14, "norm": "rms", "gated": True,
    "activation": "silu", "attention_bias": "none", "feed_forward_bias": False,
}  # fmt: skip
CONFIGS = {
    "gpt2": SMALL,
    "gpt3": SMALL | {"window": 5, "windowed_layers": "odd"},
    "llama": SMALL | LLAMA | {"tied": False},
    "mistral": SMALL | LLAMA | {"window": 7},
    "qwen2": SMALL | LLAMA | {"attention_bias": "inputs"},
    "post-norm": SMALL | {"normalize_first": False, "positions": "sinusoidal"},
}


def byte_tokenizer():
    special = SpecialTokens(pad=None, unk=None, cls=None, sep=None, mask=None, bos=END, eos=END)
    vocabulary = [*BYTE_CHARACTERS, "Ġt", "he", "Ġthe", END]
    return BytePairTokenizer(vocabulary, ["Ġ t", "h e", "Ġt he"], special, template=Template("A", None))


def make(kind, **changes):
    keras.utils.set_random_seed(5)
    tokenizer = byte_tokenizer()
    sizes = {"vocabulary_size": len(tokenizer), "max_sequence_length": 97} | CONFIGS[kind] | changes
    model = TextGenerator(DecoderConfig(**sizes), tokenizer)
    for weight in model.weights:  # large enough for texts that are not one token over and over
        weight.assign(weight * 3 if "kernel" in weight.path else weight)
    return model


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    return make(request.param)


@pytest.fixture(scope="module")
def gpt2():
    return make("gpt2")


def ids_of(model, prompt):
    return model.tokenizer.encode(prompt).token_ids


def allowed(model):
    """No end, and no bytes but those of printable characters: their texts are exact."""
    written = [len(token) > 1 or token in BYTE_CHARACTERS[0x20:0x7F] for token in model.tokenizer.vocabulary]
    return {token: -1e9 for token, printable in enumerate(written) if not printable or token == len(written) - 1}


def without_cache(model, prompt, count):
    """Greedy decoding with the whole text read again for each token."""
    ids, bias = ids_of(model, prompt), np.zeros(len(model.tokenizer))
    bias[list(allowed(model))] = -1e9
    for _ in range(count):
        row = np.array([ids], "int32")
        logits = model({"token_ids": row, "padding_mask": np.ones_like(row)})[0, -1]
        ids.append(int(np.argmax(logits + bias)))
    return model.tokenizer.decode(ids[len(ids) - count :])


def test_cached_batched_greedy_texts_are_those_of_the_whole_model(model):
    settings = GenerationSettings(max_new_tokens=23, logit_bias=allowed(model))
    together = model.generate(PROMPTS, settings)
    assert together == [without_cache(model, prompt, 23) for prompt in PROMPTS]
    assert together == [model.generate([prompt], settings)[0] for prompt in PROMPTS]
    assert len(set(together)) == len(PROMPTS)


@pytest.mark.usefixtures("xla")
@pytest.mark.parametrize("kind", ["gpt3", "mistral"])
def test_the_step_compiled_by_xla_writes_the_same(kind):
    model = make(kind)
    settings = GenerationSettings(max_new_tokens=11, logit_bias=allowed(model))
    assert model.generate(PROMPTS, settings) == [without_cache(model, prompt, 11) for prompt in PROMPTS]


def test_a_packed_row_gives_each_text_its_own_logits(model):
    first, second = (ids_of(model, prompt) for prompt in PROMPTS[:2])
    row = np.array([[0, *first, *second, 0]], "int32")
    texts = np.array([[0, *[1] * len(first), *[2] * len(second), 0]], "int32")
    packed = np.asarray(model({"token_ids": row, "padding_mask": texts}))[0]
    for ids, start in ((first, 1), (second, 1 + len(first))):
        alone = model({"token_ids": np.array([ids]), "padding_mask": np.ones((1, len(ids)), "int32")})[0]
        np.testing.assert_allclose(packed[start : start + len(ids)], alone, atol=1e-4)


def test_a_saved_model_writes_the_same(model, tmp_path):
    plm.save(model, tmp_path / "model")
    copy = plm.load(tmp_path / "model")
    assert type(copy) is TextGenerator and copy.config == model.config
    assert copy.generate(PROMPTS, max_new_tokens=7) == model.generate(PROMPTS, max_new_tokens=7)


def test_parameters_are_counted_without_a_model(model):
    assert model.count_params() == model.config.num_parameters


def test_sampled_texts_depend_on_seed_and_prompt_alone(gpt2):
    settings = GenerationSettings(do_sample=True, seed=3, max_new_tokens=13, num_return_sequences=3)
    found = gpt2.generate(PROMPTS, settings)
    assert found == gpt2.generate(PROMPTS, settings)
    assert found[2] == gpt2.generate(PROMPTS[2:3], settings)[0]
    assert len({text for texts in found for text in texts}) == 12
    assert found != gpt2.generate(PROMPTS, settings, seed=4)
    # without a seed each call is another
    assert gpt2.generate(PROMPTS, settings, seed=None) != gpt2.generate(PROMPTS, settings, seed=None)


def test_a_stream_is_the_text_in_parts(gpt2):
    parts = list(gpt2.stream(PROMPTS[0], max_new_tokens=23, logit_bias=allowed(gpt2)))
    assert "".join(parts) == without_cache(gpt2, PROMPTS[0], 23)
    assert 10 < len(parts) <= 23
    with pytest.raises(ValueError, match="a stream has one text"):
        gpt2.stream("a", num_return_sequences=2, do_sample=True)


def test_a_stop_string_across_tokens_ends_the_text(gpt2):
    settings = GenerationSettings(max_new_tokens=23, logit_bias=allowed(gpt2))
    whole = gpt2.generate(PROMPTS, settings)
    for prompt, text in zip(PROMPTS, whole, strict=True):
        stop = text[5:8]
        assert gpt2.generate([prompt], settings, stop_strings=(stop, "never there")) == [text[: text.index(stop)]]


@pytest.mark.parametrize("guessed", [1, 4])
def test_speculative_decoding_writes_the_same(model, guessed, monkeypatch):
    settings = GenerationSettings(max_new_tokens=40, logit_bias=allowed(model))
    wanted = model.generate(PROMPTS, settings)
    steps = []
    real = KerasSession.read_ahead
    monkeypatch.setattr(KerasSession, "read_ahead", lambda self, *a: steps.append(1) or real(self, *a))
    assert model.generate(PROMPTS, settings, prompt_lookup_num_tokens=guessed) == wanted
    assert 0 < len(steps) < 4 * 39  # small models repeat themselves: some guesses were right
    part = wanted[0][6:9]
    stopped = model.generate(PROMPTS[:1], settings, prompt_lookup_num_tokens=guessed, stop_strings=(part,))
    assert stopped == [wanted[0][: wanted[0].index(part)]]
    streamed = list(model.stream(PROMPTS[1], settings, prompt_lookup_num_tokens=guessed))
    assert "".join(streamed) == wanted[1]


def test_the_end_token_ends_a_text_but_not_too_soon(gpt2):
    end = len(gpt2.tokenizer) - 1
    assert gpt2.generate(PROMPTS, logit_bias={end: 1e9}) == [""] * 4
    later = gpt2.generate(PROMPTS, logit_bias=allowed(gpt2) | {end: 1e9}, min_new_tokens=5)
    assert later == [without_cache(gpt2, prompt, 5) for prompt in PROMPTS]


def test_scores_are_the_log_probabilities_of_the_model(model):
    for text, score in zip(PROMPTS, model.score(PROMPTS), strict=True):
        ids = ids_of(model, text)
        row = np.array([ids], "int32")
        logits = np.asarray(model({"token_ids": row, "padding_mask": np.ones_like(row)})[0], "float64")
        wanted = [logits[t, i] - np.log(np.exp(logits[t]).sum()) for t, i in enumerate(ids[1:])]
        assert score.tokens == [model.tokenizer.vocabulary[i] for i in ids]
        assert np.isnan(score.log_probabilities[0])
        np.testing.assert_allclose(score.log_probabilities[1:], wanted, atol=1e-4)
        assert score.total == pytest.approx(sum(wanted), abs=1e-3)
        if len(ids) > 1:
            assert score.perplexity == pytest.approx(np.exp(-np.mean(wanted)), rel=1e-3)


def test_an_empty_prompt_begins_a_text(gpt2):
    settings = GenerationSettings(max_new_tokens=5, logit_bias=allowed(gpt2))
    assert gpt2.generate([""], settings) == [without_cache(gpt2, END, 5)]
    assert gpt2.generate([]) == [] and gpt2.score([]) == []


def test_a_prompt_at_the_limit(gpt2):
    longest = gpt2.config.max_sequence_length
    settings = GenerationSettings(logit_bias=allowed(gpt2))
    assert len(ids_of(gpt2, "x" * (longest - 3))) == longest - 3
    short, long = gpt2.generate(["x", "x" * (longest - 3)], settings)
    assert len(ids_of(gpt2, short)) == longest - 1 and len(ids_of(gpt2, long)) == 3
    with pytest.raises(ValueError, match="prompt 1 has 97 tokens; with a new one the model reads 97"):
        gpt2.generate(["x", "x" * longest])
    with pytest.raises(ValueError, match="text 0 has 98 tokens; the model reads 97"):
        gpt2.score(["x" * (longest + 1)])


def test_logits_that_are_no_numbers_or_all_forbidden():
    model = make("gpt2", num_layers=1)
    everything = {token: float("-inf") for token in range(len(model.tokenizer))}
    with pytest.raises(ValueError, match="the settings forbid every token"):
        model.generate(PROMPTS, logit_bias=everything)
    model.decoder.final_norm.gamma.assign(model.decoder.final_norm.gamma * np.nan)
    with pytest.raises(ValueError, match=r"no numbers \(NaN\)"):
        model.generate(PROMPTS)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"stop_strings": ("",)},
        {"num_return_sequences": 2},
        {"min_new_tokens": 200},
        {"logit_bias": {"a": 1.0}},
        {"logit_bias": {1: "b"}},
        {"top_k": 2.5},
    ],
)
def test_settings_outside_their_range(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        GenerationSettings(**changes)


def test_texts_of_another_kind(gpt2):
    for method in (gpt2.generate, gpt2.score):
        with pytest.raises(ValueError, match="pass a list of texts"):
            method("a text")
        with pytest.raises(ValueError, match="row 1 of the .* texts is 5"):
            method(["a", 5])


def test_a_step_is_compiled_once_for_all_positions(model):
    """XLA compiles a slice again for each place where it begins, in seconds: no slice begins at a variable place."""
    caches = model.decoder.make_caches(1, 64)
    arguments = (np.ones((1, 1), "int32"), np.ones((1, 64), "int32"), caches, tf.constant(3))
    graph = tf.function(model.step, autograph=False).get_concrete_function(*arguments).graph
    slices = [operation for operation in graph.get_operations() if operation.type == "Slice"]
    assert all(tf.get_static_value(operation.inputs[1]) is not None for operation in slices)
