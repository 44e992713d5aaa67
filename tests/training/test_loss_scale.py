import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm.recipes import Classify, Pretrain
from keras_plm.training import AdamW, Checkpoint, loss_scale


def steps(gradients, **options):
    """A weight and the factor of the loss after each gradient of the loss, which is then scaled."""
    weight = keras.Variable(np.ones(3, "float32"), name="kernel")
    # with a large epsilon, the step depends on the size of the gradient
    optimizer = AdamW(0.1, weight_decay=None, epsilon=1.0, **options)
    optimizer.build([weight])
    found = []
    for gradient in gradients:
        scaled = tf.constant([gradient] * 3) * optimizer.scale_loss(1.0)
        optimizer.apply([scaled], [weight])
        factor = optimizer._loss_scale.factor.numpy() if optimizer.loss_scaling else 1.0
        found.append((weight.numpy().copy(), float(factor)))
    assert int(optimizer.iterations) == len(gradients)
    return found


@pytest.mark.parametrize("clip", [None, 0.5, 100.0])
def test_scaled_gradients_make_the_steps_of_unscaled_ones(clip):
    gradients = [0.3, -2.0, 5.0]
    scaled = steps(gradients, loss_scaling=True, global_clipnorm=clip)
    for (a, factor), (b, _) in zip(scaled, steps(gradients, global_clipnorm=clip), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
        assert factor == loss_scale.INITIAL_SCALE


@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e36])
def test_a_step_that_overflows_is_skipped_and_the_factor_halved(bad):
    (first, full), (second, half), (third, _) = steps([0.3, bad, 0.3], loss_scaling=True)
    np.testing.assert_array_equal(first, second)
    assert half == full / 2
    assert (third < second).all()


def test_the_factor_grows_again(monkeypatch):
    monkeypatch.setattr(loss_scale, "_GROWTH_STEPS", 3)
    factors = [factor for _, factor in steps([np.inf, 0.1, 0.1, 0.1, 0.1, 0.1, np.inf, 0.1], loss_scaling=True)]
    assert [factor / loss_scale.INITIAL_SCALE for factor in factors] == [0.5, 0.5, 0.5, 1, 1, 1, 0.5, 0.5]


def test_settings_that_do_not_go_together():
    with pytest.raises(ValueError, match="clip with global_clipnorm only"):
        AdamW(global_clipnorm=None, clipnorm=1.0, loss_scaling=True)
    assert AdamW.from_config(AdamW(loss_scaling=True).get_config()).loss_scaling
    for changes in ({"precision": "mixed_float16"}, {"momentum_dtype": "bfloat16"}):
        with pytest.raises(ValueError, match="are for adamw, not for lamb"):
            Pretrain(corpus="texts.txt", optimizer_name="lamb", **changes)
    with pytest.raises(ValueError, match="compile with auto_scale_loss=False"):
        keras.optimizers.LossScaleOptimizer(AdamW(loss_scaling=True))
    with pytest.raises(ValueError, match="no loss_scale_factor"):
        AdamW(loss_scaling=True, loss_scale_factor=8.0)


def test_recipes_train_in_float16(corpus_file, tmp_path, config):
    """The losses are those of float32, but for rounding."""
    losses = {}
    for precision in ("mixed_float16", "float32"):
        folder = tmp_path / precision
        Pretrain(
            corpus=corpus_file, config=config, vocabulary_size=97, steps=20, checkpoint_every=10, batch_size=4,
            max_length=24, learning_rate=3e-3, precision=precision, save_to=str(folder), verbose=0,
        ).run()  # fmt: skip
        rows = [line.split(",") for line in (folder / "history.csv").read_text().split()]
        losses[precision] = [float(row[rows[0].index("loss")]) for row in rows[1:]]
    np.testing.assert_allclose(losses["mixed_float16"], losses["float32"], rtol=0.02)
    assert losses["float32"][1] < losses["float32"][0]

    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "the heron sees,pos\nthe otter hears,neg\n" * 16)
    model = Classify(
        start_from=str(tmp_path / "mixed_float16"), train=str(table), batch_size=8, max_length=24, epochs=12,
        learning_rate=3e-3, gradient_accumulation_steps=2, precision="mixed_float16", verbose=0,
        save_to=str(tmp_path / "c"),
    ).run()  # fmt: skip
    assert isinstance(model, plm.Classifier) and model.predict_labels(["the heron sees", "the otter hears"]) == [
        "pos",
        "neg",
    ]


@pytest.mark.slow
def test_all_devices_skip_the_same_steps():
    found = []
    for devices in ("1", "2"):
        command = [sys.executable, str(Path(__file__).with_name("run_loss_scale.py")), devices]
        found.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    # half a batch can overflow where a whole one does not, so the factor may differ between one and two devices
    assert all(result["equal_copies"] and 1 < result["factor"] < 2.0**40 for result in found)
    for result in found:
        assert result["losses"][0] == result["losses"][1]  # all steps were skipped
        assert result["losses"][-1] < 0.1 < 0.5 < result["losses"][0]


def test_a_checkpoint_keeps_the_factor_and_an_infinite_sum_of_gradients(tmp_path):
    """An overflow in an odd batch: the sum waits in the checkpoint, and its step is skipped."""
    x, y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")

    def make():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        optimizer = AdamW(0.1, loss_scaling=True, gradient_accumulation_steps=2)
        model.compile(optimizer, "mse", auto_scale_loss=False)
        return model

    model = make()
    checkpoint = Checkpoint(tmp_path, "a")
    checkpoint.set_model(model)
    model.train_on_batch(x, y)
    before = model.get_weights()
    model.train_on_batch(x, y)
    moved = model.get_weights()
    assert np.abs(moved[0] - before[0]).max() > 0
    model.train_on_batch(x * 1e38, y)
    checkpoint.save()
    again = make()
    assert checkpoint.restore(again) == 3
    for other in (model, again):
        other.train_on_batch(x, y)
        np.testing.assert_array_equal(other.get_weights()[0], moved[0])
        assert float(other.optimizer._loss_scale.factor.numpy()) == loss_scale.INITIAL_SCALE / 2
        other.train_on_batch(x, y)
        other.train_on_batch(x, y)
        assert np.abs(other.get_weights()[0] - moved[0]).max() > 0
