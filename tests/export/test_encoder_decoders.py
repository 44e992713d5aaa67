"""Encoder-decoders on a phone and on a server: the artifacts write what the Keras model writes."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_plm import export
from keras_plm.config import EncoderDecoderConfig
from keras_plm.generation import GenerationSettings
from keras_plm.tasks import SEQ2SEQ, Seq2Seq, evaluate
from tests.tasks.test_text_generation import byte_tokenizer

TEXTS = ["the house", "a cat on the mat is", "", "x"]
LENGTH = 47
KINDS = {
    "original": {"positions": "sinusoidal"},
    "t5": {"positions": "relative", "norm": "rms", "normalize_first": True, "gated": True, "scaled_attention": False,
           "tied": False, "head_dim": 12},
}  # fmt: skip


def make(kind="original", **changes):
    keras.utils.set_random_seed(5)
    tokenizer = byte_tokenizer()
    sizes = {"num_layers": 1, "num_decoder_layers": 2, "num_heads": 4, "hidden_dim": 32, "intermediate_dim": 64}
    sizes |= {"vocabulary_size": len(tokenizer) + 3, "max_sequence_length": 61} | KINDS[kind] | changes
    model = Seq2Seq(EncoderDecoderConfig(**sizes), tokenizer)
    random = np.random.default_rng(1)
    for weight in model.weights:  # large enough for texts that depend on their source
        weight.assign(weight + 0.15 * random.normal(size=weight.shape))
    return model


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    model = make(request.param)
    path = export.to_tflite(model, tmp_path_factory.mktemp(request.param), max_length=LENGTH)
    return model, export.load_artifact(path)


def test_the_artifact_generates_the_same_texts(pair):
    model, artifact = pair
    assert len(set(model.generate(TEXTS))) > 1
    for changes in (
        {},
        {"do_sample": True, "seed": 3, "temperature": 0.7, "top_p": 0.9, "num_return_sequences": 2},
        {"num_beams": 3, "max_new_tokens": 9},
    ):
        settings = dataclasses.replace(GenerationSettings(max_new_tokens=21), **changes)
        assert artifact.generate(TEXTS, settings) == model.generate(TEXTS, settings)
    assert "".join(artifact.stream(TEXTS[0], max_new_tokens=9)) == model.generate(TEXTS[:1], max_new_tokens=9)[0]
    for found, wanted in zip(artifact.score(TEXTS, TEXTS), model.score(TEXTS, TEXTS), strict=True):
        np.testing.assert_allclose(found.log_probabilities, wanted.log_probabilities, rtol=0, atol=1e-4)


def test_functions(pair):
    """`encode` once for a source, `decode` for each token; weights are stored once."""
    model, artifact = pair
    runtime = artifact.artifact._runtime
    assert set(runtime.interpreter.get_signature_list()) == {"encode", "decode"}
    assert set(runtime.empty) == {f"kv_cache_{kind}_{block}" for block in range(2) for kind in "kv"}
    assert all(name.isupper() for name in artifact.artifact.operators())
    assert artifact.artifact.size_bytes < 4 * model.count_params() + 150_000


def test_scores(pair):
    model, artifact = pair
    examples = SEQ2SEQ.read({"source": ["the house", "a cat", "x"], "target": ["y", "the x", "house"]}, SEQ2SEQ.columns)
    wanted = evaluate(model, examples)
    assert wanted.main == "chrf" and list(wanted.scores)[-2:] == ["token_accuracy", "perplexity"]
    totals = model.score(examples.prompts, examples.completions)
    counts = [len(score.tokens) - 1 for score in totals]
    assert wanted.scores["perplexity"] == pytest.approx(np.exp(-sum(s.total for s in totals) / sum(counts)), rel=1e-4)
    assert [row["perplexity"] for row in wanted.rows] == pytest.approx([s.perplexity for s in totals], rel=1e-3)
    assert evaluate(artifact, examples).scores == pytest.approx(wanted.scores, rel=1e-4)


@pytest.mark.parametrize("scheme", ["dynamic_int8", "int4+int8:embedding,decoder_block_0"])
def test_quantized(scheme, tmp_path):
    model = make(hidden_dim=64, intermediate_dim=256)
    path = export.to_tflite(model, tmp_path / "small.tflite", scheme, max_length=32)
    assert path.stat().st_size < 0.4 * 4 * model.count_params() + 150_000
    assert len(export.load_artifact(path).generate(TEXTS, max_new_tokens=5)) == len(TEXTS)


def test_the_saved_model_takes_texts(tmp_path):
    model = make()
    folder = export.to_saved_model(model, tmp_path / "served", max_length=LENGTH)
    artifact = export.load_artifact(folder)
    strings = {"source": TEXTS, "max_new_tokens": [9, 3, 9, 0], "temperature": [0.0] * 4, "top_p": [1.0] * 4}
    found = artifact.artifact.strings(**strings, seed=[0] * 4)
    wanted = [
        model.generate([text], max_new_tokens=n)[0] if n else ""
        for text, n in zip(TEXTS, strings["max_new_tokens"], strict=True)
    ]
    assert [text.decode() for text in found["text"]] == wanted
    drawn = strings | {"temperature": [1.5] * 4, "max_new_tokens": [12] * 4}
    first, again = (artifact.artifact.strings(**drawn, seed=seed)["text"].tolist() for seed in ([1] * 4, [1] * 4))
    assert first == again != artifact.artifact.strings(**drawn, seed=[2] * 4)["text"].tolist()
    for read, score in zip(artifact.score(TEXTS, TEXTS), model.score(TEXTS, TEXTS), strict=True):
        np.testing.assert_allclose(read.log_probabilities, score.log_probabilities, rtol=0, atol=1e-4)
    with pytest.raises(TypeError, match="no functions for generation"):
        artifact.generate(["a"])


def test_refused(tmp_path):
    model = make()
    with pytest.raises(ValueError, match="not supported for an encoder-decoder"):
        export.to_tflite(model, tmp_path, "int4", calibration=["a text"])
    with pytest.raises(ValueError, match="use to_tflite"):
        export.to_onnx(model, tmp_path / "other")
    with pytest.raises(ValueError, match=r"\['encoder_block_1'\]; its parts"):
        export.to_tflite(model, tmp_path, "int4+int8:encoder_block_1")
    assert not list(tmp_path.iterdir())
