from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm.layers import rematerialize

ENCODER = replace(plm.TINY, vocabulary_size=53, hidden_dim=12, intermediate_dim=20, num_heads=3, dropout=0.3)
MODELS = {
    "encoder": lambda: plm.Encoder(ENCODER),
    "pre-norm": lambda: plm.Encoder(replace(ENCODER, normalize_first=True, attention_dropout=0.0)),
    "shared": lambda: plm.Encoder(replace(ENCODER, shared_layers=True, dropout=0.0)),
    "decoder": lambda: plm.Decoder(
        plm.DecoderConfig(
            vocabulary_size=53, num_layers=2, hidden_dim=12, intermediate_dim=20, num_heads=3, positions="rotary",
            dropout=0.3, norm="rms", gated=True, num_key_value_heads=1,
        )
    ),
    "encoder-decoder": lambda: plm.EncoderDecoder(
        plm.EncoderDecoderConfig(
            vocabulary_size=53, num_layers=2, hidden_dim=12, intermediate_dim=20, num_heads=3, positions="relative",
            dropout=0.3, normalize_first=True,
        )
    ),
}  # fmt: skip


def inputs_of(model):
    draw = np.random.default_rng(0)
    ids = draw.integers(1, 53, (5, 7)).astype("int32")
    mask = (np.arange(7) < draw.integers(3, 8, (5, 1))).astype("int32")
    both = {"token_ids": ids, "padding_mask": mask, "segment_ids": 0 * ids}
    both |= {"decoder_token_ids": ids, "decoder_padding_mask": mask}
    return {name: tf.constant(both[name]) for name in model.input}


def gradients(model):
    """Loss and gradients of a step with dropout, from the same seed."""
    rematerialize(model)
    inputs = inputs_of(model)
    for layer in model._flatten_layers():
        if getattr(layer, "seed_generator", None) is not None:
            layer.seed_generator.state.assign([7, 7])

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(model(inputs, training=True))
            loss = sum(tf.reduce_mean(tf.sin(3 * tf.cast(output, tf.float32))) for output in outputs)
        return loss, tape.gradient(loss, [v.value for v in model.trainable_variables])

    loss, found = step()
    return float(loss), [np.zeros(1) if g is None else tf.convert_to_tensor(g).numpy() for g in found]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", MODELS)
def test_the_gradients_are_the_same(name, policy, monkeypatch):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = MODELS[name]()
    finally:
        keras.config.set_dtype_policy(before)
    loss, found = gradients(model)
    monkeypatch.setattr(
        keras, "remat", lambda function: function
    )  # the same dropout masks, but nothing is computed again
    plain_loss, plain = gradients(model)
    assert loss == pytest.approx(plain_loss, rel=1e-5)  # XLA can fuse the forward pass in another way
    for variable, a, b in zip(model.trainable_variables, found, plain, strict=True):
        # in bfloat16, a sum can be computed in another order; the gradient of a key's bias is 0, but for rounding
        tolerance = 1e-6 if policy == "float32" else 2e-2 * max(np.abs(b).max(), 3e-3)
        np.testing.assert_allclose(a, b, atol=tolerance, err_msg=variable.path)
    assert sum(np.abs(g).max() > 0 for g in plain) > len(plain) / 2


def test_in_fit_with_dropout():
    """The same weights after some steps, and the state of dropout moves on."""

    def trained(again):
        keras.utils.set_random_seed(0)
        model = plm.Classifier(ENCODER, ["a", "b"])
        if again:
            rematerialize(model)
        model.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        inputs = {name: value.numpy() for name, value in inputs_of(model).items()}
        return model.fit(inputs, np.array([0, 1, 0, 1, 1]), 5, 4, shuffle=False, verbose=0).history["loss"]

    plain = trained(False)
    assert len(set(plain)) == 4
    # one seed for a block instead of one for each layer: the masks are others, but as good
    assert trained(True) == trained(True)
    assert np.abs(np.array(trained(True)) - plain).max() < 1.0


def test_fake_quantization_is_refused():
    model = plm.Encoder(ENCODER, adaptation=plm.Adaptation(quantization_aware=True))
    with pytest.raises(ValueError, match="cannot be combined"):
        rematerialize(model)
    with pytest.raises(ValueError, match="has no Transformer block"):
        rematerialize(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
