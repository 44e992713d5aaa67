import numpy as np
import pytest

import keras_plm as plm

TEXTS = ["The cat sees the dog.", "", "A heron, a heron! " * 30, "the fox", "中国 很 大"]


def test_answers_do_not_depend_on_the_batch(classifier):
    together = classifier.predict_logits(TEXTS, batch_size=2)
    alone = np.concatenate([classifier.predict_logits([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(together[:, 0]) > 0.01  # they do depend on the text


def test_labels_and_probabilities(classifier):
    probabilities = classifier.predict_probabilities(TEXTS)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    labels = classifier.predict_labels(TEXTS)
    assert labels == [["cat", "dog", "heron"][i] for i in probabilities.argmax(-1)]
    assert classifier.predict_labels([]) == []


def test_pairs(classifier):
    one = classifier.predict_logits(["the cat"], ["the dog"])
    other = classifier.predict_logits(["the dog"], ["the cat"])
    assert np.abs(one - other).max() > 1e-4


def test_regression(config, tokenizer):
    model = plm.Classifier(config, None, tokenizer)
    assert model.predict_logits(["the cat", "the dog"]).shape == (2, 1)
    with pytest.raises(ValueError, match="a regression has no labels"):
        model.predict_labels(["the cat"])


def test_errors(config, classifier):
    with pytest.raises(ValueError, match="pass a list of texts"):
        classifier.predict_labels("the cat")
    with pytest.raises(ValueError, match="2 first texts, but 1 second"):
        classifier.predict_labels(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="a classifier needs at least two"):
        plm.Classifier(config, ["a"])
    with pytest.raises(ValueError, match="no tokenizer"):
        plm.Classifier(config, ["a", "b"]).predict_labels(["x"])
    with pytest.raises(ValueError, match="the encoder was made with"):
        plm.Classifier(config, ["a", "b"], encoder=plm.Encoder(plm.TINY))
