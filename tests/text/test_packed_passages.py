"""Several passages in a row: the rows, and that no passage changes what the model says of another."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import Pretrain
from keras_plm.tasks.packed_pretraining import PackedPretrainer
from keras_plm.text import Epochs, MaskedPairs, PackedPassages, SentencePairs, TokenizedCorpus, read_documents

CONFIG = replace(plm.TINY, num_layers=2, hidden_dim=24, intermediate_dim=36, num_heads=3, max_sequence_length=64)


@pytest.fixture(scope="module")
def pairs(corpus_file, tokenizer):
    """Documents of one sentence, in rows of 64 tokens."""
    corpus = TokenizedCorpus.from_documents([[s] for d in read_documents(corpus_file) for s in d], tokenizer)
    return SentencePairs(corpus, 61)


@pytest.fixture(scope="module", params=[True, False], ids=["pairs", "texts"])
def rows(request, pairs, tokenizer):
    return PackedPassages(pairs, tokenizer, next_sentence=request.param)


def test_rows_are_full(rows):
    batch, _, weights = next(iter(rows.training_dataset(5, 3)))
    numbers, positions = batch["padding_mask"].numpy(), batch["position_ids"].numpy()
    assert numbers.shape == (5, 64) and numbers.max() > 1
    for row, places, starts in zip(numbers, positions, batch["first_positions"].numpy(), strict=True):
        count = row.max()
        assert row[row > 0].tolist() == sorted(row[row > 0]) and set(row[row > 0]) == set(range(1, count + 1))
        assert (row[(row > 0).sum() :] == 0).all()  # padding is at the end
        for number in range(1, count + 1):
            assert places[row == number].tolist() == list(range((row == number).sum()))
            assert starts[number - 1] == np.flatnonzero(row == number)[0]
    first = np.take_along_axis(batch["token_ids"].numpy(), batch["first_positions"].numpy(), 1)
    assert (first == rows.tokenizer.id("[CLS]")).all()
    assert rows.share_of_padding() < 0.15 < rows.share_of_padding(packed=False)
    if rows.next_sentence:
        assert weights["next_sentence"].numpy().mean() == pytest.approx(1)
        assert ((weights["next_sentence"].numpy() > 0).sum(1) == numbers.max(1)).all()
    assert weights["masked_tokens"].numpy().mean() == pytest.approx(1)


def test_each_passage_is_in_one_row(rows):
    passages, packed = rows._packed(3)
    assert sorted(number for row in packed for number in row) == list(range(len(rows.pairs)))
    sizes = rows._sizes(passages)
    assert all(sizes[row].sum() <= rows.length for row in packed)


def test_each_batch_is_a_function_of_the_step(rows):
    def batches(rows, first=0, seed=2):
        return [
            {name: value.numpy().tolist() for name, value in inputs.items()}
            for inputs, _, _ in rows.training_dataset(8, 30, first, seed)
        ]

    whole = batches(rows)
    assert batches(rows, 11) == whole[11:] and batches(rows, seed=1) != whole
    epochs = Epochs(rows)
    whole = batches(epochs)
    assert -(-len(rows) // 8) < 25
    for first in (1, 24, 29):
        assert batches(epochs, first) == whole[first:]


@pytest.mark.parametrize("changes", [{}, {"normalize_first": True, "has_pooler": False}])
def test_no_passage_changes_what_the_model_says_of_another(rows, tokenizer, changes):
    keras.utils.set_random_seed(1)
    config = replace(CONFIG, vocabulary_size=len(tokenizer), **changes)
    model = plm.Pretrainer(config, tokenizer, next_sentence=rows.next_sentence)
    packed = PackedPretrainer(model)
    inputs, _, _ = next(iter(rows.training_dataset(3, 1)))
    inputs = {name: value.numpy() for name, value in inputs.items()}
    found = {name: np.array(value) for name, value in packed(inputs).items()}
    compared = 0
    for row in range(3):
        for number in range(1, inputs["padding_mask"][row].max() + 1):
            inside = inputs["padding_mask"][row] == number
            start, size = np.flatnonzero(inside)[0], inside.sum()
            masked = [
                i for i, place in enumerate(inputs["mask_positions"][row]) if place and start <= place < start + size
            ]
            alone = {name: inputs[name][row, inside][None] for name in ("token_ids", "segment_ids")}
            alone["padding_mask"] = np.ones((1, size), "int32")
            alone["mask_positions"] = inputs["mask_positions"][row, masked][None] - start
            wanted = model(alone)
            np.testing.assert_allclose(
                found["masked_tokens"][row, masked], np.array(wanted["masked_tokens"])[0], atol=1e-5
            )
            if rows.next_sentence:
                np.testing.assert_allclose(
                    found["next_sentence"][row, number - 1], np.array(wanted["next_sentence"])[0], atol=1e-5
                )
            compared += 1
        # and the other way round: other tokens in a passage change nothing elsewhere in the row
        changed = {name: value.copy() for name, value in inputs.items()}
        last = inputs["padding_mask"][row] == inputs["padding_mask"][row].max()
        changed["token_ids"][row, last] = tokenizer.id("the")
        again = np.array(packed(changed)["masked_tokens"])[row]
        kept = [i for i, place in enumerate(inputs["mask_positions"][row]) if place and not last[place]]
        np.testing.assert_array_equal(again[kept], found["masked_tokens"][row, kept])
    assert compared >= 6


def test_single_texts_have_one_segment(pairs, tokenizer):
    inputs, labels, _ = next(iter(MaskedPairs(pairs, tokenizer, next_sentence=False).training_dataset(7, 1)))
    assert inputs["segment_ids"].numpy().max() == 0 and set(labels) == {"masked_tokens"}
    assert (inputs["token_ids"].numpy() == tokenizer.id("[SEP]")).sum() == 7


@pytest.mark.parametrize("next_sentence", [True, False])
def test_a_pre_training_on_packed_rows(corpus_file, tmp_path, next_sentence):
    fields = {
        "corpus": corpus_file, "validation": corpus_file, "config": replace(CONFIG, dropout=0.0, attention_dropout=0.0),
        "steps": 40, "checkpoint_every": 20, "validation_steps": 3, "batch_size": 4, "max_length": 64,
        "vocabulary_size": 97, "learning_rate": 5e-3, "precision": "float32", "verbose": 0, "pack": True,
        "next_sentence": next_sentence,
    }  # fmt: skip
    model = Pretrain(**fields, save_to=str(tmp_path / "m")).run()
    assert isinstance(model, plm.Pretrainer) and model.next_sentence == next_sentence
    card = (tmp_path / "m" / "README.md").read_text()
    assert "padding in the rows" in card and ("next_sentence_accuracy" in card) == next_sentence
    rows = [line.split(",") for line in (tmp_path / "m" / "history.csv").read_text().split()]
    losses = [float(row[rows[0].index("val_masked_tokens_loss" if next_sentence else "val_loss")]) for row in rows[1:]]
    assert losses[1] < losses[0]
    reloaded = plm.load(tmp_path / "m")
    assert len(reloaded.get_weights()) == len(model.get_weights())
