from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_plm.text.packed_texts import PackedTexts


def rows(dataset):
    return [[np.asarray(part) for part in (x["token_ids"], x["padding_mask"], y, w)] for x, y, w in dataset]


def pairs(texts):
    return Counter(pair for text in texts for pair in zip(text, text[1:], strict=False))


def test_the_example_of_the_docstring():
    ((ids, mask, targets, weights),) = rows(PackedTexts([[1, 2, 3], [4, 5]], 4).evaluation_dataset(2))
    np.testing.assert_array_equal(ids, [[1, 2, 4, 0]])
    np.testing.assert_array_equal(mask, [[1, 1, 2, 0]])
    np.testing.assert_array_equal(targets, [[2, 3, 5, 0]])
    np.testing.assert_array_equal(weights, [[1, 1, 1, 0]])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(1, 999), max_size=23), min_size=1, max_size=30), st.integers(1, 13))
def test_each_token_is_predicted_once_from_the_one_before_it(texts, length):
    if all(len(text) < 2 for text in texts):
        with pytest.raises(ValueError, match="no text has a token to predict"):
            PackedTexts(texts, length)
        return
    packed = PackedTexts(texts, length)
    found = Counter()
    for ids, mask, targets, weights in rows(packed.evaluation_dataset(3)):
        assert ids.shape[1] == length
        np.testing.assert_array_equal(mask > 0, weights > 0)
        found.update(zip(ids[mask > 0].tolist(), targets[mask > 0].tolist(), strict=True))
        inside = (mask[:, 1:] == mask[:, :-1]) & (mask[:, 1:] > 0)
        # inside a text the target is the next input
        np.testing.assert_array_equal(targets[:, :-1][inside], ids[:, 1:][inside])
    assert found == pairs(texts)
    used = sorted((mask > 0).sum() for _, batch, _, _ in rows(packed.evaluation_dataset(3)) for mask in batch)
    assert len(used) == 1 or used[0] + used[1] > length  # or the two rows would be one


def test_full_rows_for_texts_that_fit():
    packed = PackedTexts([[1] * (size + 1) for size in (7, 3, 6, 4, 5, 5)], 10)
    assert len(packed) == 3 and packed.share_of_padding == 0 and packed.num_targets == 30


def test_only_counted_targets_have_weights():
    texts, counted = [[1, 2, 3, 4]], [[False, False, True, True]]
    ((_, _, targets, weights),) = rows(PackedTexts(texts, 5, counted).evaluation_dataset(1))
    np.testing.assert_array_equal(targets * weights, [[0, 3, 4, 0, 0]])


def test_batches_are_a_function_of_the_step():
    packed = PackedTexts([list(range(i, i + 6)) for i in range(1, 40)], 7)
    whole = rows(packed.training_dataset(4, 25, seed=3))
    for one, two in zip(whole[9:], rows(packed.training_dataset(4, 25, first_step=9, seed=3)), strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)
    other = rows(packed.training_dataset(4, 25, seed=4))
    assert any((a[0] != b[0]).any() for a, b in zip(whole, other, strict=True))
    # each epoch has each row once
    steps = len(packed) // 4
    seen = np.concatenate([ids for ids, *_ in whole[: steps + 1]])[: len(packed)]
    assert len({tuple(row) for row in seen.tolist()}) == len(packed)
    for _, mask, _, weights in whole:
        assert weights.mean() == pytest.approx(1) and weights[mask > 0].min() > 0


def test_errors():
    with pytest.raises(ValueError, match="length=0"):
        PackedTexts([[1, 2]], 0)
    with pytest.raises(ValueError, match="no text has a token to predict"):
        PackedTexts([[1]], 3)
