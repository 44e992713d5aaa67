"""Every task in every format: the artifact answers texts as the model does."""

import functools
import itertools
import json
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm import export
from keras_plm.text import LabeledTexts, Questions, TaggedSentences
from tests.tasks.test_text_methods import TAGS, grown

TEXTS = ["The cat sees 小明, naïve cafe\u0301 🙂.", "dog", "it hears the heron , unafraid .", ""]
LONG = "the cat sees the dog and the heron hears it , unafraid . " * 5


@pytest.fixture(scope="module")
def models(config, tokenizer):
    keras.utils.set_random_seed(4)
    config = replace(config, max_sequence_length=40)
    made = {
        "tagger": plm.Tagger(config, TAGS, tokenizer, crf=True),
        "plain": plm.Tagger(config, ["NOUN", "VERB", "X"], tokenizer),
        "reader": plm.QuestionAnswerer(config, tokenizer, null_threshold=0.5),
        "several": plm.Classifier(config, ["a", "b", "c"], tokenizer, pooling="mean", multi_label=True),
        "embedder": plm.Embedder(config, tokenizer),
    }
    made["tagger"].crf.follow.assign(np.random.default_rng(0).normal(size=(5, 5)))
    return {name: grown(model) for name, model in made.items()}


@pytest.fixture(scope="module")
def artifacts(models, tmp_path_factory):
    """The path of a model in a format, exported when it is first asked for."""
    folder = tmp_path_factory.mktemp("tasks")

    @functools.cache
    def export_once(name, kind):
        model = models[name]
        if kind == "saved_model":
            return export.to_saved_model(model, folder / name)
        if kind == "onnx":
            return export.to_onnx(model, folder / f"{name}.onnx")
        return export.to_tflite(model, folder / f"{name}.{kind}.tflite", kind)

    return export_once


NAMES = ["tagger", "plain", "reader", "several", "embedder"]
FORMATS = ["saved_model", "onnx", "float32"]
QUICK = {
    ("tagger", "saved_model"),
    ("reader", "float32"),
    ("several", "float32"),
    ("embedder", "onnx"),
}


def all_of(*lists):
    """Every combination; but for those in QUICK they are slow."""
    combined = itertools.product(*lists)
    return [pytest.param(*c, marks=[] if c in QUICK else pytest.mark.slow) for c in combined]


@pytest.mark.parametrize(("name", "kind"), all_of(NAMES, FORMATS))
def test_it_answers_texts_as_the_model_does(name, kind, models, artifacts):
    model, loaded = models[name], export.load_artifact(artifacts(name, kind))
    if name in ("tagger", "plain"):
        words = [text.split() for text in [*TEXTS, LONG]]
        assert loaded.predict_tags(words) == model.predict_tags(words)
        for found, wanted in zip(loaded.tag(TEXTS), model.tag(TEXTS), strict=True):
            assert [replace(span, score=0) for span in found] == [replace(span, score=0) for span in wanted]
    elif name == "reader":
        for question, context in (("who sees ?", TEXTS[0]), ("dog ?", LONG)):
            found, wanted = loaded.answer(question, context), model.answer(question, context)
            assert replace(found, score=0) == replace(wanted, score=0)
            assert found.score == pytest.approx(wanted.score, abs=1e-4)
    elif name == "several":
        np.testing.assert_allclose(loaded.predict_probabilities(TEXTS), model.predict_probabilities(TEXTS), atol=1e-5)
        assert loaded.predict_labels(TEXTS) == model.predict_labels(TEXTS)
    else:
        np.testing.assert_allclose(loaded.embed(TEXTS), model.embed(TEXTS), atol=1e-5)
        cut = export.load_artifact(artifacts(name, kind), max_length=7)
        np.testing.assert_allclose(cut.embed([LONG]), model.predict_texts([LONG], max_length=7), atol=1e-5)


def test_an_embedder_sees_the_texts_of_a_pair_one_by_one(models, artifacts):
    pairs = list(zip(TEXTS[:3], TEXTS[1:], strict=True))
    assert export.compare(models["embedder"], artifacts("embedder", "onnx"), pairs).rows == 6


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_int8_is_near(name, models, artifacts):
    small = artifacts(name, "dynamic_int8")
    assert export.Artifact(small).size_bytes < 0.6 * export.Artifact(artifacts(name, "float32")).size_bytes
    comparison = export.compare(models[name], small, examples(name))
    assert 1e-6 < comparison.mean_error < 0.1
    assert comparison.agreement is None or comparison.agreement > 0.6


@pytest.mark.slow
def test_lora_updates_are_merged_in_an_artifact(config, tokenizer, tmp_path):
    sizes = replace(config, max_sequence_length=40)
    encoder = plm.Encoder(sizes, tokenizer, plm.Adaptation(lora_rank=3))
    model = grown(plm.Classifier(sizes, ["a", "b"], tokenizer, encoder))
    for weight in model.weights:
        if weight.path.endswith("lora_b"):
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    plain = export.to_onnx(plm.Classifier(sizes, ["a", "b"], tokenizer), tmp_path / "plain.onnx")
    merged = export.to_onnx(model, tmp_path / "merged.onnx")
    assert export.Artifact(merged).operators() == export.Artifact(plain).operators()
    found = export.load_artifact(merged).predict_probabilities(TEXTS)
    np.testing.assert_allclose(found, model.predict_probabilities(TEXTS), atol=1e-4)


@pytest.mark.slow
def test_a_megabyte_of_context_is_cut(models, artifacts):
    served = tf.saved_model.load(str(artifacts("reader", "saved_model"))).signatures["serving_default"]
    context = "the cat sees the dog . " * 45_000
    found = served(question=tf.constant(["who ?"]), context=tf.constant([context]))
    start, end = int(found["start"][0]), int(found["end"][0])
    assert context[start:end] == found["answer"][0].numpy().decode() and end < 200


CLIENT = """
import json, sys
import numpy as np, tensorflow as tf, tensorflow_text
sys.modules["keras_plm"] = None  # not to be had
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
given = {name: tf.constant(texts) for name, texts in json.loads(sys.argv[2]).items()}
found = {}
for name, value in serve(**given).items():
    value = value.numpy()
    decode = np.vectorize(bytes.decode, otypes=[object])
    found[name] = (decode(value) if value.dtype == object else value).tolist()
print(json.dumps(found))
"""


def serve(folder, **given):
    """A SavedModel's answer to strings, from a process that has TensorFlow and TensorFlow Text only."""
    command = [sys.executable, "-I", "-c", CLIENT, str(folder), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("name", ["tagger", pytest.param("plain", marks=pytest.mark.slow)])
def test_strings_in_tags_out(name, models, artifacts):
    found = serve(artifacts(name, "saved_model"), text=TEXTS)
    for row, (text, words) in enumerate(zip(TEXTS, plm.text.split_words(TEXTS), strict=True)):
        count = len(words.words)
        assert found["words"][row][:count] == words.words and not any(found["words"][row][count:])
        assert found["starts"][row][:count] == words.starts and found["ends"][row][:count] == words.ends
        (tags,) = models[name].predict_tags([words.words])
        assert found["tags"][row][:count] == tags, text
        assert all(0 < score <= 1 for score in found["scores"][row][:count])


def test_strings_in_answers_out(models, artifacts):
    reader = models["reader"]
    contexts = [TEXTS[0], TEXTS[2], "小明 follows the newt", "cat"]
    questions = ["who sees ?", "what ?", "dog ?", "it"]
    found = serve(artifacts("reader", "saved_model"), question=questions, context=contexts)
    for row, (candidates, null) in enumerate(reader.candidate_answers(questions, contexts)):
        assert found["null_score"][row] == pytest.approx(null, abs=1e-3)
        context, start, end = contexts[row], found["start"][row], found["end"][row]
        assert context[start:end] == found["answer"][row]
        known = {(s, e): score for _, s, e, score in candidates}
        if found["answer"][row]:
            assert found["score"][row] == pytest.approx(known[start, end], abs=1e-3)
            assert null - found["score"][row] <= 0.5
        else:
            assert null - found["score"][row] > 0.5


@pytest.mark.slow
def test_strings_in_vectors_out(models, artifacts):
    found = serve(artifacts("embedder", "saved_model"), text=TEXTS)
    np.testing.assert_allclose(found["vectors"], models["embedder"].embed(TEXTS), atol=1e-5)
    found = serve(artifacts("several", "saved_model"), text=TEXTS)
    np.testing.assert_allclose(found["probabilities"], models["several"].predict_probabilities(TEXTS), atol=1e-5)


def examples(name):
    if name in ("tagger", "plain"):
        tags = {"tagger": ["O", "B-PER", "I-PER"], "plain": ["NOUN", "VERB", "X"]}[name]
        return TaggedSentences("here", [["the", "cat", "sees"]] * 3, [tags] * 3, [0] * 3)
    if name == "reader":
        return Questions("here", ["1", "2"], ["who ?", "dog ?"], [TEXTS[2], TEXTS[0]], [[("heron", 13)], []])
    if name == "several":
        return LabeledTexts("here", TEXTS[:3], None, ["a; b", "[]", "c"])
    return LabeledTexts("here", TEXTS[:3], ["cat", "dog", "it"], ["1", "5", "2"])


@pytest.mark.parametrize("name", [*(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n != "reader"), "reader"])
def test_evaluate_gives_both_the_same_score(name, models, artifacts):
    rows = examples(name)
    wanted = plm.evaluate(models[name], rows)
    found = plm.evaluate(export.load_artifact(artifacts(name, "float32")), rows)
    assert found.scores == pytest.approx(wanted.scores, abs=1e-5)
    comparison = export.compare(models[name], artifacts(name, "float32"), rows)
    assert comparison.metric == wanted.main
    assert comparison.keras_score == pytest.approx(comparison.artifact_score, abs=1e-5)
    assert comparison.largest_error < 1e-3
    assert comparison.agreement in (None, 1.0) and (comparison.agreement is None) == (name == "embedder")


def test_what_cannot_be_exported_or_compared(models, artifacts, config, tokenizer, tmp_path):
    with pytest.raises(TypeError, match="class Encoder has no task; use one of Classifier, Embedder"):
        export.to_onnx(plm.Encoder(config, tokenizer), tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="is for tagging, but the model is a Embedder"):
        export.compare(models["embedder"], artifacts("tagger", "saved_model"), ["the cat"])
    with pytest.raises(TypeError, match="is evaluated on TaggedSentences, not Questions"):
        plm.evaluate(models["tagger"], examples("reader"))
    with pytest.raises(TypeError, match="has no task; use one of"):
        plm.evaluate(plm.Encoder(config, tokenizer), examples("reader"))
