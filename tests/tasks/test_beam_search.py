"""Beam search beside that of Transformers, on decoders with random weights; and its texts."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import random_weights
from checkpoints.test_decoders import write_folder

import keras_plm as plm
from keras_plm.generation import GenerationSettings, LogitsProcessor, beam_search
from tests.tasks.test_text_generation import PROMPTS, allowed, make

GOLDEN = json.loads((Path(__file__).parents[1] / "checkpoints" / "beams.json").read_text())
FEW = dict.fromkeys(random_weights.SUPPRESSED, float("-inf"))


@functools.cache
def loaded(case, folder):
    write_folder(folder, case)
    return plm.load(f"hf:{folder}")


@pytest.fixture(scope="module", params=random_weights.BEAM_MODELS)
def case(request, tmp_path_factory):
    return request.param, loaded(request.param, tmp_path_factory.getbasetemp() / f"beams_{request.param}")


@pytest.mark.parametrize("number", range(len(random_weights.BEAM_SETTINGS)))
def test_hypotheses_are_those_of_transformers(case, number):
    """All beams of 25 prompts, which go through the model together here and one by one there."""
    name, model = case
    settings = GenerationSettings(**random_weights.BEAM_SETTINGS[number], logit_bias=FEW)
    prompts = random_weights.beam_prompts()
    session = model.open_session(settings.max_new_tokens)
    limits = [settings.max_new_tokens] * len(prompts)
    found = beam_search(session, prompts, settings, limits, LogitsProcessor(settings, end_ids=[2]))
    for index, hypotheses in enumerate(found):
        wanted = GOLDEN[f"{name}/{number}/{index}"]
        assert [hypothesis.token_ids for hypothesis in hypotheses] == [row for row, _ in wanted], index
        np.testing.assert_allclose([h.score for h in hypotheses], [score for _, score in wanted], atol=1e-4)
    lengths = {len(row) for rows in GOLDEN.values() for row, _ in rows}
    assert len(lengths) > 7  # they end at all lengths


def test_texts_of_beams():
    model = make("gpt2")
    settings = GenerationSettings(num_beams=3, max_new_tokens=9, logit_bias=allowed(model))
    best = model.generate(PROMPTS, settings)
    assert best == [model.generate([prompt], settings)[0] for prompt in PROMPTS]
    several = model.generate(PROMPTS, settings, num_return_sequences=3)
    assert [texts[0] for texts in several] == best and all(len(set(texts)) == 3 for texts in several)
    greedy = model.generate(PROMPTS, settings, num_beams=1)
    totals = [[score_of(model, p, t) for p, t in zip(PROMPTS, texts, strict=True)] for texts in (best, greedy)]
    assert all(b > g - 1e-3 for b, g in zip(*totals, strict=True)) and totals[0] != totals[1]


def test_diverse_groups():
    """Groups of one beam are greedy, with penalties for the tokens of earlier groups; without, groups are searches."""
    model, penalty = make("gpt2"), 0.5
    settings = GenerationSettings(max_new_tokens=7, logit_bias=allowed(model))
    wanted = [[], [], []]
    for _ in range(7):
        chosen = []
        for new in wanted:
            ids = np.array([model.texts_to_ids([PROMPTS[0]])[0] + new], "int32")
            logits = np.asarray(model({"token_ids": ids, "padding_mask": np.ones_like(ids)}))[0, -1].astype("float64")
            logits -= np.log(np.exp(logits).sum())
            for token, bias in settings.logit_bias.items():
                logits[token] += bias
            for token in chosen:
                logits[token] -= penalty
            chosen.append(int(logits.argmax()))
        for new, token in zip(wanted, chosen, strict=True):
            new.append(token)
    diverse = {"num_beams": 3, "num_beam_groups": 3, "num_return_sequences": 3, "diversity_penalty": penalty}
    found = model.generate(PROMPTS[:1], settings, **diverse)[0]
    assert sorted(found) == sorted(map(model.tokenizer.decode, wanted)) and len(set(found)) == 3
    together = model.generate(PROMPTS, settings, **diverse)
    assert together == [model.generate([prompt], settings, **diverse)[0] for prompt in PROMPTS]
    plain = model.generate(PROMPTS, settings, num_beams=2, num_return_sequences=2)
    equal = {"num_beams": 6, "num_beam_groups": 3, "num_return_sequences": 6, "diversity_penalty": 1e-9}
    for six, two in zip(model.generate(PROMPTS, settings, **equal), plain, strict=True):
        assert sorted(six) == sorted(two * 3)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_contrastive_search(kind):
    """Beside a plain loop that reads the whole text for each candidate."""
    model = make(kind)
    settings = GenerationSettings(max_new_tokens=9, penalty_alpha=0.6, top_k=4, logit_bias=allowed(model))

    def states_and_logits(ids):
        row = np.array([ids], "int32")
        hidden = model.decoder({"token_ids": row, "padding_mask": np.ones_like(row)})
        states = np.asarray(hidden, "float64")[0]
        return states / np.linalg.norm(states, axis=-1, keepdims=True), np.asarray(model.logits(hidden), "float64")[
            0, -1
        ]

    def plain(prompt):
        ids, new = model.texts_to_ids([prompt])[0], []
        for _ in range(9):
            states, logits = states_and_logits(ids + new)
            for token, bias in settings.logit_bias.items():
                logits[token] += bias
            chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
            scores = {
                int(token): 0.4 * chances[token]
                - 0.6 * (states_and_logits(ids + new + [int(token)])[0][-1] @ states.T).max()
                for token in np.argsort(-chances, kind="stable")[:4]
            }
            new.append(max(scores, key=lambda token: scores[token]))
        return model.tokenizer.decode(new)

    found = model.generate(PROMPTS, settings)
    assert found == [plain(prompt) for prompt in PROMPTS]
    assert found != model.generate(PROMPTS, max_new_tokens=9, logit_bias=allowed(model))
    for changes in ({"top_k": 1}, {"do_sample": True}, {"num_beams": 2}, {"penalty_alpha": 1.0}):
        with pytest.raises(ValueError, match="penalty_alpha"):
            model.generate(["a"], settings, **changes)


def score_of(model, prompt, text):
    """The log-probability of the text behind the prompt, among the tokens that are allowed."""
    ids, first = (model.tokenizer.encode(part).token_ids for part in (prompt + text, prompt))
    row = np.array([ids], "int32")
    logits = np.asarray(model({"token_ids": row, "padding_mask": np.ones_like(row)})[0], "float64")
    scores = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return sum(scores[t - 1, ids[t]] for t in range(len(first), len(ids)))


def test_a_stop_string_ends_a_beam():
    model = make("gpt2")
    settings = GenerationSettings(num_beams=3, max_new_tokens=9, logit_bias=allowed(model))
    text = model.generate(PROMPTS[:1], settings)[0]
    stopped = model.generate(PROMPTS[:1], settings, stop_strings=(text[2:4],), num_return_sequences=3)[0]
    assert all(text[2:4] not in one for one in stopped) and min(map(len, stopped)) <= 2


@pytest.mark.parametrize("changes", [{"num_beams": 2, "do_sample": True}, {"num_beams": 0}, {"early_stopping": "soon"},
                                     {"num_beams": 4, "num_beam_groups": 3}, {"num_beams": 2, "num_beam_groups": 2},
                                     {"num_beams": 2, "num_return_sequences": 3}])  # fmt: skip
def test_settings_that_beams_do_not_have(changes):
    with pytest.raises(ValueError, match=list(changes)[-1] if "do_sample" not in changes else "num_beams=2"):
        GenerationSettings(**changes)
