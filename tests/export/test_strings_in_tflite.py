from dataclasses import replace

import numpy as np
import pytest
from checkpoints.small_folders import byte_pair

import keras_plm as plm
from keras_plm import export
from keras_plm.text import read_rows

TEXTS = ["The cat sees the dog, unafraid.", "", "a quiet film", "A heron! A heron? " * 20, "naïve CAFÉ 中国 很 大。"]
LENGTH = 23


def test_one_string(classifier, tmp_path):
    path = export.to_tflite(classifier, tmp_path, max_length=LENGTH, strings=True)
    artifact = export.Artifact(path)
    found = artifact.strings(text=TEXTS)["probabilities"]
    np.testing.assert_allclose(found, classifier.predict_probabilities(TEXTS, max_length=LENGTH), atol=1e-5)
    # the signature of tokens is there too, and with it the methods of the model
    assert export.load_artifact(path).predict_labels(TEXTS) == classifier.predict_labels(TEXTS, max_length=LENGTH)
    assert artifact.operators()["FastBertNormalize"] == 1 and np.ptp(found[:, 0]) > 0.05
    assert artifact.strings(text=[])["probabilities"].shape == (0, 3)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["float32", "dynamic_int8"])
def test_pairs(classifier, tmp_path, scheme):
    path = export.to_tflite(classifier, tmp_path, scheme, max_length=LENGTH, strings="pairs")
    artifact = export.Artifact(path)
    with pytest.raises(ValueError, match="takes first and second, not text"):
        artifact.strings(text=TEXTS)
    with pytest.raises(ValueError, match="first and second must have the same length, but they have 5 and 4"):
        artifact.strings(first=TEXTS, second=TEXTS[1:])
    found = artifact.strings(first=TEXTS, second=TEXTS[::-1])["probabilities"]
    wanted = classifier.predict_probabilities(TEXTS, TEXTS[::-1], max_length=LENGTH)
    np.testing.assert_allclose(found, wanted, atol=1e-5 if scheme == "float32" else 0.1)


@pytest.mark.slow
def test_an_embedder_and_a_saved_model(config, tokenizer, tmp_path):
    model = plm.Embedder(replace(config, max_sequence_length=LENGTH), tokenizer=tokenizer)
    for path in (
        export.to_tflite(model, tmp_path, strings=True),
        export.to_saved_model(model, tmp_path / "1"),
    ):
        found = export.Artifact(path).strings(text=TEXTS)["vectors"]
        np.testing.assert_allclose(found, model.embed(TEXTS), atol=1e-5)


def test_what_cannot_take_strings(config, tokenizer, classifier, tmp_path):
    pairs = byte_pair()
    half = plm.WordPieceTokenizer(tokenizer.vocabulary, strip_accents=False)
    for model, scheme, words in [
        (plm.Tagger(config, ["O", "B-a"], tokenizer), "float32", "tagging needs offsets"),
        (
            plm.Classifier(replace(config, vocabulary_size=len(pairs)), ["a", "b"], pairs),
            "float32",
            "not for a BytePair",
        ),
        (plm.Classifier(config, ["a", "b"], half), "float32", "or do neither"),
        (plm.Classifier(replace(config, hidden_dim=36), ["a", "b"], tokenizer), "int4", "not int4"),
    ]:
        with pytest.raises(ValueError, match=words):
            export.to_tflite(model, tmp_path, scheme, strings=True)
    with pytest.raises(ValueError, match="strings='pair'; choose True"):
        export.to_tflite(classifier, tmp_path, strings="pair")
    with pytest.raises(ValueError, match="takes token ids only"):
        export.Artifact(export.to_tflite(classifier, tmp_path, max_length=LENGTH)).strings(text=["a"])


@pytest.mark.slow
def test_real_texts(tmp_path, real_data, minilm_classifier):
    texts = read_rows(str(real_data / "sst2" / "test.tsv"), ["text"])["text"][:250]
    path = export.to_tflite(minilm_classifier, tmp_path, max_length=64, strings=True)
    found = export.Artifact(path).strings(text=texts)["probabilities"].argmax(-1)
    wanted = minilm_classifier.predict_labels(texts, max_length=64)
    assert [minilm_classifier.labels[i] for i in found] == wanted and len(set(wanted)) > 1


def test_texts_that_are_cut_otherwise_are_said(classifier, tmp_path):
    texts = ["the cat", "the [MASK] cat", "a dog", "it is"]
    with pytest.warns(UserWarning, match=r"splits 25% of these 4 texts into other tokens than .*, such as 'the \["):
        export.to_tflite(classifier, tmp_path, max_length=LENGTH, strings=True, calibration=texts)
    # none of these is, and a warning would be an error
    export.to_tflite(classifier, tmp_path, max_length=LENGTH, strings=True, calibration=["the cat"], overwrite=True)
