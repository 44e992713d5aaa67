"""Which weights a fine-tuning trains, at which rates, from which step on."""

import re
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import Classify
from keras_plm.recipes.starting_model import fine_tuned_adaptation, starting_model
from keras_plm.training import AdamW, LinearWarmupDecay, freeze, layer_rates, parse_trainable, unfreezing_steps


@pytest.mark.parametrize(
    ("trainable", "inside"),
    [
        pytest.param("head", "nothing", marks=pytest.mark.slow),
        pytest.param("last:1", "block_0/|final_norm/", marks=pytest.mark.slow),
        ("lora:2", ".*/lora_[ab]$"),
        pytest.param("adapter:3", ".*(adapter.*|/gamma|/beta)$", marks=pytest.mark.slow),
        pytest.param("all", "", marks=pytest.mark.slow),
    ],
)
def test_only_what_is_named_is_trained(trainable, inside, settings, review_files, tmp_path):
    """`inside`: which weights of the encoder; the head always is."""
    recipe = Classify(
        **settings, train=review_files["train"], trainable=trainable, epochs=2, save_to=str(tmp_path / "m")
    )
    with recipe.session():
        start = starting_model(recipe, recipe.read(recipe.train))
    before = {w.path: np.asarray(w).copy() for w in start.weights}
    model = recipe.run()
    changed = {w.path for w in model.weights if not np.array_equal(w, before[w.path])}
    encoder = {w.path for w in model.encoder.weights if not w.path.startswith("pooler/")}
    wanted = {path for path in before if path not in encoder or re.match(inside, path)}
    assert changed == wanted
    assert freeze(start, trainable) == tuple(sum(before[p].size for p in paths) for paths in (wanted, before))
    if trainable == "lora:2":
        kernels = [w for w in model.encoder.weights if w.path.endswith("kernel") and "block" in w.path]
        assert all(np.array_equal(np.asarray(w), before[w.path]) for w in kernels)
        assert model.adaptation.lora_rank == 2 and model.adaptation.lora_alpha == 4.0
        np.testing.assert_allclose(
            plm.merge_lora(model).predict_logits(["cat"]), model.predict_logits(["cat"]), atol=1e-5
        )
    assert plm.load(tmp_path / "m").predict_labels(["cat"]) == model.predict_labels(["cat"])
    assert "trained weights" in (tmp_path / "m" / "README.md").read_text()


def test_what_cannot_be_trained(config, tokenizer):
    model = plm.Classifier(config, ["a", "b"], tokenizer)
    for trainable, message in [
        ("lora:2", "no layer of the model has such weights"),
        ("adapter:2", "no layer of the model has such weights"),
        ("last:9", "the model has 2 blocks"),
    ]:
        with pytest.raises(ValueError, match=message):
            freeze(model, trainable)
    for wrong in ("some", "lora", "lora:0", "last:-1", "lora:x", "head:1"):
        with pytest.raises(ValueError, match="choose 'all', 'head', 'last:K'"):
            parse_trainable(wrong)


def test_layers_learn_at_their_own_rates(config, tokenizer):
    model = plm.Classifier(config, ["a", "b"], tokenizer)
    rates = layer_rates(model, layer_decay=0.5, head_rate=3.0)
    assert rates["head/dense/kernel"] == 3.0 == rates["pooler/kernel"]
    assert rates["block_1/attention/query/kernel"] == 0.5 and rates["block_0/attention/query/kernel"] == 0.25
    assert rates["embedding/tokens"] == 0.125
    assert layer_rates(model) == {}
    steps = unfreezing_steps(model, 40)
    assert steps["block_1/attention/query/kernel"] == 10 and steps["block_0/attention/query/kernel"] == 20
    assert steps["embedding/tokens"] == 20 and "head/dense/kernel" not in steps
    shared = plm.Classifier(replace(config, shared_layers=True), ["a", "b"], tokenizer)
    for wrong in (lambda: layer_rates(shared, 0.9), lambda: unfreezing_steps(shared, 40)):
        with pytest.raises(ValueError, match="needs blocks with weights of their own"):
            wrong()


@pytest.mark.slow
def test_rates_reach_the_weights(settings, encoder, review_files, tmp_path):
    """With a decay of nearly nothing only the head moves, weight decay included."""
    before = {w.path: np.asarray(w) for w in plm.load(encoder).encoder.weights}
    options = {"layer_decay": 1e-9, "weight_decay": 0.5, "epochs": 1}
    model = Classify(**settings, train=review_files["train"], save_to=str(tmp_path / "m"), **options).run()
    for weight in model.encoder.weights:
        if not weight.path.startswith(("pooler", "final_norm")):
            np.testing.assert_allclose(np.asarray(weight), before[weight.path][: weight.shape[0]], atol=1e-6)


def test_a_weight_begins_to_learn_at_its_step():
    variables = [keras.Variable(np.ones((2, 2), "float32"), name=name) for name in ("early", "late")]
    optimizer = AdamW(0.1, weight_decay=0.5, first_steps={variables[1].path: 2})
    optimizer.build(variables)
    seen = []
    for _ in range(3):
        optimizer.apply([np.ones((2, 2), "float32")] * 2)
        seen.append(float(variables[1][0, 0]))
    assert seen[:2] == [1.0, 1.0] and seen[2] < 1 and float(variables[0][0, 0]) < seen[2]


def test_accumulated_batches_follow_the_schedule():
    """Keras asks a schedule by batches; after a quarter of the training the rate would be 0."""
    variable = keras.Variable(np.ones((2, 2), "float32"))
    optimizer = AdamW(LinearWarmupDecay(0.1, 1, 10), gradient_accumulation_steps=4)
    optimizer.build([variable])
    values = []
    for _ in range(40):
        optimizer.apply([np.ones((2, 2), "float32")])
        values.append(float(variable[0, 0]))
    assert len(set(values)) == 11  # the start, and ten updates
    assert values[35] > values[39]


def test_a_model_without_a_head_has_no_head_to_train(config, tokenizer):
    with pytest.raises(ValueError, match="a Embedder has nothing above its backbone to train"):
        freeze(plm.Embedder(replace(config, has_pooler=False), tokenizer), "head")


def test_adapters_of_another_width_are_not_thrown_away(config, tmp_path):
    recipe = Classify(start_from="x", train="x", save_to=str(tmp_path / "y"), trainable="adapter:3", max_length=24)
    encoder = plm.Encoder(config, adaptation=plm.Adaptation(adapter_dim=5))
    with pytest.raises(ValueError, match="but the model has adapters of size 5"):
        fine_tuned_adaptation(recipe, encoder)
    assert fine_tuned_adaptation(replace(recipe, trainable="all"), encoder).adapter_dim == 5


def test_accumulated_gradients_make_one_step():
    """And an odd batch at the end of an epoch waits for the next one."""
    start, first, second = (np.random.default_rng(i).normal(size=(5, 3)).astype("float32") for i in range(3))
    results = []
    for gradients, accumulate in (([first, second, first], 2), ([(first + second) / 2], None)):
        variable = keras.Variable(start, name="kernel")
        options = {"learning_rate": 0.1, "rates": {variable.path: 0.5}, "global_clipnorm": None}
        optimizer = AdamW(**options, gradient_accumulation_steps=accumulate)
        optimizer.build([variable])
        for gradient in gradients:
            optimizer.apply([gradient])
        results.append(np.asarray(variable))
        assert int(optimizer.iterations) == 1
    np.testing.assert_allclose(*results, rtol=1e-5)
    assert np.abs(results[0] - start).max() > 0.01
