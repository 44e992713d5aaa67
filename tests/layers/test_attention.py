import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from keras_plm import MultiHeadAttention
from keras_plm.layers import rotary_angles, rotary_frequencies
from keras_plm.layers.rotary import rotate
from tests.contract import check_layer

B, T, S, N, H = 2, 5, 7, 3, 11
D = N * H


def floats(*shape, seed=0):
    return ops.convert_to_tensor(np.random.default_rng(seed).normal(size=shape).astype("float32"))


def numpy_attention(layer, query, value, keep):
    """softmax(q kᵀ / √H) v, heads and all, in ten lines of numpy."""
    weights = [np.asarray(w, "float64") for w in layer.get_weights()]
    q, k, v = (np.asarray(x) @ weights[2 * i] + weights[2 * i + 1] for i, x in enumerate((query, value, value)))
    heads = []
    for n in range(layer.num_heads):
        part = slice(n * layer.width_per_head, (n + 1) * layer.width_per_head)
        scores = q[..., part] @ k[..., part].swapaxes(-1, -2) / np.sqrt(layer.width_per_head)
        scores = np.where(keep, scores, -np.inf)
        probabilities = np.exp(scores - scores.max(-1, keepdims=True))
        probabilities /= probabilities.sum(-1, keepdims=True)
        heads.append(probabilities @ v[..., part])
    return np.concatenate(heads, -1) @ weights[6] + weights[7]


def test_contract():
    check_layer(functools.partial(MultiHeadAttention, N), floats(B, T, D))
    check_layer(functools.partial(MultiHeadAttention, N, dropout=0.5), floats(B, T, D), dropout=True)


@pytest.mark.parametrize("causal", [False, True])
def test_self_attention_equals_numpy(causal):
    layer, x = MultiHeadAttention(N), floats(B, T, D)
    mask = np.ones((B, T), "int32")
    mask[1, 3:] = 0
    keep = mask[:, None, :].astype(bool) & (np.tri(T, dtype=bool) | (not causal))
    output = layer(x, attention_mask=mask, causal=causal)
    np.testing.assert_allclose(output, numpy_attention(layer, x, x, keep), atol=1e-5)


def test_cross_attention_equals_numpy():
    layer, query, value = MultiHeadAttention(N), floats(B, T, D), floats(B, S, 13, seed=1)
    output = layer(query, value)
    np.testing.assert_allclose(output, numpy_attention(layer, query, value, True), atol=1e-5)


def test_equals_keras_with_copied_weights():
    ours, theirs = MultiHeadAttention(N), keras.layers.MultiHeadAttention(N, H)
    x = floats(B, T, D)
    mask = np.tri(T, dtype=bool)[None].repeat(B, 0)
    ours(x), theirs(x, x)
    theirs.set_weights([w.reshape(v.shape) for w, v in zip(ours.get_weights(), theirs.weights, strict=True)])
    expected, weights = theirs(x, x, attention_mask=mask, return_attention_scores=True)
    output, own_weights = ours(x, attention_mask=mask, return_attention=True)
    np.testing.assert_allclose(output, expected, atol=1e-5)
    np.testing.assert_allclose(own_weights, weights, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int32", "bool", "float32"])
def test_padding_changes_nothing(dtype):
    layer, x = MultiHeadAttention(N), floats(B, T, D)
    short = layer(x)
    longer = ops.concatenate([x, 100.0 * floats(B, 2, D, seed=2)], axis=1)
    mask = np.array([[1] * T + [0] * 2] * B, dtype)
    np.testing.assert_allclose(layer(longer, attention_mask=mask)[:, :T], short, atol=1e-6)


def test_attention_weights_are_float32_and_sum_to_one():
    layer = MultiHeadAttention(N, dtype="mixed_bfloat16")
    _, weights = layer(floats(B, T, D), return_attention=True)
    assert keras.backend.standardize_dtype(weights.dtype) == "float32"
    np.testing.assert_allclose(ops.sum(weights, -1), 1, atol=1e-5)
    assert weights.shape == (B, N, T, T)


@pytest.mark.parametrize("chunks", [[1] * T, [3, 2], [T]])
def test_cached_decoding_equals_causal_attention(chunks):
    layer, x = MultiHeadAttention(N), floats(B, T, D)
    whole = layer(x, causal=True)
    cache, start, parts = layer.make_cache(B, T + 2), 0, []
    for size in chunks:
        part, cache = layer(x[:, start : start + size], causal=True, cache=cache, cache_index=start)
        parts.append(part)
        start += size
    np.testing.assert_allclose(ops.concatenate(parts, 1), whole, atol=1e-5)


def test_cross_attention_from_projected_encoder():
    layer, query, value = MultiHeadAttention(N), floats(B, T, D), floats(B, S, D, seed=1)
    expected = layer(query, value)
    output, _ = layer(query, cache=layer.project(value))
    np.testing.assert_allclose(output, expected, atol=1e-6)


def test_no_tensor_has_more_than_four_axes():
    import tensorflow as tf

    layer = MultiHeadAttention(N)
    layer(floats(B, T, D))
    graph = (
        tf.function(lambda x: layer(x, causal=True, cache=layer.make_cache(B, S), cache_index=1))
        .get_concrete_function(tf.TensorSpec((B, T, D)))
        .graph
    )
    ranks = [t.shape.rank for op in graph.get_operations() for t in op.outputs]
    assert max(rank for rank in ranks if rank is not None) <= 4


def test_errors():
    with pytest.raises(ValueError, match="num_heads=5 does not divide hidden_dim=33"):
        MultiHeadAttention(5)(floats(B, T, D))
    with pytest.raises(ValueError, match=r"mask has shape .* expected \(B, S\) or \(B, T, S\)"):
        MultiHeadAttention(N)(floats(B, T, D), attention_mask=np.ones((B, 1, 1, T), "int32"))


@pytest.mark.parametrize(("bias", "heads"), [("none", 1), ("inputs", 2), ("all", 4)])
def test_grouped_keys_equal_repeated_ones(bias, heads):
    options = {"head_dim": 7, "bias": bias}  # 4 heads of 7: another width than D
    grouped = MultiHeadAttention(4, num_key_value_heads=heads, **options)
    plain = MultiHeadAttention(4, **options)
    x = floats(B, T, D)
    grouped(x), plain(x)
    assert len(grouped.weights) == {"none": 4, "inputs": 7, "all": 8}[bias]
    for ours, theirs in itertools.product(grouped.weights, plain.weights):
        if ours.path.split("/")[-2:] != theirs.path.split("/")[-2:]:
            continue
        value = np.asarray(ours)
        if "/key/" in ours.path or "/value/" in ours.path:  # each head as often as it is read
            value = value.reshape(*value.shape[:-1], heads, 7).repeat(4 // heads, -2).reshape(theirs.shape)
        theirs.assign(value)
    for keywords in ({}, {"causal": True}, {"causal": True, "window": 2}):
        found, weights = grouped(x, return_attention=True, **keywords)
        wanted, wanted_weights = plain(x, return_attention=True, **keywords)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        np.testing.assert_allclose(weights, wanted_weights, atol=1e-6)


def test_grouped_contract():
    make = functools.partial(MultiHeadAttention, 4, num_key_value_heads=2, head_dim=7, bias="inputs", scale=0.3)
    check_layer(make, floats(B, T, D))


def test_a_window_hides_what_is_further_back():
    layer, x = MultiHeadAttention(N), floats(B, T, D)
    _, weights = layer(x, causal=True, window=3, return_attention=True)
    seen = np.asarray(weights[0, 0]) > 0
    np.testing.assert_array_equal(seen, np.tri(T, dtype=bool) & ~np.tri(T, k=-3, dtype=bool))


def test_rotary_scores_depend_on_distances_alone():
    layer, x = MultiHeadAttention(2, head_dim=6), floats(B, T, D)
    frequencies = rotary_frequencies(6)

    def attention(first):
        positions = np.arange(first, first + T)[None].repeat(B, 0)
        return layer(x, rotary=rotary_angles(positions, frequencies), return_attention=True)[1]

    np.testing.assert_allclose(attention(0), attention(100), atol=1e-5)
    assert np.abs(attention(0) - layer(x, return_attention=True)[1]).max() > 0.01


def test_rotary_by_hand():
    # H = 4, θ = 100: the pairs (0, 2) and (1, 3) turn by p and by p / 10
    cosines, sines = rotary_angles(np.array([[3]]), rotary_frequencies(4, 100.0))
    x = np.array([[[[1.0, 2.0, 3.0, 4.0]]]], "float32")
    c, s, c2, s2 = np.cos(3), np.sin(3), np.cos(0.3), np.sin(0.3)
    expected = [1 * c - 3 * s, 2 * c2 - 4 * s2, 3 * c + 1 * s, 4 * c2 + 2 * s2]
    np.testing.assert_allclose(rotate(x, (cosines, sines))[0, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_grouped_cached_decoding_equals_causal_attention(heads):
    layer, x = MultiHeadAttention(4, num_key_value_heads=heads, head_dim=6), floats(B, T, D)
    frequencies = rotary_frequencies(6)
    angles = rotary_angles(np.arange(T)[None].repeat(B, 0), frequencies)
    whole = layer(x, causal=True, window=3, rotary=angles)
    cache, parts = layer.make_cache(B, T + 2), []
    assert cache["key"].shape == (B, heads, T + 2, 6)
    for t in range(T):
        rotary = tuple(part[:, t : t + 1] for part in angles)
        options = {"causal": True, "window": 3, "rotary": rotary, "cache": cache, "cache_index": t}
        part, cache = layer(x[:, t : t + 1], **options)
        parts.append(part)
    np.testing.assert_allclose(ops.concatenate(parts, 1), whole, atol=1e-5)


def test_a_position_bias_is_added_to_the_scores():
    layer, x = MultiHeadAttention(N), floats(B, T, D)
    bias = np.zeros((1, N, T, T), "float32")
    bias[..., 0] = -1e9
    mask = np.array([[0] + [1] * (T - 1)] * B)
    np.testing.assert_allclose(layer(x, position_bias=bias), layer(x, attention_mask=mask), atol=1e-6)


def test_errors_of_groups():
    with pytest.raises(ValueError, match="num_key_value_heads=2 does not divide num_heads=3"):
        MultiHeadAttention(3, num_key_value_heads=2)
    with pytest.raises(ValueError, match="bias='query'; choose"):
        MultiHeadAttention(3, bias="query")


def test_returned_weights_have_a_gradient_in_training():
    """Attention maps are a target of knowledge distillation."""
    layer, x = MultiHeadAttention(N, dropout=0.1), floats(B, T, D)
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        _, weights = layer(x, return_attention=True, training=True)
        loss = tf.reduce_sum(weights * floats(*weights.shape, seed=1))
    assert np.abs(tape.gradient(loss, layer.query.kernel.value)).max() > 1e-4
