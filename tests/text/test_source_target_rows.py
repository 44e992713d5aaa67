import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_plm.text import SourceTargetRows

START = [7, 8]


def rows_of(lengths, max_length=31):
    sources = [[1 + i] * size for i, (size, _) in enumerate(lengths)]
    targets = [[1 + i] * size for i, (_, size) in enumerate(lengths)]
    return SourceTargetRows(sources, targets, START, max_length)


def test_a_batch():
    rows = SourceTargetRows([[1, 2, 3], [4]], [[5], [6, 9, 9]], START, max_length=31)
    dataset, order = rows.evaluation_dataset(2)
    ((inputs, targets, weights),) = dataset.as_numpy_iterator()
    assert [batch.tolist() for batch in order] == [[1, 0]]  # the longest row first
    assert inputs["token_ids"].tolist() == [[4, 0, 0, 0], [1, 2, 3, 0]]
    assert inputs["padding_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert inputs["decoder_token_ids"].tolist() == [[7, 8, 6, 9], [7, 8, 5, 0]]
    assert targets.tolist() == [[0, 6, 9, 9], [0, 5, 0, 0]]
    assert inputs["decoder_padding_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert weights.tolist() == [[0, 1, 1, 1], [0, 1, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 29), st.integers(1, 29)), min_size=1, max_size=60),
    st.integers(1, 13),
    st.integers(1, 3),
)
def test_every_row_once_per_epoch(lengths, batch_size, accumulated):
    rows = rows_of(lengths)
    batches = list(rows.training_dataset(batch_size, 2, seed=3, gradient_accumulation_steps=accumulated))
    steps = rows.num_steps(batch_size)
    assert len(batches) == 2 * steps
    for epoch in (batches[:steps], batches[steps:]):
        seen = np.concatenate([inputs["token_ids"][:, 0].numpy() for inputs, _, _ in epoch])
        assert sorted(seen.tolist()) == list(range(1, len(lengths) + 1))
    for first in range(0, len(batches), accumulated):
        group = batches[first : first + accumulated]
        scale = [w.numpy().max() / w.numpy().size for _, _, w in group]  # 1 / mean number of targets of the group
        np.testing.assert_allclose(scale, scale[0], rtol=1e-5)
        assert sum(w.numpy().sum() / w.numpy().size for _, _, w in group) == pytest.approx(len(group), rel=1e-4)


def test_batches_have_few_shapes_and_about_the_same_number_of_tokens():
    random = np.random.default_rng(0)
    rows = rows_of([(int(n), int(m)) for n, m in random.geometric(0.1, (3_000, 2)).clip(1, 29)])
    shapes = [inputs["token_ids"].shape for inputs, _, _ in rows.training_dataset(16, 2)]
    assert {shape[1] for shape in shapes} == {8, 16, 24, 31} and len(set(shapes)) <= 5
    tokens = np.array([shape[0] * shape[1] for shape in shapes])
    assert np.mean(np.abs(tokens - np.median(tokens)) > 0.1 * np.median(tokens)) < 0.02
    assert sum(shape[0] for shape in shapes) == 6_000 and len(shapes) == pytest.approx(6_000 / 16, rel=0.2)


def test_truncation():
    rows = SourceTargetRows([[1] * 5], [[2] * 40], START, max_length=31, num_tokens=[99])
    assert rows.num_truncated == 1 and rows.num_tokens.tolist() == [99] and rows.lengths.tolist() == [31]
    ((inputs, targets, _),) = rows.evaluation_dataset(1)[0]
    assert inputs["decoder_token_ids"].shape == (1, 31) and targets.numpy().tolist() == [[0] + [2] * 30]
    with pytest.raises(ValueError, match="a source has 32 tokens"):
        SourceTargetRows([[1] * 32], [[2]], START, 31)
    with pytest.raises(ValueError, match="no start tokens"):
        SourceTargetRows([[1]], [[2]], [], 31)
