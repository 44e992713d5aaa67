"""The chain beside the sum over all sequences, one by one."""

import itertools

import keras
import numpy as np
import pytest

from keras_plm.layers import ConditionalRandomField
from keras_plm.layers.viterbi import best_path, best_paths, forbid
from keras_plm.training import ChainLoss


@pytest.fixture
def field():
    random = np.random.default_rng(0)
    layer = ConditionalRandomField(4)
    layer.build((3, 7, 4))
    for weight in layer.weights:
        weight.assign(random.normal(size=weight.shape))
    return layer


def sequences(field, logits):
    """The score of each sequence."""
    begin, follow, end = field.transitions()
    scores = {}
    for path in itertools.product(range(4), repeat=len(logits)):
        pairs = sum(follow[a, b] for a, b in zip(path, path[1:], strict=False))
        chosen = sum(row[tag] for row, tag in zip(logits, path, strict=True))
        scores[path] = begin[path[0]] + chosen + pairs + end[path[-1]]
    return scores


def test_likelihood_and_best_path(field):
    random = np.random.default_rng(1)
    logits = random.normal(size=(4, 7, 4)).astype("float32")
    labels = random.integers(0, 4, (4, 7))
    mask = (random.random((4, 7)) > 0.3).astype("int32")
    mask[2] = [0, 0, 0, 1, 0, 0, 0]
    mask[3] = 0
    found = np.asarray(field.negative_log_likelihood(labels, logits, mask))
    for row in range(3):
        places = np.flatnonzero(mask[row])
        scores = sequences(field, logits[row, places])
        total = np.log(sum(np.exp(list(scores.values()))))
        assert found[row] == pytest.approx(total - scores[tuple(labels[row, places].tolist())], abs=1e-4)
        left = np.zeros((1, 7, 4), "float32")
        left[0, : len(places)] = logits[row, places]
        path = np.asarray(best_path(left, np.arange(7)[None] < len(places), *field.transitions()))[0, : len(places)]
        assert tuple(path.tolist()) == max(scores, key=scores.get)
    assert found[3] == 0


def test_forbidden_steps_are_never_taken():
    random = np.random.default_rng(2)
    logits = random.normal(size=(11, 13, 3)).astype("float32")
    begin, follow, end = forbid([1, 0, 1]), forbid([[1, 0, 1], [1, 1, 0], [0, 1, 1]]), forbid([0, 1, 1])
    paths = np.asarray(best_path(logits, np.ones((11, 13), bool), begin, follow, end))
    assert (paths[:, 0] != 1).all() and (paths[:, -1] != 0).all()
    assert all(follow[a, b] == 0 for path in paths for a, b in zip(path, path[1:], strict=False))


def test_both_searches_find_the_same_path():
    """In a graph and outside of one."""
    random = np.random.default_rng(5)
    logits = random.normal(size=(11, 13, 4)).astype("float32")
    lengths = random.integers(1, 14, 11)
    steps = random.normal(size=4), random.normal(size=(4, 4)), random.normal(size=4)
    inside = np.arange(13) < lengths[:, None]
    found = best_paths(logits, lengths, *steps)
    wanted = np.asarray(best_path(logits, inside, *(step.astype("float32") for step in steps)))
    assert (found[inside] == wanted[inside]).all()


def test_loss_is_the_mean_over_words(field):
    """Scaled weights, as `TextRows` gives them: the loss of a batch is the sum over its chains over its words."""
    random = np.random.default_rng(3)
    logits, labels = random.normal(size=(3, 7, 4)).astype("float32"), random.integers(0, 4, (3, 7))
    mask = (random.random((3, 7)) > 0.4).astype("float32")
    weights = mask * mask.size / mask.sum()
    expected = np.asarray(field.negative_log_likelihood(labels, logits, mask)).sum() / mask.sum()
    assert float(ChainLoss(field)(labels, logits, weights)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_knows_of_replicas(field, monkeypatch):
    """Keras scales what each replica adds to the loss; ours must go through the same place."""
    loss, labels, logits = ChainLoss(field), np.zeros((3, 7), "int32"), np.zeros((3, 7, 4), "float32")
    whole = float(loss(labels, logits))
    monkeypatch.setattr("keras.src.losses.loss.scale_loss_for_distribution", lambda value: value / 2)
    assert float(loss(labels, logits)) == pytest.approx(whole / 2)


def test_every_weight_learns(field):
    random = np.random.default_rng(4)
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, field(inputs))
    model.compile("sgd", ChainLoss(field), jit_compile=False)
    before = [np.asarray(w).copy() for w in field.weights]
    x, y = random.normal(size=(5, 7, 4)).astype("float32"), random.integers(0, 4, (5, 7))
    model.fit(x, y, sample_weight=np.ones((5, 7)), batch_size=5, verbose=0)
    assert all(np.abs(np.asarray(w) - b).max() > 1e-4 for w, b in zip(field.weights, before, strict=True))
    assert field.get_config()["num_classes"] == 4
