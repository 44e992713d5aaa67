import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_plm.layers import Dropout, fused
from keras_plm.layers.fused_norm import residual_norm
from keras_plm.layers.fused_softmax import softmax_dropout
from keras_plm.xla import rounded, xla_enabled

pytestmark = pytest.mark.usefixtures("xla")
ROWS, D = 37, 29


def test_the_switch_is_0_or_1(monkeypatch):
    assert xla_enabled()
    monkeypatch.setenv("KERAS_PLM_XLA", "0")
    assert not xla_enabled()
    monkeypatch.setenv("KERAS_PLM_XLA", "off")
    with pytest.raises(ValueError, match="KERAS_PLM_XLA='off'; set it to 0 or 1"):
        xla_enabled()


def floats(*shape, seed=0, dtype="float32"):
    return tf.cast(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize("dtype,tolerance", [("float32", 2e-6), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_kernels_and_gradients_equal_plain_operations(dtype, tolerance, activation, rate):
    x, residual = floats(3, ROWS, D, dtype=dtype), floats(3, ROWS, D, seed=1, dtype=dtype)
    gamma, beta, upstream = (
        floats(D, seed=2),
        floats(D, seed=3),
        floats(3, ROWS, D, seed=4, dtype=dtype),
    )

    def run(training):
        with tf.GradientTape() as tape:
            tape.watch([x, residual, gamma, beta])
            y = fused.bias_activation(x, beta, activation=activation, training=training)
            y = residual_norm(y, None, gamma, beta, epsilon=1e-12, training=training)
            y = residual_norm(y, residual, gamma, beta, (1, 2), epsilon=1e-12, rate=rate, training=training)
        return [y, *tape.gradient(y, [x, residual, gamma, beta], upstream)]

    for fast, plain in zip(run(True), run(False), strict=True):
        fast, plain = np.asarray(tf.cast(fast, "float32")), np.asarray(tf.cast(plain, "float32"))
        assert np.abs(fast - plain).max() <= tolerance * max(np.abs(plain).max(), 1)


def test_dropout_keeps_the_expected_share_and_scale():
    x = tf.ones((500, 400))
    dropped = np.asarray(fused.dropout(x, (3, 5), rate=0.1, training=True))
    # 200,000 draws: the standard deviation of the share is 0.0007
    assert abs((dropped == 0).mean() - 0.1) < 0.003
    np.testing.assert_allclose(dropped[dropped > 0], 1 / 0.9, rtol=1e-6)


def test_dropout_masks_of_neighbors_are_independent():
    x = tf.ones((500, 400))
    masks = [np.asarray(fused.dropout(x, s, rate=0.3, training=True)) == 0 for s in ((0, 1), (0, 2), (1, 1))]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(masks[i].ravel(), masks[j].ravel())[0, 1]) < 0.01
    first = masks[0]
    assert abs(np.corrcoef(first[:-1].ravel(), first[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(first[:, :-1].ravel(), first[:, 1:].ravel())[0, 1]) < 0.01


def test_dropout_backward_uses_the_forward_mask():
    x = tf.ones((31, 17))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = fused.dropout(x, (7, 7), rate=0.5, training=True)
    np.testing.assert_array_equal(tape.gradient(y, x), y)


def test_dropout_layer_draws_anew_and_reproducibly():
    keras.utils.set_random_seed(5)
    layer, x = Dropout(0.5), tf.ones((11, 13))
    first, second = layer(x, training=True), layer(x, training=True)
    assert not np.array_equal(first, second)
    keras.utils.set_random_seed(5)
    np.testing.assert_array_equal(Dropout(0.5)(x, training=True), first)
    np.testing.assert_array_equal(layer(x), x)


def test_shapes_that_are_known_late():
    layer = Dropout(0.5)

    @tf.function(input_signature=[tf.TensorSpec((None, None, D))])
    def drop(x):
        return layer(x, training=True)

    assert drop(tf.ones((2, 3, D))).shape == (2, 3, D)
    assert drop(tf.ones((5, 7, D))).shape == (5, 7, D)


@pytest.mark.parametrize("dtype,tolerance", [("float32", 2e-6), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("bias_shape", [None, (3, 1, 1, 7), (1, 2, 5, 7)])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_softmax_kernel_and_its_gradients_equal_plain_operations(dtype, tolerance, bias_shape, rate):
    scores, upstream = floats(3, 2, 5, 7, dtype=dtype), floats(3, 2, 5, 7, seed=1, dtype=dtype)
    bias = None if bias_shape is None else floats(*bias_shape, seed=2)
    seed = tf.constant([3, 4])

    def run(training):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            dropped = softmax_dropout(scores, bias, seed, rate=rate, training=training)
        return [dropped, tape.gradient(dropped, scores, upstream)]

    for fast, plain in zip(run(True), run(False), strict=True):
        assert fast.dtype == plain.dtype and fast.shape == plain.shape
        fast, plain = np.asarray(tf.cast(fast, "float32")), np.asarray(tf.cast(plain, "float32"))
        assert np.abs(fast - plain).max() <= tolerance * max(np.abs(plain).max(), 1)


def test_rounding_with_integers_equals_the_conversion_to_bfloat16():
    random = np.random.default_rng(0).integers(0, 2**32, 1_000_003, dtype="uint32")
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, 1e-45, 1.00390625, 1.01171875], "float32")
    ties = np.arange(0x3F80_8000, 0x3F90_8000, 0x1_0000, dtype="uint32")
    wide = tf.constant(np.concatenate([random.view("float32"), special, ties.view("float32")]))
    found, wanted = (np.asarray(tf.cast(x, "float32")) for x in (rounded(wide, tf.bfloat16), tf.cast(wide, "bfloat16")))
    np.testing.assert_array_equal(found, wanted)
    assert rounded(wide, tf.float32) is wide and rounded(wide[:3], tf.float16).dtype == tf.float16


def test_float16_and_mixed_dtypes():
    """The gradients have the dtypes of the tensors; the values are those of float32, but for rounding."""
    x, residual, upstream = floats(ROWS, D, dtype="float16"), floats(ROWS, D, seed=1), floats(ROWS, D, seed=2)
    gamma, beta = tf.ones(D), tf.zeros(D)
    with tf.GradientTape() as tape:
        tape.watch([x, residual])
        y = residual_norm(x, residual, gamma, beta, epsilon=1e-6, training=True)
    found = tape.gradient(y, [x, residual], tf.cast(upstream, y.dtype))
    assert [t.dtype for t in (y, *found)] == [tf.float16, tf.float16, tf.float32]
    np.testing.assert_allclose(*found, atol=2e-3)


def test_shapes_of_scores_that_are_known_late():
    @tf.function(input_signature=[tf.TensorSpec((None, 2, None, None)), tf.TensorSpec((None, 1, 1, None))])
    def run(scores, bias):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            y = softmax_dropout(scores, bias, (1, 2), rate=0.5, training=True)
        return y, tape.gradient(y, scores)

    for shape in ((1, 2, 3, 4), (5, 2, 1, 7)):
        for tensor in run(floats(*shape), tf.zeros((shape[0], 1, 1, shape[3]))):
            assert tensor.shape == shape and np.isfinite(tensor).all()
