import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export
from keras_plm.export.compare import compare
from keras_plm.text import TaggedSentences

from .conftest import LENGTH, TEXTS


def test_compare(classifier, artifacts, tmp_path):
    texts = [TEXTS[i] for i in (0, 2, 5)]
    rows = ["label\ttext"] + [f"{label}\t{text}" for text, label in zip(texts, ("cat", "dog", "cat"), strict=True)]
    (tmp_path / "test.tsv").write_text("\n".join(rows))
    comparison = compare(classifier, artifacts["dynamic_int8"], tmp_path / "test.tsv")
    wanted = classifier.predict_labels(texts, max_length=LENGTH)
    right = np.mean([a == b for a, b in zip(wanted, ("cat", "dog", "cat"), strict=True)])
    assert comparison.keras_score == pytest.approx(right) and comparison.rows == 3
    assert 0 < comparison.p50_ms <= comparison.p95_ms
    assert comparison.artifact_bytes == artifacts["dynamic_int8"].stat().st_size
    printed = str(comparison)
    assert "accuracy" in printed and "FULLY_CONNECTED" in printed and "labels agree" in printed
    assert comparison.truncated_rows == 0 and "truncated" not in printed
    with pytest.raises(ValueError, match="no examples to compare"):
        compare(classifier, artifacts["float32"], [])
    with pytest.raises(ValueError, match="limit=-1; it is a number of rows"):
        compare(classifier, artifacts["float32"], TEXTS, limit=-1)
    other = plm.Classifier(classifier.config, ["a", "b"], classifier.tokenizer)
    with pytest.raises(ValueError, match=r"has labels=\['cat', 'dog', 'heron'\], but the model has \['a', 'b'\]"):
        compare(other, artifacts["float32"], TEXTS)
    several = plm.Classifier(classifier.config, classifier.labels, classifier.tokenizer, multi_label=True)
    with pytest.raises(ValueError, match="has multi_label=False, but the model has True"):
        compare(several, artifacts["float32"], TEXTS)


def test_what_a_short_artifact_cuts_off_is_a_loss(classifier, artifacts):
    text = "the cat sees the dog, " * 2 + "a heron! " * 6
    comparison = compare(classifier, artifacts["float32"], [text, "a dog"])
    assert comparison.truncated_rows == 1 and comparison.largest_error > 1e-3
    assert "examples truncated" in str(comparison)
    same = compare(classifier, artifacts["onnx"], [text, "a dog"], max_length=999)  # than which it has less
    assert same.largest_error < 1e-5 and same.operators["MatMul"] > 0
    cut = export.load_artifact(artifacts["onnx"], max_length=7).predict_probabilities([text])
    np.testing.assert_allclose(cut, classifier.predict_probabilities([text], max_length=7), atol=1e-5)
    served = compare(classifier, artifacts["saved_model"], [text, "a dog"])
    assert served.largest_error < 1e-5 and served.operators["MatMul"] > 0


def test_a_shorter_row_holds_for_the_scores_too(config, tokenizer, tmp_path):
    tagger = plm.Tagger(config, ["O", "B-A", "I-A"], tokenizer)
    path = export.to_onnx(tagger, tmp_path)
    words = ["the", "cat", "sees", "the", "dog", "and", "the", "dog", "hears", "the", "heron"]
    rows = TaggedSentences("rows", [words], [["B-A"] * len(words)], [0])
    whole, cut = (compare(tagger, path, rows, max_length=length).artifact_evaluation.rows[0] for length in (None, 7))
    assert whole["found"] == tagger.predict_tags([words])[0]
    assert cut["found"] == tagger.predict_tags([words], max_length=7)[0] != whole["found"]


@pytest.mark.slow
def test_a_trimmed_artifact_beside_the_whole_model(reviews, config, tokenizer, tmp_path):
    texts = ["the cat sees", "the dog hears", "the cat, the cat"]
    path = export.to_tflite(plm.trim_vocabulary(reviews, texts), tmp_path / "trimmed", max_length=LENGTH)
    found = compare(reviews, path, texts)
    assert found.agreement == 1 and found.largest_error < 1e-4
    tagger = plm.Tagger(config, ["O", "B-A"], tokenizer)
    path = export.to_tflite(plm.trim_vocabulary(tagger, texts), tmp_path / "tagger", max_length=LENGTH)
    with pytest.raises(ValueError, match="another vocabulary than the model"):
        compare(tagger, path, texts)
