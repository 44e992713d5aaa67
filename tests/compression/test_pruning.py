from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from conftest import token_batch
from keras_plm.compression import prune
from keras_plm.compression.pruning import Pruner, is_prunable, measured_sparsity
from keras_plm.models import weight_arrays


def kernels(model):
    return {path: kernel for path, kernel in weight_arrays(model).items() if is_prunable(path)}


def test_the_smallest_weights_go(config):
    model = plm.Encoder(config)
    pruned = prune(model, "0.7")
    before, after = kernels(model), kernels(pruned)
    assert len(after) == 6 * config.num_layers
    for path, kernel in after.items():
        zeros = kernel == 0
        assert abs(zeros.mean() - 0.7) < 1 / kernel.shape[0]
        assert np.abs(before[path][zeros]).max() <= np.abs(before[path][~zeros]).min()
        np.testing.assert_array_equal(kernel[~zeros], before[path][~zeros])
    for path, weight in weight_arrays(pruned).items():
        if path not in after:
            np.testing.assert_array_equal(weight, weight_arrays(model)[path], err_msg=path)
    assert measured_sparsity(model) == 0


def test_two_of_each_four_inputs_of_an_output_go(config):
    model = plm.Encoder(config)
    before = kernels(model)
    for path, kernel in kernels(prune(model, "2:4")).items():
        whole = kernel.shape[0] // 4 * 4  # 33 and 53 inputs: the last group is not full
        groups, old = (k[:whole].T.reshape(-1, 4) for k in (kernel, before[path]))
        assert ((groups == 0).sum(1) == 2).all()
        kept = np.sort(np.abs(old), 1)[:, 2:]
        np.testing.assert_array_equal(np.sort(np.abs(groups), 1)[:, 2:], kept)


class Recorded(keras.callbacks.Callback):
    """Where the zeros are after each batch."""

    def on_train_begin(self, logs=None):
        self.zeros = []

    def on_train_batch_end(self, batch, logs=None):
        self.zeros.append({path: kernel == 0 for path, kernel in kernels(self.model).items()})


def fit(model, sparsity, steps, **options):
    """Train on noise; the zeros step by step."""
    model.compile(keras.optimizers.Adam(**options), "mse")
    targets = np.random.default_rng(1).normal(size=(3, 1)).astype("float32")
    pruner, recorded = Pruner(model, sparsity, steps), Recorded()
    model.fit(token_batch(model.config), targets, epochs=steps, callbacks=[pruner, recorded], verbose=0)
    return pruner, recorded.zeros


def share(zeros):
    return sum(zero.sum() for zero in zeros.values()) / sum(zero.size for zero in zeros.values())


def test_zeros_grow_and_then_stay(config):
    model = plm.Classifier(config, None)
    before = kernels(model)
    _, zeros = fit(model, "0.8", 20)
    shares = [share(one) for one in zeros]
    assert shares[0] < 0.3 < shares[5] < shares[13] and shares[13] == pytest.approx(0.8, abs=0.01)
    for path, kernel in kernels(model).items():
        np.testing.assert_array_equal(zeros[13][path], zeros[-1][path])
        assert (kernel[~zeros[-1][path]] != before[path][~zeros[-1][path]]).any()  # the others learn


@pytest.mark.slow
def test_two_of_four_are_chosen_once(config):
    model = plm.Classifier(config, None)
    _, zeros = fit(model, "2:4", 5)
    for path in zeros[0]:
        np.testing.assert_array_equal(zeros[0][path], zeros[-1][path])
    # 33 and 53 inputs: of a last group of one nothing goes
    assert share(zeros[-1]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_zeros_survive_averaged_weights(config):
    model = plm.Classifier(config, None)
    pruner, _ = fit(model, "0.6", 6, use_ema=True, ema_momentum=0.9)
    model.optimizer.finalize_variable_values(model.trainable_weights)
    assert measured_sparsity(model) < 0.55  # the average remembers
    pruner.apply()
    assert measured_sparsity(model) == pytest.approx(0.6, abs=0.012)


@pytest.mark.parametrize("sparsity", ["0", "1.0", "half", "4:2", "-0.5", ""])
def test_errors(config, sparsity):
    with pytest.raises(ValueError, match="merge_lora first"):
        prune(plm.Encoder(replace(config, lora_rank=3)), "0.5")
    with pytest.raises(ValueError, match='a fraction such as "0.8", or "2:4"'):
        prune(plm.Encoder(config), sparsity)
