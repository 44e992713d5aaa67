import numpy as np
import pytest
import tensorflow as tf

from keras_plm import WordPieceTokenizer
from keras_plm.text import SPECIAL_TOKENS, Spans, mask_tokens, pack

TOKENIZER = WordPieceTokenizer([*SPECIAL_TOKENS, "the", "cat", "sat", "it", "ran", "##s", "##ning"])


def spans(*texts):
    return Spans.from_ragged(TOKENIZER(texts))


def pieces(ids):
    return [TOKENIZER.vocabulary[i] for i in ids]


def test_pack_pair_as_in_the_docstring():
    packed = pack(TOKENIZER, spans("the cat sat"), spans("it ran"), max_length=9, pad_to=9)
    assert pieces(packed["token_ids"][0]) == ["[CLS]", "the", "cat", "sat", "[SEP]", "it", "ran", "[SEP]", "[PAD]"]
    assert packed["segment_ids"][0].numpy().tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 0]
    assert packed["padding_mask"][0].numpy().tolist() == [1] * 8 + [0]


def test_pack_singles_and_empty_texts():
    packed = pack(TOKENIZER, spans("the cat", "", "it ran ran"), max_length=7)
    rows = [pieces(row) for row in packed["token_ids"].numpy()]
    assert rows[0] == ["[CLS]", "the", "cat", "[SEP]", "[PAD]", "[PAD]", "[PAD]"]
    assert rows[1] == ["[CLS]", "[SEP]", "[PAD]", "[PAD]", "[PAD]", "[PAD]", "[PAD]"]
    only_empty = pack(TOKENIZER, spans(""), spans(""), max_length=5)
    assert pieces(only_empty["token_ids"][0])[:3] == ["[CLS]", "[SEP]", "[SEP]"]


@pytest.mark.parametrize(
    "first,second,kept",
    [(2, 3, (2, 3)), (9, 2, (5, 2)), (2, 9, (2, 5)), (9, 9, (4, 3)), (4, 4, (4, 3))],
)
def test_the_longer_half_loses_its_end(first, second, kept):
    packed = pack(TOKENIZER, spans("cat " * first), spans("ran " * second), max_length=10)
    row = pieces(packed["token_ids"][0].numpy())
    assert (row.count("cat"), row.count("ran")) == kept
    assert len(row) <= 10 and row.count("[SEP]") == 2


def test_length_is_rounded_up_but_not_above_the_limit():
    for words, width in [(1, 4), (3, 8), (30, 32), (31, 40), (46, 48)]:
        assert pack(TOKENIZER, spans("cat " * words), max_length=64)["token_ids"].shape == (1, width)
    assert pack(TOKENIZER, spans("cat " * 11), max_length=13)["token_ids"].shape == (1, 13)
    with pytest.raises(ValueError, match="max_length=2 leaves no room"):
        pack(TOKENIZER, spans("cat"), max_length=2)


def masked(rate=0.15, seed=(0, 1), num_positions=6, whole_word=True, copies=1):
    texts = ["the cats running sat it ran"] * copies
    packed = pack(TOKENIZER, spans(*texts), max_length=16, pad_to=16)
    inputs, labels, weights = mask_tokens(TOKENIZER, packed, tf.constant(seed), num_positions, rate, whole_word)
    return packed, inputs, labels.numpy(), weights.numpy()


def test_labels_are_what_stood_at_the_positions():
    packed, inputs, labels, weights = masked(rate=0.5, copies=50)
    ids, positions = packed["token_ids"].numpy(), inputs["mask_positions"].numpy()
    for row in range(50):
        used = weights[row] > 0
        count = used.sum()
        assert used[:count].all() and 1 <= count <= 5  # 10 real tokens, half of them
        assert (np.diff(positions[row][used]) > 0).all()
        np.testing.assert_array_equal(labels[row][used], ids[row][positions[row][used]])
        assert (labels[row][~used] == TOKENIZER.pad_id).all()
        assert not set(labels[row][used]) & set(TOKENIZER.special_ids)
        untouched = np.setdiff1d(np.arange(16), positions[row][used])
        np.testing.assert_array_equal(inputs["token_ids"].numpy()[row][untouched], ids[row][untouched])


def test_words_are_masked_whole():
    _, inputs, _, weights = masked(rate=0.3, copies=200)
    # tokens: 0 [CLS] 1 the 2 cat 3 ##s 4 [UNK] (running) …; "cats" is positions 2 and 3
    for positions, used in zip(inputs["mask_positions"].numpy(), weights > 0, strict=True):
        assert (2 in positions[used]) == (3 in positions[used])


def test_80_10_10_and_the_rate():
    packed, inputs, labels, weights = masked(rate=0.15, copies=4_000, whole_word=False)
    used = weights > 0
    assert used.sum(1).min() == used.sum(1).max() == 1  # round(9 · 0.15)
    shown = np.take_along_axis(inputs["token_ids"].numpy(), inputs["mask_positions"].numpy(), axis=1)[used]
    kept = shown == labels[used]
    mask = shown == TOKENIZER.mask_id
    # of 4,000 draws the standard deviation is 0.006; a random token is [MASK] or the right one in 2 of 12
    assert abs(mask.mean() - (0.8 + 0.1 / 12)) < 0.025
    assert abs(kept.mean() - (0.1 + 0.1 / 12)) < 0.02
    others = np.bincount(shown[~kept & ~mask], minlength=len(TOKENIZER))
    drawn = np.delete(others, TOKENIZER.mask_id)
    assert others[TOKENIZER.mask_id] == 0 and drawn.min() > 0.5 * drawn.mean()  # each token as often as any


def test_equal_seeds_give_equal_masks_also_in_a_graph():
    first, again, other = masked(rate=0.5), masked(rate=0.5), masked(rate=0.5, seed=(0, 2))
    np.testing.assert_array_equal(first[1]["token_ids"], again[1]["token_ids"])
    assert not np.array_equal(first[1]["mask_positions"], other[1]["mask_positions"])
    packed = first[0]
    graph = tf.data.Dataset.from_tensors(packed).map(lambda p: mask_tokens(TOKENIZER, p, tf.constant((0, 1)), 6, 0.5))
    np.testing.assert_array_equal(next(iter(graph))[0]["token_ids"], first[1]["token_ids"])


def test_a_row_without_ordinary_tokens_has_no_weights():
    packed = pack(TOKENIZER, spans("", "cat"), max_length=8, pad_to=8)
    _, _, weights = mask_tokens(TOKENIZER, packed, tf.constant((0, 1)), 3)
    np.testing.assert_array_equal(weights.numpy().sum(1), [0, 1])
