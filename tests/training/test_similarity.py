"""Losses of pairs of vectors, and the correlation that recipes show, by their formulas."""

import numpy as np
import pytest

from keras_plm.training import ContrastiveLoss, CosineLoss, Pearson, RankingLoss


@pytest.fixture
def pairs():
    """Rows 2i and 2i + 1 are a pair: vectors of length 1, scores of the rows, cosines of the pairs and of all."""
    vectors = np.random.default_rng(0).normal(size=(10, 7)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    scores = np.repeat(np.array([0.2, 1.0, 0.5, 0.5, 0.0], "float32"), 2)
    return vectors, scores, vectors[::2] @ vectors[1::2].T


def test_cosine(pairs):
    vectors, scores, cosines = pairs
    expected = np.square(np.diag(cosines) - scores[::2]).mean()
    assert float(CosineLoss()(scores[:, None], vectors)) == pytest.approx(expected, rel=1e-5)


def test_ranking(pairs):
    vectors, scores, cosines = pairs
    own, wanted = np.diag(cosines), scores[::2]
    terms = [np.exp(7 * (own[j] - own[i])) for i in range(5) for j in range(5) if wanted[i] > wanted[j]]
    assert len(terms) == 9  # of ten pairs of pairs one has equal scores
    assert float(RankingLoss(7.0)(scores, vectors)) == pytest.approx(np.log1p(sum(terms)), rel=1e-5)


def test_contrastive_looks_both_ways(pairs):
    vectors, scores, cosines = pairs

    def entropy(table):
        return np.log(np.exp(table).sum(-1)) - np.diag(table)

    there, back = entropy(9 * cosines), entropy(9 * cosines.T)
    assert abs(there.mean() - back.mean()) > 0.01
    expected = (there + back).mean() / 2
    texts = np.arange(len(vectors))
    assert float(ContrastiveLoss(9.0)(texts, vectors)) == pytest.approx(expected, rel=1e-5)


def test_equal_texts_are_no_negatives(pairs):
    vectors, _, _ = pairs
    loss = ContrastiveLoss(9.0)
    twice = np.concatenate([vectors[:2], vectors[:2]])
    assert float(loss(np.array([0, 1, 0, 1]), twice)) == pytest.approx(0, abs=1e-5)
    assert float(loss(np.arange(4), twice)) == pytest.approx(np.log(2), rel=1e-5)  # a pair against itself
    # another right answer to the same question, and a question that is another's answer
    assert float(loss(np.array([0, 1, 0, 2]), vectors[:4])) == pytest.approx(0, abs=1e-5)
    assert float(loss(np.array([0, 1, 2, 0]), vectors[:4])) == pytest.approx(0, abs=1e-5)


def test_correlation_is_that_of_all_batches():
    random = np.random.default_rng(1)
    wanted = random.normal(size=(23, 1))
    found = wanted * 0.5 + random.normal(size=(23, 1)) + 40
    weights = random.integers(0, 3, 23)
    metric = Pearson()
    for part in (slice(0, 4), slice(4, 23)):
        metric.update_state(wanted[part], found[part])
    assert float(metric.result()) == pytest.approx(np.corrcoef(wanted[:, 0], found[:, 0])[0, 1], abs=1e-6)
    metric.reset_state()
    assert float(metric.result()) == 0
    metric.update_state(wanted, found, weights)
    repeated = [np.repeat(values[:, 0], weights) for values in (wanted, found)]
    assert float(metric.result()) == pytest.approx(np.corrcoef(*repeated)[0, 1], abs=1e-6)
