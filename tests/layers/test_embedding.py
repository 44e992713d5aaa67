import functools

import numpy as np
import pytest
from keras import ops

from keras_plm import ClassificationHead, MaskedTokenHead, NextSentenceHead, TokenEmbedding
from keras_plm.layers.initialization import sinusoids
from tests.contract import check_layer
from tests.layers.test_attention import floats

B, T, P, D, V = 2, 5, 3, 11, 17
IDS = ops.convert_to_tensor(np.random.default_rng(0).integers(0, V, (B, T)).astype("int32"))
SEGMENTS = ops.convert_to_tensor(np.array([[0, 0, 1, 1, 1], [0, 1, 1, 1, 1]], "int32"))


def looked_up(layer, start=0, segments=SEGMENTS):
    tokens, positions, segment_matrix = (np.asarray(w) for w in layer.get_weights()[:3])
    rows = tokens[np.asarray(IDS)] + positions[start : start + T] + segment_matrix[np.asarray(segments)]
    return (rows - rows.mean(-1, keepdims=True)) / rows.std(-1, keepdims=True)


def test_embedding_equals_numpy():
    layer = TokenEmbedding(V, D, max_sequence_length=7)
    np.testing.assert_allclose(layer(IDS, SEGMENTS), looked_up(layer), atol=1e-4)
    np.testing.assert_allclose(layer(IDS), looked_up(layer, segments=SEGMENTS * 0), atol=1e-4)
    later = np.arange(2, 2 + T)[None].repeat(len(IDS), 0)
    np.testing.assert_allclose(layer(IDS, SEGMENTS, position_ids=later), looked_up(layer, 2), atol=1e-4)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_embedding_contract(positions, dropout):
    make = functools.partial(TokenEmbedding, V, D, max_sequence_length=7, positions=positions, dropout=dropout)
    check_layer(make, IDS, SEGMENTS, dropout=dropout > 0)


def test_sinusoids_by_hand():
    table = sinusoids(3, 4)
    np.testing.assert_allclose(table[0], [0, 1, 0, 1])
    np.testing.assert_allclose(table[2], [np.sin(2), np.cos(2), np.sin(0.02), np.cos(0.02)], rtol=1e-6)


def test_embedding_errors():
    with pytest.raises(ValueError, match="5 tokens are more than max_sequence_length=4"):
        TokenEmbedding(V, D, max_sequence_length=4)(IDS)
    with pytest.raises(ValueError, match="positions='rotary'"):
        TokenEmbedding(V, D, positions="rotary")


def test_masked_token_head():
    hidden, table = floats(B, T, D), floats(V, D, seed=1)
    positions = ops.convert_to_tensor(np.array([[1, 4, 0], [2, 3, 0]], "int32"))
    head = MaskedTokenHead(V)
    logits = head(hidden, positions, table)
    assert logits.shape == (B, P, V)
    # the logits at a position are those of a head that sees that position alone
    alone = head(hidden[:, 4:5], ops.zeros((B, 1), "int32"), table)
    np.testing.assert_allclose(logits[0, 1], alone[0, 0], atol=1e-6)
    # and they are a product with the table: a doubled table doubles them (the bias is zero)
    np.testing.assert_allclose(head(hidden, positions, 2 * table), 2 * logits, rtol=1e-5)


def test_heads_contract():
    check_layer(NextSentenceHead, floats(B, D), own_dtype="float32")
    check_layer(functools.partial(ClassificationHead, 3), floats(B, D), own_dtype="float32")
    check_layer(functools.partial(ClassificationHead, 3, dropout=0.5), floats(B, D), dropout=True, own_dtype="float32")
    with pytest.raises(ValueError, match="num_classes=0"):
        ClassificationHead(0)
