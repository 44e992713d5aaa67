from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_plm.training import (
    AdamW,
    Checkpoint,
    CrossEntropy,
    Lamb,
    LinearWarmupDecay,
    choose_precision,
    dtype_policy,
    write_whole,
)

pytestmark = pytest.mark.usefixtures("xla")
ROWS, C = 13, 97


@pytest.mark.parametrize("dtype,tolerance", [("float32", 1e-5), ("bfloat16", 1e-2)])
@pytest.mark.parametrize("shape,smoothing", [((ROWS,), 0.0), ((3, 5), 0.0), ((3, 5), 0.3)])
def test_cross_entropy_equals_keras(dtype, tolerance, shape, smoothing):
    random = np.random.default_rng(0)
    logits = tf.cast(3 * random.normal(size=(*shape, C)), dtype)
    labels = tf.constant(random.integers(0, C, shape))
    weights = tf.constant(random.integers(0, 3, shape).astype("float32"))

    def run(loss):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(labels, logits, weights)
        return float(value), tf.cast(tape.gradient(value, logits), "float32")

    def keras_loss(labels, logits, weights):
        smooth = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
        return smooth(tf.one_hot(labels, C), logits, weights)

    loss = CrossEntropy(label_smoothing=smoothing)
    ours, gradient = run(CrossEntropy.from_config(loss.get_config()))
    theirs, expected = run(keras_loss)
    assert ours == pytest.approx(theirs, rel=tolerance)
    np.testing.assert_allclose(gradient, expected, atol=tolerance * np.abs(expected).max())


def test_schedule():
    schedule = LinearWarmupDecay(2.0, warmup_steps=4, total_steps=12)
    rates = [float(schedule(step)) for step in range(13)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[8] == 1.0 and rates[12] == 0.0
    assert LinearWarmupDecay(**schedule.get_config())(3) == schedule(3)
    with pytest.raises(ValueError, match="warmup_steps=5 must be at least 0 and below total_steps=5"):
        LinearWarmupDecay(1.0, 5, 5)


def variables():
    random = np.random.default_rng(0)
    shapes = {"kernel": (7, 5), "bias": (5,), "gamma": (5,), "beta": (5,)}
    return [keras.Variable(random.normal(size=s).astype("float32"), name=n) for n, s in shapes.items()]


def train(optimizer, own, steps=20):
    random = np.random.default_rng(1)
    for _ in range(steps):
        gradients = [tf.constant(random.normal(size=v.shape).astype("float32")) for v in own]
        optimizer.apply_gradients(zip(gradients, own, strict=True))
    return [v.numpy() for v in own]


@pytest.mark.parametrize("decay", [None, 0.1])
@pytest.mark.parametrize(
    "clip",
    [{"global_clipnorm": None}, {"global_clipnorm": 0.5}]
    + [{"global_clipnorm": None, name: 0.3} for name in ("clipnorm", "clipvalue")],
)
def test_adamw_equals_keras(decay, clip):
    options = {"learning_rate": 0.02, "epsilon": 1e-6, **clip}
    if decay:
        theirs = keras.optimizers.AdamW(weight_decay=decay, **options)
        theirs.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        theirs = keras.optimizers.Adam(**options)
    expected = train(theirs, variables())
    for a, b in zip(train(AdamW(weight_decay=decay, **options), variables()), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_narrow_first_moment():
    """It takes half the memory, and moves the weights almost equally."""
    options = {"learning_rate": 0.02, "weight_decay": 0.1}
    optimizer = AdamW(momentum_dtype="bfloat16", **options)
    narrow, wide = train(optimizer, variables()), train(AdamW(**options), variables())
    assert {v.dtype for v in optimizer._momentums} == {"bfloat16"}
    assert {v.dtype for v in optimizer._velocities} == {"float32"}
    for a, b, start in zip(narrow, wide, variables(), strict=True):
        assert 0 < np.abs(a - b).max() < 0.02 * np.abs(b - start.numpy()).max()
    assert AdamW.from_config(optimizer.get_config()).momentum_dtype == "bfloat16"
    with pytest.raises(ValueError, match="momentum_dtype='float16'; choose"):
        AdamW(momentum_dtype="float16")


@pytest.mark.parametrize("optimizer", [AdamW, Lamb])
def test_decay_leaves_norms_and_biases_alone(optimizer):
    own = variables()
    before = [v.numpy() for v in own]
    optimizer = optimizer(0.1, weight_decay=0.5)
    optimizer.apply_gradients([(tf.zeros(v.shape), v) for v in own])
    moved = [np.abs(v.numpy() - b).max() > 1e-3 for v, b in zip(own, before, strict=True)]
    assert moved == [True, False, False, False]


def test_sparse_gradients():
    table = keras.Variable(np.ones((5, 3), "float32"), name="tokens")
    optimizer = AdamW(0.1, weight_decay=None)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(table.value, [1, 1]))
    optimizer.apply_gradients([(tape.gradient(loss, table.value), table)])
    np.testing.assert_allclose(table.numpy()[[0, 1], 0], [1.0, 0.9], atol=1e-5)


@pytest.mark.parametrize("optimizer", [AdamW, Lamb])
def test_a_token_that_occurs_twice_is_clipped_by_its_sum(optimizer):
    tables = [keras.Variable(np.ones((5, 3), "float32"), name="tokens") for _ in range(2)]
    sparse = tf.IndexedSlices(tf.constant([[3.0, 0, 0], [3.0, 4.0, 0]]), tf.constant([1, 1]), tf.constant([5, 3]))
    for table, gradient in zip(tables, (sparse, tf.convert_to_tensor(sparse)), strict=True):
        # a large epsilon: Adam's step would not depend on the size of the gradient
        optimizer(0.1, weight_decay=None, global_clipnorm=1.0, epsilon=1.0).apply_gradients([(gradient, table)])
    np.testing.assert_allclose(tables[0].numpy(), tables[1].numpy(), atol=1e-7)
    assert np.abs(tables[0].numpy() - 1).max() > 1e-4


def test_optimizer_config_round_trip():
    for optimizer in (AdamW(LinearWarmupDecay(1e-3, 1, 9)), Lamb(1e-3)):
        copy = type(optimizer).from_config(optimizer.get_config())
        assert copy.get_config() == optimizer.get_config()
    with pytest.raises(ValueError, match="amsgrad"):
        AdamW(amsgrad=True)


@pytest.mark.parametrize("momentum_dtype", ["float32", "bfloat16"])
def test_checkpoint_restores_everything(tmp_path, momentum_dtype):
    """Weights, moments, step and dropout: a restored model continues as the first would have."""
    x = np.random.default_rng(0).normal(size=(24, 5)).astype("float32")
    y = x.sum(1, keepdims=True)

    def make():
        keras.utils.set_random_seed(1)
        from keras_plm.layers import Dropout

        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7), Dropout(0.3), keras.layers.Dense(1)])
        model.compile(AdamW(LinearWarmupDecay(0.05, 2, 12), momentum_dtype=momentum_dtype), "mse")
        return model

    def fit(model, epochs, initial=0, callbacks=()):
        return model.fit(x, y, 8, epochs, 0, callbacks, shuffle=False, initial_epoch=initial)

    whole = fit(make(), 4).history["loss"]
    fit(make(), 2, callbacks=[Checkpoint(tmp_path, "a")])
    again = make()
    steps = Checkpoint(tmp_path, "a").restore(again)
    assert steps == 6
    np.testing.assert_allclose(fit(again, 4, 2).history["loss"], whole[2:], rtol=1e-6)
    assert [p.name.split(".")[1] for p in sorted(tmp_path.iterdir())] == ["000000003", "000000006"]


def test_precision_goes_by_the_processor(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    for flags, wanted in (("fma avx512_bf16", "mixed_bfloat16"), ("fma avx512f", "float32"), (None, "float32")):

        def read(path, flags=flags):
            if flags is None:
                raise FileNotFoundError(path)
            return f"processor : 0\nflags : {flags} sse\n"

        monkeypatch.setattr(Path, "read_text", read)
        assert choose_precision("auto") == wanted, flags
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["one"] if kind == "GPU" else [])
    for capability, wanted in (((7, 5), "float32"), ((8, 0), "mixed_bfloat16"), (None, "float32")):
        details = {"compute_capability": capability}
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu, details=details: details)
        assert choose_precision("auto") == wanted, capability


def test_precision():
    assert choose_precision("float32") == "float32"
    before = keras.config.dtype_policy().name
    with pytest.raises(KeyError), dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).dtype_policy.name == "mixed_bfloat16"
        raise KeyError
    assert keras.config.dtype_policy().name == before


def test_no_room_on_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "history.csv"
    write_whole(path, "old")

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    assert [file.name for file in tmp_path.iterdir()] == ["history.csv"] and path.read_text() == "old"


def test_lamb_is_that_of_the_paper():
    """One numpy step after the other: decay inside the trust ratio, neither for biases and norms."""
    random = np.random.default_rng(0)
    start = {"kernel": random.normal(size=(3, 5)), "bias": random.normal(size=5), "gamma": random.normal(size=5)}
    variables = [keras.Variable(value.astype("float32"), name=name) for name, value in start.items()]
    optimizer = Lamb(0.1, weight_decay=0.3, global_clipnorm=None)
    moments = {name: (np.zeros_like(v), np.zeros_like(v)) for name, v in start.items()}
    weights = dict(start)
    for step in range(1, 4):
        gradients = {name: random.normal(size=value.shape) for name, value in start.items()}
        optimizer.apply([tf.constant(g, tf.float32) for g in gradients.values()], variables)
        for name, gradient in gradients.items():
            m, v = (0.9 * moments[name][0] + 0.1 * gradient, 0.999 * moments[name][1] + 0.001 * gradient**2)
            moments[name] = (m, v)
            update = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
            if name == "kernel":
                update += 0.3 * weights[name]
                update *= np.linalg.norm(weights[name]) / np.linalg.norm(update)
            weights[name] = weights[name] - 0.1 * update
    for variable, (name, expected) in zip(variables, weights.items(), strict=True):
        np.testing.assert_allclose(variable, expected, rtol=2e-5, atol=1e-6, err_msg=name)


def test_cross_entropy_of_improbable_labels_in_float16():
    """A probability below 6e-8 is 0 in float16."""
    logits = tf.constant([[0.0, -20.0], [0.0, 3.0]], tf.float16)
    assert float(CrossEntropy()([1, 0], logits)) == pytest.approx((20.0 + 3.0486) / 2, rel=1e-3)
