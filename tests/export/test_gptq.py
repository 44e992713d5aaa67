from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import keras_plm as plm
from keras_plm import export
from keras_plm.compression.activation_capture import text_rows
from keras_plm.export.tflite.gptq import rounded_for, rounded_kernel
from keras_plm.export.tflite.int4_rounding import four_bits, scales
from keras_plm.export.tflite.schemes import Scheme
from keras_plm.models import copy_model, weight_arrays
from keras_plm.text import read_rows

from .conftest import LENGTH, TEXTS


def correlated(rng, rows, width):
    """Inputs that have much in common, as those of a layer do."""
    return rng.normal(size=(rows, 7)) @ rng.normal(size=(7, width)) + 0.3 * rng.normal(size=(rows, width))


@pytest.mark.parametrize("group", [31, 62])
def test_levels_and_less_error_than_plain_rounding(group):
    rng = np.random.default_rng(0)
    inputs, kernel = correlated(rng, 1_009, 62), rng.normal(size=(62, 13)).astype("float32")
    kernel[5:9], kernel[31:, 3] = 0, 0
    rounded = rounded_kernel(kernel, inputs.T @ inputs, group)
    steps = np.abs(rounded.reshape(-1, group, 13)).max(1, keepdims=True) / 7
    levels = rounded.reshape(-1, group, 13) / np.where(steps == 0, 1, steps)
    assert (
        np.abs(levels - np.round(levels)).max() < 1e-5
    )  # the largest weight is seven steps, all others are whole ones
    assert set(np.unique(np.round(levels))) == set(range(-7, 8))
    assert (rounded[kernel == 0] == 0).all()
    step = scales(kernel, np.ones(62), group)
    plain = np.clip(np.round(kernel / step), -7, 7) * step
    errors = [np.square(inputs @ (values - kernel)).mean() for values in (rounded, plain)]
    assert errors[0] < 0.3 * errors[1]


def test_it_is_what_the_paper_has():
    """Row by row with the inverse itself, from which each row that is done is removed (§3, equation 3)."""
    rng = np.random.default_rng(1)
    inputs, kernel = correlated(rng, 211, 97), rng.normal(size=(97, 11)).astype("float32")
    products = inputs.T @ inputs
    importance = np.diag(products)
    steps, left = scales(kernel, importance, 97), kernel.astype("float64")
    inverse = np.linalg.inv(products + 0.01 * importance.mean() * np.eye(97))
    wanted, largest = np.zeros_like(left), np.abs(kernel).argmax(0)
    for i in np.argsort(-importance):
        levels = np.clip(np.round(left[i] / steps[i]), -7, 7)
        wanted[i] = np.where(largest == i, 7 * np.sign(kernel[i]), levels) * steps[i]
        left -= np.outer(inverse[i], (left[i] - wanted[i]) / inverse[i, i])
        inverse -= np.outer(inverse[:, i], inverse[i]) / inverse[i, i]
        inverse[i, i] = 1  # it is not looked at again
    found = rounded_kernel(kernel, products, 97)
    # a value halfway between two levels may fall to either side
    assert (np.abs(found - wanted) < 1e-5).mean() > 0.999
    np.testing.assert_allclose(rounded_kernel(kernel, np.eye(97), 97), four_bits(kernel, "x/kernel"), atol=1e-6)


@pytest.mark.parametrize("base", ["int4", pytest.param("int4_block32", marks=pytest.mark.slow)])
def test_the_file_has_these_weights_and_answers_better(reviews, review_files, tmp_path, base):
    texts = read_rows(review_files["train"], ["text"])["text"][:50]
    # vectors: the probabilities of the classifier are near 0 and 1, where a rounding does not show
    model = plm.Embedder(reviews.config, reviews.tokenizer, encoder=reviews.encoder)
    scheme = Scheme.parse(f"{base}+int8:embedding,block_1")
    errors = {}
    for name, calibration in (("without", None), ("with", texts)):
        path = export.to_tflite(model, tmp_path / name, str(scheme), LENGTH, calibration)
        errors[name] = export.compare(model, path, read_rows(review_files["test"], ["text"])["text"]).mean_error
    assert errors["with"] < 0.8 * errors["without"], errors
    rounded = weight_arrays(rounded_for(copy_model(model), text_rows(model, texts, LENGTH), scheme))
    assert (rounded["block_1/feed_forward/expand/kernel"] == reviews.encoder.blocks[1].feed_forward.expand.kernel).all()
    if base == "int4_block32":  # its scales are not where those of whole outputs are
        return
    runtime = Interpreter(str(path))
    found = [
        runtime.get_tensor(tensor["index"]) * tensor["quantization_parameters"]["scales"][:, None]
        for tensor in runtime.get_tensor_details()
        if len(tensor["shape"]) == 2 and len(tensor["quantization_parameters"]["scales"]) == tensor["shape"][0]
    ]
    for name in ("expand", "contract"):
        kernel = rounded[f"block_0/feed_forward/{name}/kernel"].T
        near = min(np.abs(values - kernel).max() for values in found if values.shape == kernel.shape)
        assert near < 1e-6, (name, near)


@pytest.mark.parametrize(
    "changes,narrow",
    [({"embedding_dim": 20, "shared_layers": True}, "projection/kernel"), ({"embedding_rank": 10}, "widen")],
)
def test_every_kernel_is_rounded_and_nothing_else(config, tokenizer, changes, narrow):
    model = plm.Tagger(replace(config, hidden_dim=36, **changes), ["O", "B-X"], tokenizer)
    rows = text_rows(model, TEXTS * 9, LENGTH)
    assert rows.lengths.sum() > 2 * model.config.intermediate_dim
    before, after = weight_arrays(model), weight_arrays(rounded_for(model, rows, Scheme.parse("int4")))
    changed = {path for path in before if (before[path] != after[path]).any()}
    assert changed == {path for path in before if path.endswith(("kernel", "widen"))}
    assert f"embedding/{narrow}" in changed
    assert not [layer for layer in model._flatten_layers() if "showing" in repr(layer.call)]  # nobody watches any more
