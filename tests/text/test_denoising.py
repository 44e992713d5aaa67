import numpy as np
import pytest
import tensorflow as tf

from keras_plm.text import DenoisingRows, learn_sentence_pieces
from keras_plm.text.denoising import noised, num_spans, random_spans, removed

TEXTS = ["the quick brown fox jumps over the lazy dog", "a cat sat on the mat", "fox and cat and dog"] * 11
SENTINELS = [f"<extra_id_{i}>" for i in reversed(range(20))]
ROWS = 53


@pytest.fixture(scope="module")
def tokenizer():
    return learn_sentence_pieces(TEXTS, 80, SENTINELS, "<mask>")


@pytest.mark.parametrize(("length", "num_noise"), [(31, 5), (97, 29), (7, 6), (5, 1), (2, 1)])
@pytest.mark.parametrize("noise", ["spans", "infilling"])
def test_the_kept_and_the_removed_tokens_make_the_row(length, num_noise, noise):
    count = num_spans(length, num_noise, noise)
    rows = 1000 + np.arange(length)[None] + 1000 * np.arange(ROWS)[:, None]
    marks = np.arange(1, count + 1)
    spans = random_spans(tf.constant([3, 4], tf.int64), ROWS, length, num_noise, noise)
    shown, mask = noised(tf.constant(rows, tf.int32), spans, tf.constant(marks, tf.int32))
    shown = [row[seen > 0].tolist() for row, seen in zip(shown.numpy(), mask.numpy(), strict=True)]
    numbers = [[token for token in row if token <= count] for row in shown]
    assert all(row == list(range(1, len(row) + 1)) for row in numbers)
    assert all(b > count for row in shown for a, b in zip(row, row[1:], strict=False) if a <= count)  # never adjacent
    if noise == "spans":
        hidden = removed(tf.constant(rows, tf.int32), spans, tf.constant(marks, tf.int32)).numpy()
        assert hidden.shape == (ROWS, num_noise + count) and all(len(row) == count for row in numbers)
        for row, of_row, target in zip(rows, shown, hidden, strict=True):
            parts = {}
            for token in target:
                parts.setdefault(token, []) if token <= count else parts[list(parts)[-1]].append(token)
            assert list(parts) == numbers[0] and all(parts.values())
            assert [t for token in of_row for t in (parts[token] if token <= count else [token])] == row.tolist()
    else:
        for row, of_row in zip(rows, shown, strict=True):
            kept = [token for token in of_row if token > count]
            assert kept == sorted(set(kept)) and set(kept) <= set(row) and len(kept) >= length - num_noise
            assert len(of_row) <= length + 1


def test_the_lengths_and_places_of_spans_vary():
    spans = random_spans(tf.constant([0, 1], tf.int64), 4000, 100, 15, "spans")
    lengths = np.diff(spans.ends.numpy(), prepend=0)
    assert lengths.mean() == 3 and lengths.min() == 1 and lengths.max() > 7
    # each of the 86 places, from the begin to the end, is equally probable
    share = np.bincount(spans.gaps.numpy().ravel(), minlength=86) / spans.gaps.numpy().size
    assert len(share) == 86 and abs(share * 86 - 1).max() < 0.25
    poisson = random_spans(tf.constant([0, 1], tf.int64), 4000, 400, 120, "infilling")
    first = poisson.ends.numpy()[:, 0]
    assert first.mean() == pytest.approx(3, abs=0.1) and first.var() == pytest.approx(3, abs=0.2)
    again = random_spans(tf.constant([0, 1], tf.int64), 4000, 400, 120, "infilling")
    np.testing.assert_array_equal(again.gaps, poisson.gaps)


@pytest.mark.parametrize("noise", ["spans", "infilling"])
def test_batches_hold_the_corpus(tokenizer, noise):
    tokens = tokenizer(TEXTS).to_list()
    pad, end = tokenizer.pad_id, tokenizer.id("</s>")
    rows = DenoisingRows(tokens, tokenizer, [pad], [end], 23, noise, 0.3)
    joined = [token for text in tokens for token in [*text, end]]
    wanted = {tuple(joined[i : i + rows.length]) for i in range(0, rows.num_tokens, rows.length)}
    marks = {tokenizer.mask_id} if noise == "infilling" else {tokenizer.id(name) for name in SENTINELS}
    found = set()
    for inputs, targets, weights in rows.training_dataset(7, 2 * len(rows) // 7 + 2, seed=5):
        for name, value in inputs.items():
            assert value.shape[0] == 7 and value.shape[1] <= 23, name
        np.testing.assert_array_equal(inputs["decoder_token_ids"][:, 1:], targets[:, :-1])
        assert (inputs["decoder_token_ids"].numpy()[:, 0] == pad).all() and (weights.numpy() == 1).all()
        for source, mask, target in zip(inputs["token_ids"], inputs["padding_mask"], targets, strict=True):
            source, target = source.numpy()[mask.numpy() > 0].tolist(), target.numpy().tolist()
            assert source[-1] == target[-1] == end
            if noise == "infilling":
                found.add(tuple(target[:-1]))
                continue
            parts, last = {}, None
            for token in target[:-1]:
                if token in marks:
                    last = token
                parts.setdefault(last, []).append(token)
            found.add(tuple(t for token in source[:-1] for t in (parts[token][1:] if token in marks else [token])))
    assert found == wanted
    # a resumed training gets the same batches
    whole = list(rows.training_dataset(7, 5, seed=5))
    later = list(rows.training_dataset(7, 5, first_step=3, seed=5))
    tf.nest.map_structure(np.testing.assert_array_equal, whole[3:], later)


def test_what_the_vocabulary_and_the_corpus_lack_is_said(tokenizer):
    tokens = tokenizer(TEXTS).to_list()
    bare = learn_sentence_pieces(TEXTS, 60)
    with pytest.raises(ValueError, match="no sentinels such as <extra_id_0>: take"):
        DenoisingRows(bare(TEXTS).to_list(), bare, [0], [1], 23)
    with pytest.raises(ValueError, match="needs a vocabulary with a mask"):
        DenoisingRows(bare(TEXTS).to_list(), bare, [0], [1], 23, "infilling")
    with pytest.raises(
        ValueError, match=r"needs \d+ sentinels for rows of \d+ tokens, but the vocabulary has no <extra"
    ):
        DenoisingRows(tokens * 9, tokenizer, [0], [1], 199, rate=0.5)
    with pytest.raises(ValueError, match="noise='holes'; choose one of spans, infilling"):
        DenoisingRows(tokens, tokenizer, [0], [1], 23, "holes")
    with pytest.raises(ValueError, match="the texts have 0 tokens, but a row has"):
        DenoisingRows([], tokenizer, [0], [1], 23)


def test_sentinels_are_tokens_of_their_own(tokenizer):
    assert tokenizer.vocabulary[-21:] == [*SENTINELS, "<mask>"] and len(tokenizer) <= 80
    encoding = tokenizer.encode("the fox <extra_id_3> dog <mask>")
    assert "<extra_id_3>" in encoding.tokens and encoding.tokens[-1] == "<mask>"
    assert tokenizer.decode(encoding.token_ids) == "the fox dog <mask>"
