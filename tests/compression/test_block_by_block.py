from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.compression.activation_capture import text_rows
from keras_plm.compression.error_compensation import fitted_kernel, input_products
from keras_plm.compression.layerwise import changed_model
from keras_plm.compression.pruning import is_prunable
from keras_plm.models import copy_model, named_weights, weight_arrays
from tests.compression.test_pruning import drift, kernels
from tests.export.conftest import TEXTS

MANY = TEXTS * 12
NAMES = [
    "attention/query", "attention/key", "attention/value", "attention/output", "feed_forward/expand",
    "feed_forward/contract",
]  # fmt: skip


def paths(model):
    return [path for path in named_weights(model) if is_prunable(path)]


@pytest.fixture(params=["post-norm", "pre-norm", "shared", "adapters", "roundings"])
def model(request, config, tokenizer):
    changes = {
        "pre-norm": {"normalize_first": True},
        "shared": {"shared_layers": True},
    }
    added = {
        "adapters": plm.Adaptation(adapter_dim=5),
        "roundings": plm.Adaptation(quantization_aware=True),
    }
    config = replace(config, **changes.get(request.param, {}))
    return plm.Tagger(config, ["O", "B-X"], tokenizer, plm.Encoder(config, tokenizer, added.get(request.param)))


def test_without_a_change_nothing_changes(model):
    rows, seen = text_rows(model, MANY, model.config.max_sequence_length), []
    same = changed_model(model, paths(model), rows, lambda kernel, products: seen.append(products) or kernel)
    for path, weight in weight_arrays(same).items():
        np.testing.assert_allclose(weight, weight_arrays(model)[path], atol=1e-6, err_msg=path)
    wanted = input_products(model, rows, paths(model))
    order = [f"block_{i}/{name}/kernel" for i in range(len(seen) // 6) for name in NAMES]
    assert sorted(order) == sorted(paths(model))
    for path, products in zip(order, seen, strict=True):
        np.testing.assert_allclose(products, wanted[path], rtol=1e-3, atol=1e-2, err_msg=path)


def test_each_kernel_makes_up_for_those_before(model):
    """Two thirds of the weights go: the states stay nearer than where each kernel compensates for itself alone."""
    rows = text_rows(model, MANY, model.config.max_sequence_length)

    def thinned(kernel, products):
        return fitted_kernel(kernel, np.where(np.arange(kernel.size).reshape(kernel.shape) % 3, 0, kernel), products)

    found, alone = changed_model(model, paths(model), rows, thinned), copy_model(model)
    products = input_products(model, rows, paths(model))
    for path in paths(model):
        named_weights(alone)[path].assign(thinned(kernels(model)[path], products[path]))
    drifts = [drift(model, one, MANY) for one in (found, alone)]
    assert drifts[0] < 0.95 * drifts[1], drifts
    for path, kernel in kernels(found).items():
        np.testing.assert_array_equal(kernel == 0, kernels(alone)[path] == 0, err_msg=path)
    for path, weight in weight_arrays(found).items():
        if path not in kernels(model):
            np.testing.assert_array_equal(weight, weight_arrays(model)[path], err_msg=path)
