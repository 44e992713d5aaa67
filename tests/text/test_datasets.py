import numpy as np
import pytest

from keras_plm.text import (
    MaskedPairs,
    SentencePairs,
    TextRows,
    TokenizedCorpus,
    read_documents,
)


@pytest.fixture(scope="module")
def corpus(corpus_file, tokenizer):
    return TokenizedCorpus.from_documents(read_documents(corpus_file), tokenizer)


def documents_of(corpus):
    """The tokens of each document, as strings to search in."""
    starts = corpus.sentences[corpus.documents]
    return [corpus.tokens[a:b].tolist() for a, b in zip(starts[:-1], starts[1:], strict=True)]


def find(part, whole):
    return [i for i in range(len(whole) - len(part) + 1) if whole[i : i + len(part)] == part]


def test_pairs_come_from_where_their_label_says(corpus):
    pairs = SentencePairs(corpus, max_tokens=31)
    first, second, labels = pairs.draw(np.arange(len(pairs)), (3, 4))
    documents = documents_of(corpus)
    sentence_starts = set(corpus.sentences.tolist())
    for i, label in enumerate(labels.numpy()):
        a, b = int(first.starts[i]), int(second.starts[i])
        a_end, b_end = a + int(first.lengths[i]), b + int(second.lengths[i])
        assert {a, b, a_end, b_end} <= sentence_starts  # whole sentences
        owner = np.searchsorted(corpus.sentences[corpus.documents], [a, b], side="right")
        if label == 0:
            assert b == a_end and owner[0] == owner[1]
        else:
            assert owner[0] != owner[1]
        assert find(corpus.tokens[a:a_end].tolist(), documents[owner[0] - 1])


def test_labels_are_balanced_and_lengths_tell_nothing(corpus):
    pairs = SentencePairs(corpus, max_tokens=31)
    lengths, labels = [], []
    for seed in range(40):
        first, second, label = pairs.draw(np.arange(len(pairs)), (seed, 0))
        lengths.append(np.stack([first.lengths, second.lengths], 1))
        labels.append(label.numpy())
    lengths, labels = np.concatenate(lengths), np.concatenate(labels)
    assert abs(labels.mean() - 0.5) < 0.03
    for part in (0, 1):
        means = [lengths[labels == label, part].mean() for label in (0, 1)]
        assert abs(means[0] - means[1]) < 1.5  # of about 15 tokens


def test_a_single_document_gives_pairs_and_a_single_passage_an_error(tokenizer):
    corpus = TokenizedCorpus.from_documents([["The cat sees the dog."] * 9], tokenizer)
    pairs = SentencePairs(corpus, max_tokens=13)
    assert set(pairs.draw(np.arange(len(pairs)), (0, 0))[2].numpy()) == {0, 1}
    with pytest.raises(ValueError, match="too small for sentence pairs"):
        SentencePairs(corpus, max_tokens=1_000)


def test_long_sentences_are_cut_and_nothing_is_lost(tokenizer):
    documents = [["the cat sees", "", "the " * 23, "a dog"], [""], ["sees " * 10]]
    whole = TokenizedCorpus.from_documents(documents, tokenizer)
    cut = TokenizedCorpus.from_documents(documents, tokenizer).with_short_sentences(12)
    np.testing.assert_array_equal(cut.tokens, whole.tokens)
    first = len(tokenizer(["the cat sees"]).to_list()[0])
    assert np.diff(cut.sentences).tolist()[:5] == [first, 6, 6, 6, 5]  # of 23; the others fit a row
    assert np.diff(cut.sentences)[-1] == 10 and len(cut.documents) == len(whole.documents) == 3
    np.testing.assert_array_equal(cut.sentences[cut.documents], whole.sentences[whole.documents])


def test_a_batch_without_a_word_is_no_nan(tokenizer):
    corpus = TokenizedCorpus.from_documents([["[UNK]"] * 40, ["[UNK]"] * 40], tokenizer)
    _, _, weights = next(iter(MaskedPairs(SentencePairs(corpus, 13), tokenizer).training_dataset(3, 1)))
    assert np.asarray(weights["masked_tokens"]).sum() == 0


def test_every_passage_is_seen_once_an_epoch(corpus, tokenizer, monkeypatch):
    pairs = SentencePairs(corpus, max_tokens=31)
    seen = []
    draw = pairs.draw
    batches = -(-2 * len(pairs) // 7)

    def recording(index, seed):
        import tensorflow as tf

        tf.numpy_function(lambda i: seen.extend(i.tolist()), [index], [])
        return draw(index, seed)

    monkeypatch.setattr(pairs, "draw", recording)
    for _ in MaskedPairs(pairs, tokenizer).training_dataset(7, batches):
        pass
    # parallel calls may record out of order, so look at both epochs together
    counts = np.bincount(seen, minlength=len(pairs))
    assert counts.min() >= 2 and counts.sum() == 7 * batches


def test_resuming_is_arithmetic(corpus, tokenizer):
    pairs = SentencePairs(corpus, max_tokens=31)
    whole = list(MaskedPairs(pairs, tokenizer).training_dataset(5, 9, seed=3))
    rest = list(MaskedPairs(pairs, tokenizer).training_dataset(5, 9, first_step=6, seed=3))
    assert len(whole) == 9 and len(rest) == 3
    for (x, y, w), (x2, y2, w2) in zip(whole[6:], rest, strict=True):
        np.testing.assert_array_equal(x["token_ids"], x2["token_ids"])
        np.testing.assert_array_equal(y["masked_tokens"], y2["masked_tokens"])
        np.testing.assert_array_equal(w["masked_tokens"], w2["masked_tokens"])
    assert not np.array_equal(whole[0][0]["token_ids"], whole[1][0]["token_ids"])


def test_weights_average_one(corpus, tokenizer):
    pairs = SentencePairs(corpus, max_tokens=31)
    inputs, labels, weights = next(iter(MaskedPairs(pairs, tokenizer).training_dataset(5, 1)))
    assert inputs["token_ids"].shape == (5, 34) and labels["masked_tokens"].shape == (5, 6)
    np.testing.assert_allclose(np.mean(weights["masked_tokens"]), 1, rtol=1e-6)
    assert (weights["masked_tokens"].numpy() == 0).any()


TEXTS = ["cat " * n for n in (3, 1, 9, 2, 30, 5, 4)]


def test_training_batches(tokenizer):
    rows = TextRows.from_texts(tokenizer, TEXTS, targets=np.arange(7), max_length=16)
    assert rows.num_truncated == 1 and len(rows) == 7 and rows.num_steps(3) == 3
    batches = list(rows.training_dataset(batch_size=3, epochs=4))
    assert [len(y) for _, y in batches] == [3] * 12
    for epoch in range(4):
        seen = np.concatenate([y for _, y in batches[3 * epoch : 3 * epoch + 3]])
        assert set(seen) == set(range(7))
    orders = {tuple(np.concatenate([y for _, y in batches[3 * e : 3 * e + 3]])) for e in range(4)}
    assert len(orders) > 1
    again = list(rows.training_dataset(batch_size=3, epochs=4))
    for (x, y), (x2, y2) in zip(batches, again, strict=True):
        np.testing.assert_array_equal(y, y2)
        np.testing.assert_array_equal(x["token_ids"], x2["token_ids"])


def test_evaluation_sees_each_row_once(tokenizer):
    rows = TextRows.from_texts(tokenizer, TEXTS, targets=np.arange(7), max_length=16)
    dataset, order = rows.evaluation_dataset(batch_size=3)
    batches = list(dataset)
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), order)
    assert sorted(order) == list(range(7))
    for inputs, targets in batches:
        lengths = inputs["padding_mask"].numpy().sum(1)
        np.testing.assert_array_equal(lengths, [min(len(TEXTS[t].split()) + 2, 16) for t in targets.numpy()])


def test_pairs_from_inside_the_document(corpus):
    pairs = SentencePairs(corpus, max_tokens=13, inside_rate=1.0)
    first, second, labels = pairs.draw(np.arange(len(pairs)), (3, 4))
    borders = corpus.sentences[corpus.documents]
    owners = [np.searchsorted(borders, spans.starts.numpy(), side="right") for spans in (first, second)]
    several = np.asarray(pairs._own_count) > 1
    inside = owners[0] == owners[1]
    assert several.sum() > 30 and inside[several].all()
    follows = second.starts.numpy() == (first.starts + first.lengths).numpy()
    not_next = labels.numpy() == 1
    np.testing.assert_array_equal(follows, ~not_next)
    assert 0.3 < not_next.mean() < 0.6
