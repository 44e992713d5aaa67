import functools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_plm import Adaptation, DecoderBlock, EncoderBlock, FeedForward
from keras_plm.layers import ResidualNorm, RMSNorm
from keras_plm.layers.adapter import Adapter, Projection
from tests.contract import check_layer
from tests.layers.test_attention import floats

B, T, S, N, D, F = 2, 5, 7, 3, 33, 53


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("gated", [False, True])
def test_feed_forward_contract(activation, gated):
    for use_bias in (True, False):
        make = functools.partial(FeedForward, F, activation, gated, use_bias)
        check_layer(make, floats(B, T, D))


def test_feed_forward_by_hand():
    layer = FeedForward(2, "relu")
    layer(floats(1, 1, 2))
    values = [0.5, -5.0], [[1, 2], [3, 4]], [[1, 0], [1, 1]], [10, 20]
    layer.set_weights([np.array(value) for value in values])
    # x W₁ + b₁ = (1·1 + 2·3 + 0.5, 1·2 + 2·4 - 5) = (7.5, 5); W₂ sums both, and takes the second
    np.testing.assert_allclose(layer(np.array([[[1.0, 2.0]]])), [[[22.5, 25.0]]])


def test_unknown_activation():
    with pytest.raises(ValueError, match="activation='gulu'; choose"):
        FeedForward(F, "gulu")(floats(B, T, D))


def test_residual_norm():
    check_layer(ResidualNorm, floats(B, T, D))
    check_layer(ResidualNorm, floats(B, T, D), floats(B, T, D, seed=1))
    check_layer(
        functools.partial(ResidualNorm, dropout=0.5),
        floats(B, T, D),
        floats(B, T, D, seed=1),
        dropout=True,
    )
    x = np.asarray(floats(B, T, D), "float64")
    expected = (2 * x - (2 * x).mean(-1, keepdims=True)) / (2 * x).std(-1, keepdims=True)
    np.testing.assert_allclose(ResidualNorm()(floats(B, T, D), floats(B, T, D)), expected, atol=1e-5)


def test_rms_norm():
    check_layer(RMSNorm, floats(B, T, D))
    x, layer = np.asarray(floats(B, T, D), "float64"), RMSNorm(0.5)
    layer.build((B, T, D))
    layer.set_weights([np.arange(D)])
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.5) * np.arange(D)
    np.testing.assert_allclose(layer(floats(B, T, D)), expected, atol=1e-5)
    np.testing.assert_allclose(layer(floats(B, T, D), training=True), expected, atol=1e-5)


@pytest.mark.parametrize("normalize_first", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_encoder_block(normalize_first, dropout):
    make = functools.partial(EncoderBlock, N, F, dropout=dropout, normalize_first=normalize_first)
    check_layer(make, floats(B, T, D), dropout=dropout > 0)
    block, x = make(), floats(B, T, D)
    short = block(x)
    mask = np.array([[1] * T + [0] * 2] * B, "int32")
    longer = ops.concatenate([x, floats(B, 2, D, seed=2)], axis=1)
    np.testing.assert_allclose(block(longer, padding_mask=mask)[:, :T], short, atol=1e-5)
    output, weights = block(x, return_attention=True)
    np.testing.assert_allclose(output, short, atol=1e-6)
    assert weights.shape == (B, N, T, T)


@pytest.mark.parametrize("normalize_first", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_decoder_block(normalize_first, dropout):
    make = functools.partial(DecoderBlock, N, F, dropout=dropout, normalize_first=normalize_first)
    check_layer(make, floats(B, T, D), dropout=dropout > 0)
    if normalize_first and dropout:
        llama = {"norm": "rms", "gated": True, "attention_bias": "none", "feed_forward_bias": False, "window": 3}
        check_layer(functools.partial(make, num_key_value_heads=1, head_dim=8, **llama), floats(B, T, D), dropout=True)
    crossing = functools.partial(make, cross_attention=True)
    check_layer(crossing, floats(B, T, D), floats(B, S, D, seed=1), dropout=dropout > 0)


def test_lora_updates_and_adapters():
    def make(kind, *arguments, **options):
        layer = kind(*arguments, **options)
        layer.build((B, T, D))
        for weight in layer.weights:  # some begin as zeros, behind which nothing is learned
            weight.assign(np.random.default_rng(len(weight.path)).normal(size=weight.shape) * 0.2)
        return layer

    check_layer(functools.partial(make, Adapter, 5), floats(B, T, D))
    lora = {"name": "query", "adaptation": Adaptation(lora_rank=2, lora_alpha=6.0)}
    check_layer(functools.partial(make, Projection, 7, **lora), floats(B, T, D))
    layer, x = make(Projection, 7, **lora), np.asarray(floats(B, T, D))
    kernel = np.asarray(layer.kernel) + 3 * np.asarray(layer.lora_a) @ np.asarray(layer.lora_b)
    np.testing.assert_allclose(layer(x), x @ kernel + np.asarray(layer.bias), atol=1e-4)
    adapter = Adapter(5)
    np.testing.assert_array_equal(adapter(x), x)


def test_attention_dropout_reaches_the_attention():
    for block in (EncoderBlock, DecoderBlock):
        make = functools.partial(block, N, F, dropout=0.0, attention_dropout=0.5)
        check_layer(make, floats(B, T, D), dropout=True)


@pytest.mark.parametrize("normalize_first", [False, True])
def test_decoder_block_reads_no_padding(normalize_first):
    block = DecoderBlock(N, F, cross_attention=True, normalize_first=normalize_first)
    x, encoded, noise = floats(B, T, D), floats(B, S, D, seed=1), floats(B, 2, D, seed=2)
    short = block(x, encoded)
    # padding before the tokens: causal attention alone would read it
    mask, encoder_mask = np.array([[0] * 2 + [1] * T] * B, "int32"), np.array([[1] * S + [0] * 2] * B, "int32")
    longer = ops.concatenate([noise, x], 1), ops.concatenate([encoded, noise], 1)
    found = block(*longer, padding_mask=mask, encoder_padding_mask=encoder_mask)
    np.testing.assert_allclose(found[:, 2:], short, atol=1e-5)
    for masks in ({"padding_mask": mask}, {"encoder_padding_mask": encoder_mask}):
        assert np.abs(block(*longer, **masks)[:, 2:] - short).max() > 1e-3


def test_decoder_block_is_causal():
    block, x = DecoderBlock(N, F), floats(B, T, D)
    changed = ops.concatenate([x[:, :3], floats(B, 2, D, seed=3)], axis=1)
    np.testing.assert_allclose(block(x)[:, :3], block(changed)[:, :3], atol=1e-6)
    assert np.abs(block(x)[:, 3:] - block(changed)[:, 3:]).max() > 0.1


@pytest.mark.parametrize("normalize_first", [False, True])
def test_decoder_block_from_cache(normalize_first):
    block = DecoderBlock(N, F, cross_attention=True, normalize_first=normalize_first)
    x, encoded = floats(B, T, D), floats(B, S, D, seed=1)
    encoder_mask = np.array([[1] * S, [1] * 4 + [0] * 3], "int32")
    whole = block(x, encoded, encoder_padding_mask=encoder_mask)
    cache, steps = block.make_cache(B, T, encoded), []
    for t in range(T):
        step, cache = block(x[:, t : t + 1], encoder_padding_mask=encoder_mask, cache=cache, cache_index=t)
        steps.append(step)
    np.testing.assert_allclose(ops.concatenate(steps, 1), whole, atol=1e-5)


def test_decoder_block_wants_its_encoder():
    with pytest.raises(ValueError, match="encoder_hidden is missing"):
        DecoderBlock(N, F, cross_attention=True)(floats(B, T, D))
    with pytest.raises(ValueError, match="encoder_hidden was given"):
        DecoderBlock(N, F)(floats(B, T, D), floats(B, S, D))


def test_a_cache_without_its_index_is_an_error():
    block = DecoderBlock(N, F)
    block(floats(B, T, D))
    with pytest.raises(ValueError, match="cache and cache_index belong together"):
        block(floats(B, T, D), cache=block.make_cache(B, T))


def test_an_attention_mask_says_all_that_may_be_seen():
    block, x = DecoderBlock(N, F), floats(B, T, D)
    causal = np.tri(T, dtype="int32")[None].repeat(B, 0)
    np.testing.assert_allclose(block(x, attention_mask=causal), block(x), atol=1e-6)
    assert np.abs(block(x, attention_mask=causal * 0 + 1) - block(x))[:, :-1].max() > 0.1
    with pytest.raises(ValueError, match=r"attention_mask has shape .*; expected \(B, T, S\)"):
        block(x, attention_mask=causal[:, 0])
    with pytest.raises(ValueError, match="padding_mask and attention_mask were given"):
        block(x, attention_mask=causal, padding_mask=causal[:, 0])
    with pytest.raises(ValueError, match="norm='rms'; choose 'layer', or 'rms' with normalize_first"):
        DecoderBlock(N, F, norm="rms")


@pytest.mark.parametrize("normalize_first", [False, True])
@pytest.mark.parametrize("mask_rank", [0, 2, 3])
def test_an_encoder_block_can_compute_some_positions_only(normalize_first, mask_rank):
    block = EncoderBlock(N, F, normalize_first=normalize_first)
    hidden, positions = floats(B, T, D), np.array([[4, 0, 4], [1, 3, 2]], "int32")
    visible = np.random.default_rng(0).integers(0, 2, (B, T, T)) | np.eye(T, dtype=int)
    mask = {0: None, 2: visible[:, 0].astype("int32"), 3: visible.astype("int32")}[mask_rank]
    whole = np.asarray(block(hidden, padding_mask=mask))
    found = block(hidden, padding_mask=mask, query_positions=positions)
    np.testing.assert_allclose(found, np.take_along_axis(whole, positions[..., None], 1), atol=1e-6)
    for other in ({"num_queries": 1}, {"position_bias": floats(1, N, T, T)}):
        with pytest.raises(ValueError, match="query_positions cannot be combined"):
            block(hidden, query_positions=positions, **other)


@pytest.mark.parametrize("rematerialized", [False, True])
@pytest.mark.parametrize("adaptation", [None, Adaptation(lora_rank=2), Adaptation(adapter_dim=5)])
def test_some_positions_have_the_gradients_of_all(adaptation, rematerialized):
    block = EncoderBlock(N, F, adaptation=adaptation)
    block.build((B, T, D))
    block.rematerialize = rematerialized
    hidden, positions = floats(B, T, D), np.array([[4, 0], [1, 3]], "int32")
    upstream = floats(B, 2, D, seed=1)

    def gradients(whole):
        with tf.GradientTape() as tape:
            tape.watch(hidden)
            found = block(hidden, training=True, **({} if whole else {"query_positions": positions}))
            chosen = tf.gather(found, positions, batch_dims=1) if whole else found
            loss = tf.reduce_sum(chosen * upstream)
        return tape.gradient(loss, [hidden, *(v.value for v in block.trainable_variables)])

    for some, all_of_them in zip(gradients(whole=False), gradients(whole=True), strict=True):
        np.testing.assert_allclose(*map(tf.convert_to_tensor, (some, all_of_them)), atol=2e-5)
