"""A trained encoder-decoder that writes Arabic names in Latin letters, from OpenNMT: text for text what CTranslate2
writes, with the same scores."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from keras_plm.config import EncoderDecoderConfig
from keras_plm.generation import GenerationSettings, LogitsProcessor, beam_search
from keras_plm.models import named_weights
from keras_plm.tasks import Seq2Seq

HOME = Path(os.environ.get("KERAS_PLM_DATA", Path(__file__).parents[3] / "shared")) / "checkpoints"
BEGIN, END = 1, 2
POSITIONS = 64


@pytest.fixture(scope="module")
def folder():
    found = HOME / "aren_transliteration"
    if not found.is_dir():
        pytest.skip(f"no checkpoint at {found}; set KERAS_PLM_DATA")
    return found


@pytest.fixture(scope="module")
def model(folder):
    theirs = dict(np.load(folder / "weights.npz"))
    made = Seq2Seq(
        EncoderDecoderConfig(
            vocabulary_size=51, target_vocabulary_size=43, num_layers=6, num_heads=8, hidden_dim=32,
            intermediate_dim=128, max_sequence_length=POSITIONS, positions="learned", normalize_first=True, dropout=0.0,
            tied=False, head_bias=True,
        )
    )  # fmt: skip
    ours = named_weights(made)
    for path, values in _converted(theirs).items():
        ours.pop(path).assign(values)
    assert not ours
    return made


def _positions():
    """OpenNMT-tf's sinusoids: positions count from 1, and the last rate is 1 / 10000."""
    rates = np.exp(-np.log(10_000) / 15 * np.arange(16))
    angles = np.arange(1, POSITIONS + 1)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], -1)


def _converted(theirs):
    found = {"head/kernel": theirs["decoder/projection/weight"].T, "head/bias": theirs["decoder/projection/bias"]}
    for side, embedding in (("encoder", "embedding"), ("decoder", "decoder_embedding")):
        found[f"{embedding}/tokens"] = theirs[f"{side}/embeddings/weight"]
        found[f"{embedding}/positions"] = _positions()
        found |= {f"{side}_norm/{name}": theirs[f"{side}/layer_norm/{name}"] for name in ("gamma", "beta")}
        for i in range(6):
            there, here = f"{side}/layer_{i}", f"{side}_block_{i}"
            own = "attention" if side == "encoder" else "self_attention"
            found |= _attention(theirs, f"{there}/self_attention", f"{here}/{own}", ["query", "key", "value"])
            if side == "decoder":
                found |= _attention(
                    theirs, f"{there}/attention", f"{here}/cross_attention", ["query"], ["key", "value"]
                )
            ffn = f"{there}/ffn"
            found[f"{here}/feed_forward/expand/kernel"] = theirs[f"{ffn}/linear_0/weight"].T
            found[f"{here}/feed_forward/expand_bias"] = theirs[f"{ffn}/linear_0/bias"]
            found[f"{here}/feed_forward/contract/kernel"] = theirs[f"{ffn}/linear_1/weight"].T
            found[f"{here}/feed_forward/contract/bias"] = theirs[f"{ffn}/linear_1/bias"]
            for name in ("gamma", "beta"):
                found[f"{here}/feed_forward_norm/{name}"] = theirs[f"{ffn}/layer_norm/{name}"]
    return found


def _attention(theirs, there, here, *fused):
    found = {}
    for number, names in enumerate((*fused, ["output"])):
        parts = zip(
            names,
            np.split(theirs[f"{there}/linear_{number}/weight"], len(names)),
            np.split(theirs[f"{there}/linear_{number}/bias"], len(names)),
            strict=True,
        )
        for name, kernel, bias in parts:
            found |= {f"{here}/{name}/kernel": kernel.T, f"{here}/{name}/bias": bias}
    return found | {f"{here}_norm/{name}": theirs[f"{there}/layer_norm/{name}"] for name in ("gamma", "beta")}


@pytest.fixture(scope="module")
def vocabularies(folder):
    return [
        (folder / "ct2" / f"{side}_vocabulary.txt").read_text("utf-8").splitlines() for side in ("source", "target")
    ]


def test_greedy_and_beams(model, folder, vocabularies):
    source, target = vocabularies
    golden = json.loads((folder / "golden.json").read_text())["translate"]
    for beams in (1, 4):
        cases = [case for case in golden if case["beam_size"] == beams]
        assert cases
        sources = [[source.index(letter) for letter in case["input"]] for case in cases]
        settings = GenerationSettings(num_beams=beams, max_new_tokens=32)
        processor = LogitsProcessor(settings, [], [END], None, len(target))
        session = model.open_session(32, sources)
        prompts = [[BEGIN]] * len(cases)
        for case, best in zip(
            cases, beam_search(session, prompts, settings, [32] * len(cases), processor), strict=True
        ):
            assert [target[token] for token in best[0].token_ids] == [*case["output"], "</s>"]
            assert best[0].score == pytest.approx(case["score"], abs=1e-4)


def test_scores_of_given_targets(model, folder, vocabularies):
    source, target = vocabularies
    for case in json.loads((folder / "golden.json").read_text())["score"]:
        ids = np.array([[source.index(letter) for letter in case["source"]]])
        new = [target.index(letter) for letter in case["tokens"]]
        decoder = np.array([[BEGIN, *new[:-1]]])
        logits = model.predict_on_batch(
            {
                "token_ids": ids, "padding_mask": np.ones_like(ids), "decoder_token_ids": decoder,
                "decoder_padding_mask": np.ones_like(decoder),
            }
        )[0]  # fmt: skip
        log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        found = log_probabilities[np.arange(len(new)), new]
        np.testing.assert_allclose(found, case["log_probs"], rtol=0, atol=1e-4)
