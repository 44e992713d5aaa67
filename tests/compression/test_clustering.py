import keras
import numpy as np
import pytest

import keras_plm as plm
from conftest import token_batch
from keras_plm.compression import Clusterer, cluster, prune
from keras_plm.compression.clustering import clustered_kernel
from keras_plm.compression.error_compensation import fitted_values
from keras_plm.compression.pruning import is_prunable, measured_sparsity
from keras_plm.models import weight_arrays
from tests.compression.test_pruning import TEXTS, correlated


def kernels(model):
    return {path: kernel for path, kernel in weight_arrays(model).items() if is_prunable(path)}


def test_each_weight_becomes_the_nearest_of_few_values(config):
    model = plm.Encoder(config)
    before, after = kernels(model), kernels(cluster(model, 7))
    for path, kernel in after.items():
        values = np.unique(kernel)
        assert len(values) == 7
        nearest = values[np.abs(before[path][..., None] - values).argmin(-1)]
        assert (kernel == nearest).mean() > 0.99  # the last means moved a border by a little
        # nearer than values at even distances
        even = np.linspace(before[path].min(), before[path].max(), 7)
        plain = even[np.abs(before[path][..., None] - even).argmin(-1)]
        assert np.square(kernel - before[path]).mean() < np.square(plain - before[path]).mean()


def test_zeros_of_pruning_stay(config):
    model = prune(plm.Encoder(config), "0.7")
    small = cluster(model, 5)
    for path, kernel in kernels(small).items():
        np.testing.assert_array_equal(kernel == 0, kernels(model)[path] == 0)
        assert len(np.unique(kernel)) == 5


@pytest.mark.slow
def test_training_moves_the_values_together(config):
    model = prune(plm.Classifier(config, None), "0.5")
    clusterer = Clusterer(model, 4)
    before = kernels(model)
    model.compile("adam", "mse")
    targets = np.random.default_rng(1).normal(size=(3, 1)).astype("float32")
    history = model.fit(token_batch(config), targets, epochs=9, callbacks=[clusterer], verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert measured_sparsity(model) == measured_sparsity(prune(plm.Classifier(config, None), "0.5"))
    for path, kernel in kernels(model).items():
        assert len(np.unique(kernel)) == 4 and not np.array_equal(kernel, before[path])
        for value in np.unique(before[path]):
            assert len(np.unique(kernel[before[path] == value])) == 1


def test_what_is_clustered_already_stays(config):
    model = cluster(prune(plm.Encoder(config), "0.5"), 6)
    for number in (6, 9):
        for path, kernel in kernels(cluster(model, number)).items():
            np.testing.assert_allclose(kernel, kernels(model)[path], rtol=1e-5)


@pytest.mark.parametrize("zeros", [False, True])
def test_each_weight_makes_up_for_those_before(zeros):
    x, kernel = correlated(997, 97), np.random.default_rng(1).normal(size=(97, 53)).astype("float32")
    if zeros:
        kernel[np.abs(kernel) < 0.7] = 0
    plain, found = (clustered_kernel(kernel, products, 5) for products in (np.eye(97), x.T @ x))
    for one in (plain, found):
        assert len(np.unique(one)) == 5 and np.array_equal(one == 0, kernel == 0) and one.dtype == np.float32
    errors = [np.square(x @ (one - kernel)).sum() for one in (found, plain)]
    assert errors[0] < 0.85 * errors[1], errors
    fitted = [fitted_values(kernel, one, x.T @ x) for one in (found, plain)]
    np.testing.assert_allclose(fitted[0], found, rtol=1e-4)
    assert errors[0] < np.square(x @ (fitted[1] - kernel)).sum() < errors[1]  # other weights in the groups, too


def test_the_values_are_those_of_the_inputs_that_count():
    """Some inputs are hundreds of times the others, and their weights smaller than most."""
    random = np.random.default_rng(3)
    kernel, squares = random.normal(size=(97, 53)).astype("float32"), np.exp(3 * random.normal(size=97))
    kernel[squares > np.quantile(squares, 0.9)] *= 0.3
    plain = fitted_values(kernel, clustered_kernel(kernel, np.eye(97), 9), np.diag(squares))
    found = clustered_kernel(kernel, np.diag(squares), 9)
    errors = [(squares[:, None] * (one - kernel) ** 2).sum() for one in (found, plain)]
    assert errors[0] < 0.7 * errors[1], errors


def test_inputs_that_were_always_zero_do_no_harm():
    kernel = np.random.default_rng(1).normal(size=(97, 53)).astype("float32")
    assert len(np.unique(clustered_kernel(kernel, np.zeros((97, 97)), 5))) == 5


def test_a_kernel_that_was_pruned_whole_stays():
    zeros = np.zeros((7, 5), "float32")
    np.testing.assert_array_equal(clustered_kernel(zeros, np.eye(7), 3), zeros)


def test_a_training_goes_on_with_what_texts_gave(config, tokenizer):
    model = prune(plm.Encoder(config, tokenizer), "2:4")
    small = cluster(model, 6, [*TEXTS, *reversed(TEXTS)] * 5)
    before, again = kernels(small), kernels(cluster(small, 6))
    for path, kernel in before.items():
        assert len(np.unique(kernel)) == 6 and np.array_equal(kernel == 0, kernels(model)[path] == 0)
        np.testing.assert_allclose(again[path], kernel, rtol=1e-5)
    plain = kernels(cluster(model, 6))
    assert any((plain[path] != kernel).any() for path, kernel in before.items())
    with pytest.raises(ValueError, match="texts has no texts"):
        cluster(model, 6, [])
    with pytest.raises(ValueError, match="num_clusters=1"):
        cluster(model, 1, TEXTS)


def test_the_mean_of_equal_values_is_that_value():
    model = cluster(plm.Encoder(plm.TINY), 2)  # 30,000 weights a cluster
    before = kernels(model)
    Clusterer(model, 2)
    for path, kernel in kernels(model).items():
        np.testing.assert_array_equal(kernel, before[path])


def test_errors(config):
    with pytest.raises(ValueError, match="num_clusters=1; it must be at least 2"):
        cluster(plm.Encoder(config), 1)
    with pytest.raises(ValueError, match="merge_lora first"):
        cluster(plm.Encoder(config, adaptation=plm.Adaptation(lora_rank=3)), 5)
    assert isinstance(Clusterer(plm.Encoder(config), 2), keras.callbacks.Callback)
