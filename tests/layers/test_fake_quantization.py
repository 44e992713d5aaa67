import functools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_plm import Adaptation, EncoderBlock, FeedForward, MultiHeadAttention
from keras_plm.layers import FakeQuantization, Projection
from keras_plm.layers.fake_quantization import rounded_weights
from tests.layers.test_attention import floats

B, T, N, D, F = 2, 5, 3, 33, 53
ROUNDING = Adaptation(quantization_aware=True)


def by_hand(x, low, high):
    """The nearest of 256 values of which one is zero."""
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    return (np.clip(np.round(x / scale + zero), 0, 255) - zero) * scale


def test_activations_equal_numpy():
    layer, x = FakeQuantization(), floats(B, T, D)
    layer.build(x.shape)
    layer.range.assign([-1.3, 2.1])
    np.testing.assert_allclose(layer(x), by_hand(np.asarray(x, "float64"), -1.3, 2.1), atol=1e-6)


def test_the_range_follows_what_it_sees():
    layer, x = FakeQuantization(), ops.abs(floats(B, T, D)) + 1
    assert layer(x).shape == (B, T, D)
    np.testing.assert_allclose(layer.range, [-6, 6])
    for _ in range(400):
        layer(x, training=True)
    np.testing.assert_allclose(layer.range, [0, float(ops.max(x))], atol=1e-2)  # zero stays inside
    assert not layer.trainable_variables
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_allclose(tape.gradient(y, x).numpy().mean(), 1, atol=0.01)


@pytest.mark.parametrize("sign", [-1, 1])
def test_one_huge_value_does_not_take_the_range(sign):
    """As MiniLM's feed-forward layers have one for [CLS]: 213 where the others stay within 6."""
    layer, x = FakeQuantization(), np.random.default_rng(0).normal(size=(31, 101)).astype("float32")
    x[0, 7] = sign * 997
    for _ in range(400):
        layer(x, training=True)
    bound = 32 * np.sqrt(np.mean(np.square(x)))
    assert bound < 700
    rest = [x.min(), bound] if sign > 0 else [-bound, x.max()]
    np.testing.assert_allclose(layer.range, rest, rtol=1e-2)
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = layer(inputs)
    gradient = tape.gradient(y, inputs).numpy()
    assert gradient[0, 7] == 0 and (gradient == 1).mean() > 0.98  # the other end is moved to a whole step
    np.testing.assert_allclose(y[0, 7], sign * bound, rtol=1e-2)


def test_ranges_of_half_precision():
    """The squares of values above 255 are none in float16."""
    layer = FakeQuantization(dtype="mixed_float16")
    x = ops.cast(300 * floats(B, T, D), "float16")
    for _ in range(400):
        layer(x, training=True)
    np.testing.assert_allclose(layer.range, [float(ops.min(x)), float(ops.max(x))], rtol=0.01)


def test_weights_have_values_that_int8_has():
    weights = floats(D, F)
    rounded = np.asarray(rounded_weights(weights))
    scale = np.abs(weights).max() / 127
    np.testing.assert_allclose(rounded / scale, np.round(weights / scale), atol=1e-3)
    assert np.asarray(rounded_weights(ops.zeros((2, 3)))).max() == 0
    rows = rounded_weights(weights[:2], of=weights)
    np.testing.assert_allclose(rows, rounded[:2], atol=1e-6)


@pytest.mark.parametrize("weight", [0.0, 10.0])
def test_one_output_does_not_take_the_values_of_the_others(weight):
    """One with a hundred times the weights of the others, or with none and a bias: pruning leaves such."""
    plain, rounding, x = Projection(F), Projection(F, adaptation=ROUNDING), floats(B, T, D)
    plain(x), rounding(x)
    kernel = 0.1 * np.random.default_rng(0).normal(size=(D, F)).astype("float32")
    kernel[:, 3] = weight
    bias = np.full(F, 0.1, "float32")
    for layer in (plain, rounding):
        layer.kernel.assign(kernel)
        layer.bias.assign(bias)
    for _ in range(300):
        rounding(x, training=True)
    errors = np.abs(rounding(x) - plain(x)) / np.abs(plain(x)).max((0, 1))
    assert errors.max() < 0.05


def test_what_cannot_be_rounded():
    with pytest.raises(ValueError, match="has no activation"):
        Projection(F, adaptation=ROUNDING, activation="relu")
    with pytest.raises(TypeError, match="adaptation=8; give a plm.Adaptation"):
        Projection(F, adaptation=8)
    with pytest.raises(ValueError, match="merge_lora first"):
        Adaptation(lora_rank=2, quantization_aware=True)


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(Projection, F),
        functools.partial(MultiHeadAttention, N),
        functools.partial(FeedForward, F),
        functools.partial(EncoderBlock, N, F, dropout=0.3),
    ],
)
def test_layers_answer_nearly_the_same_and_learn(make):
    plain, rounding, x = make(), make(adaptation=ROUNDING), floats(B, T, D)
    plain(x), rounding(x)
    for path, value in ((w.path, w) for w in plain.weights):
        next(w for w in rounding.weights if w.path.split("/")[1:] == path.split("/")[1:]).assign(value)
    step = tf.function(lambda inputs: rounding(inputs, training=True), autograph=False)
    for _ in range(300):
        step(x)
    wanted, found = (np.asarray(layer(x)) for layer in (plain, rounding))
    assert 0 < np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()
    with tf.GradientTape() as tape:
        loss = ops.sum(ops.square(rounding(x, training=True)))
    gradients = tape.gradient(loss, [v.value for v in rounding.trainable_variables])
    assert all(gradient is not None for gradient in gradients)
    again = type(rounding).from_config(rounding.get_config())
    again(x)
    again.set_weights(rounding.get_weights())
    np.testing.assert_allclose(again(x), rounding(x), atol=1e-6)
