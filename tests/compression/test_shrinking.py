from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from conftest import token_batch
from keras_plm.compression import shrink
from keras_plm.models import named_weights


@pytest.fixture
def large(config):
    """Heads of 8, and weights that tell one part from another."""
    encoder = plm.Encoder(replace(config, num_layers=5, num_heads=5, hidden_dim=40, intermediate_dim=53))
    random = np.random.default_rng(3)
    for variable in encoder.trainable_variables:
        variable.assign(random.normal(0, 0.2, variable.shape) + (variable.path.endswith("gamma")))
    return encoder


def silence(encoder, rows):
    """Weights of these (path end, axis, indices) become 0."""
    for path, variable in named_weights(encoder).items():
        for end, axis, indices in rows:
            if path.endswith(end):
                value = variable.numpy()
                np.moveaxis(value, axis, 0)[indices] = 0
                variable.assign(value)


def test_of_the_same_sizes_it_is_the_same(large, config):
    batch = token_batch(config)
    ours, theirs = shrink(large, large.config)(batch), large(batch)
    np.testing.assert_allclose(ours["sequence_output"], theirs["sequence_output"], atol=1e-6)


def test_neurons_that_do_nothing_go_first(large, config):
    silence(large, [("contract/kernel", 0, [0, 7, 11, 50, 52])])
    batch = token_batch(config)
    ours, theirs = shrink(large, replace(large.config, intermediate_dim=48))(batch), large(batch)
    np.testing.assert_allclose(ours["sequence_output"], theirs["sequence_output"], atol=1e-5)


def test_features_and_heads_that_weigh_least_go_first(large):
    features, head = [0, 1, 5, 13, 14, 21, 33, 39], np.arange(16, 24)
    readers = ("query/kernel", "key/kernel", "value/kernel", "expand/kernel")
    silence(large, [(end, 0, features) for end in readers] + [("value/kernel", 1, head)])
    small = named_weights(shrink(large, replace(large.config, hidden_dim=32, num_heads=4, num_layers=3)))
    kept, there = np.setdiff1d(np.arange(40), features), named_weights(large)
    columns = np.setdiff1d(np.arange(40), head)
    for path, variable in small.items():
        ours, wanted = variable.numpy(), there[path.replace("block_1", "block_2")].numpy()
        if path.startswith("block_1") and path.endswith(readers[:3]):
            np.testing.assert_array_equal(ours, wanted[np.ix_(kept, columns)], err_msg=path)
        elif path.startswith("block_1/attention/output/kernel"):
            np.testing.assert_array_equal(ours, wanted[np.ix_(columns, kept)])
        elif path.startswith("embedding"):
            np.testing.assert_array_equal(ours, wanted[..., kept], err_msg=path)


@pytest.mark.parametrize("kind", ["Classifier", "Tagger", "QuestionAnswerer", "Embedder", "Pretrainer"])
def test_a_task_model_keeps_its_task(large, config, tokenizer, kind):
    settings = {"Classifier": {"labels": ["a", "b"]}, "Tagger": {"labels": ["O", "B-a"], "crf": True}}
    model = getattr(plm, kind)(large.config, **settings.get(kind, {}), tokenizer=tokenizer, encoder=large)
    small = shrink(model, replace(large.config, max_sequence_length=17, num_layers=1, hidden_dim=16, num_heads=2))
    assert type(small) is type(model) and small.tokenizer is tokenizer
    assert small.encoder.embedding.position_matrix.shape == (17, 16)
    silent = replace(large.config, max_sequence_length=17)
    batch = token_batch(config)
    if kind == "Pretrainer":
        batch["mask_positions"] = np.array([[1, 2], [3, 7], [0, 5]], "int32")
    for ours, theirs in zip(*(keras.tree.flatten(one(batch)) for one in (shrink(model, silent), model)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    "change,words",
    [
        ({"num_layers": 6}, "num_layers=6"),
        ({"intermediate_dim": 54}, "intermediate_dim=54"),
        ({"hidden_dim": 32, "num_heads": 2}, "each head must keep its width: 8"),
        ({"normalize_first": True}, "more than sizes"),
    ],
)
def test_errors(large, change, words):
    with pytest.raises(ValueError, match=words):
        shrink(large, replace(large.config, **change))


def test_what_was_added_is_not_shrunk(large):
    adapted = plm.Encoder(large.config, adaptation=plm.Adaptation(lora_rank=2))
    with pytest.raises(ValueError, match="LoRA updates"):
        shrink(adapted, large.config)
