from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.compression.activation_capture import text_rows
from keras_plm.compression.error_compensation import Inputs, changed_kernel, fitted_kernel, input_products
from keras_plm.export.signature import example_rows
from keras_plm.models import encoder_states, weight_arrays
from tests.compression.test_pruning import correlated
from tests.export.conftest import LENGTH, TEXTS


def test_inputs_are_those_of_every_pass_without_padding(config, tokenizer):
    config = replace(config, shared_layers=True)
    encoder = plm.Encoder(config, tokenizer, plm.Adaptation(adapter_dim=5))
    model = plm.Tagger(config, ["O", "B-X"], tokenizer, encoder)
    rows = example_rows(model, TEXTS * 3, LENGTH)
    batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    mask = batch["padding_mask"].astype(bool)
    assert not mask.all()
    kernels = [path for path in weight_arrays(model) if path.endswith("kernel")]
    products = input_products(model, text_rows(model, TEXTS * 3, LENGTH), kernels)
    hidden = [model.encoder.embedding(batch["token_ids"], batch["segment_ids"])]
    hidden = [np.asarray(h)[mask] for h in hidden + encoder_states(model.encoder, batch)["hidden"]]
    wanted = sum(h.T @ h for h in hidden[:-1])  # one block, twice
    for name in ("query", "key", "value"):
        np.testing.assert_allclose(products[f"block_0/attention/{name}/kernel"], wanted, rtol=1e-3, atol=1e-3)
    plain = {path for path, values in products.items() if (values == np.eye(len(values))).all()}
    (head,) = {path for path in set(products) - plain if not path.startswith("block_")}
    np.testing.assert_allclose(products[head], hidden[-1].T @ hidden[-1], rtol=1e-3, atol=1e-3)
    assert set(products) == set(kernels) and plain == {path for path in kernels if "pooler" in path}
    few = input_products(model, text_rows(model, TEXTS[:2], LENGTH), kernels)  # it would learn them by heart
    assert plain < {path for path, values in few.items() if (values == np.eye(len(values))).all()}


def test_a_pooled_vector_is_not_taken_for_tokens(config, tokenizer):
    """Where there are as many tokens as the model is wide."""
    model = plm.Classifier(config, ["a", "b"], tokenizer)
    length = config.hidden_dim
    rows = text_rows(model, ["the cat sees the dog and the otter " * 9] * 7, length)
    assert (rows.lengths == length).all()
    products = input_products(model, rows, [path for path in weight_arrays(model) if path.endswith("kernel")])
    plain = {path for path, values in products.items() if (values == np.eye(len(values))).all()}
    assert plain == {path for path in products if not path.startswith("block_")}


@pytest.mark.parametrize("place", [0, 5, -1])
@pytest.mark.parametrize("size", [64, 67, 131])
def test_errors_are_made_up_for_by_the_rows_after(size, place):
    """One row is gone: the rows after it in the order become those of least squares, the others stay."""
    x, kernel = correlated(997, size), np.random.default_rng(1).normal(size=(size, 7)).astype("float32")
    order, place = np.random.default_rng(2).permutation(size), place % size
    found = changed_kernel(kernel, x.T @ x, order, lambda i, left, _: 0 * left[i] if i == place else left[i])
    gone, after = order[place], order[place + 1 :]
    np.testing.assert_array_equal(found[order[:place]], kernel[order[:place]])
    assert not found[gone].any()
    damped = x.T @ x + 0.01 * np.diag(x.T @ x).mean() * np.eye(size)
    made_up = np.linalg.solve(damped[np.ix_(after, after)], damped[np.ix_(after, [gone])] @ kernel[[gone]])
    np.testing.assert_allclose(found[after], kernel[after] + made_up, atol=1e-4)


def test_what_is_left_is_that_of_least_squares():
    x, kernel = correlated(997, 97), np.random.default_rng(1).normal(size=(97, 53)).astype("float32")
    zeros = np.random.default_rng(2).random(kernel.shape) < 0.5
    zeros[:, 3], zeros[:, 4] = True, False  # nothing is left, and everything
    found = fitted_kernel(kernel, np.where(zeros, 0, kernel), x.T @ x)
    damped = x.T @ x + 0.01 * np.diag(x.T @ x).mean() * np.eye(97)
    assert not found[zeros].any() and np.isfinite(found).all()
    for output in range(53):
        kept = ~zeros[:, output]
        wanted = np.linalg.solve(damped[np.ix_(kept, kept)], (damped @ kernel[:, output])[kept])
        np.testing.assert_allclose(found[kept, output], wanted, atol=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_nearest_kernel_is_that_of_least_squares(share):
    """Its zeros stay, and what it gives for the inputs of today is nearer to what was given."""
    x, kernel = correlated(997, 97).astype("float32"), np.random.default_rng(1).normal(size=(97, 53)).astype("float32")
    kernel[np.random.default_rng(2).random(kernel.shape) < share] = 0
    was = (x + 0.1 * x @ np.random.default_rng(3).normal(size=(97, 97)).astype("float32")) @ kernel
    known = Inputs(kernel.shape)
    for part in (slice(0, 500), slice(500, None)):
        known.add(x[part], was[part] - x[part] @ kernel)
    np.testing.assert_allclose(known.products, x.T @ x, rtol=1e-4, atol=0.1)
    found = known.nearest(kernel)
    assert found.dtype == np.float32 and np.array_equal(found == 0, kernel == 0)
    penalty = np.sqrt(0.01 * np.diag(x.T @ x).mean())
    for output in range(53):
        kept = kernel[:, output] != 0
        rows = np.concatenate([x, penalty * np.eye(97)])[:, kept]
        wanted = np.linalg.lstsq(rows, np.concatenate([was[:, output], penalty * kernel[:, output]]))[0]
        np.testing.assert_allclose(found[kept, output], wanted, atol=2e-3)
    assert np.square(x @ found - was).sum() < 0.7 * np.square(x @ kernel - was).sum()


def test_of_few_inputs_nothing_is_learned():
    x, kernel = correlated(193, 97), np.ones((97, 5), "float32")
    known = Inputs(kernel.shape)
    known.add(x, np.ones((193, 5)))
    np.testing.assert_array_equal(known.nearest(kernel), kernel)
    np.testing.assert_array_equal(known.products, np.eye(97))
    known.add(x[:1], np.ones((1, 5)))
    assert (known.nearest(kernel) != kernel).any() and (known.products != np.eye(97)).any()
