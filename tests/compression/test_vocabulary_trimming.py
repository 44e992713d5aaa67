from dataclasses import replace

import keras
import numpy as np
import pytest
from checkpoints.small_folders import byte_pair, sentence_piece, word_piece
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_plm as plm
from keras_plm.compression import trim_vocabulary
from keras_plm.models import named_weights
from keras_plm.text import Spans, pack
from keras_plm.text.byte_pair import ROBERTA_TOKENS
from keras_plm.text.sentence_piece import ALBERT_TOKENS

KINDS = {
    "word token": word_piece(),
    "byte pair": byte_pair(),
    "unigram": sentence_piece(ROBERTA_TOKENS, ["<s>", "<pad>", "</s>", "<unk>"]),
    "albert": sentence_piece(ALBERT_TOKENS, ["<pad>", "<unk>", "[CLS]", "[SEP]"]),
}
TEXTS = ["the quiet film's end, I'm sure", "a naïve café", "中国 is big", "two  spaces, 1,000.50 — ``quoted''", "🎉 x²"]


def trimmed(tokenizer, texts, min_count=1):
    counts = np.bincount(tokenizer(texts).flat_values, minlength=len(tokenizer))
    return tokenizer.subset(tokenizer.needed(counts, min_count))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(texts=st.lists(st.sampled_from(TEXTS) | st.text(max_size=20), min_size=1, max_size=4))
def test_its_own_texts_are_cut_as_before(kind, texts):
    tokenizer = KINDS[kind]
    small = trimmed(tokenizer, texts)
    assert len(small) <= len(tokenizer)
    for ours, wanted in zip(small.encode_batch(texts), tokenizer.encode_batch(texts), strict=True):
        assert (ours.tokens, ours.starts, ours.ends) == (wanted.tokens, wanted.starts, wanted.ends)
    assert small(texts).to_list() == [encoding.token_ids for encoding in small.encode_batch(texts)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_never_seen_is_spelled(kind):
    tokenizer = KINDS[kind]
    small = trimmed(tokenizer, ["zzz"])
    assert len(small) < len(tokenizer)
    ids = small.encode("quiet film, end").token_ids
    assert small.unk_id not in ids
    assert small.decode(ids).replace(" ", "") == tokenizer.decode(
        tokenizer.encode("quiet film, end").token_ids
    ).replace(" ", "")


def test_rare_pieces_go_when_told(tokenizer):
    texts = ["the cat sees"] * 3 + ["the heron"]
    often, all_of_them = (trimmed(tokenizer, texts, least) for least in (2, 1))
    assert len(often) < len(all_of_them)
    assert "cat" in often.vocabulary and "heron" not in often.vocabulary
    assert "".join(often.encode("heron").tokens).replace("##", "") == "heron"


@pytest.mark.parametrize("kind", ["Classifier", "Pretrainer"])
def test_the_model_answers_as_before(kind, config, tokenizer, tmp_path):
    config = replace(config, vocabulary_size=len(tokenizer) + 3)  # a table may be larger than the vocabulary
    settings = {"labels": ["bad", "good"]} if kind == "Classifier" else {}
    model = getattr(plm, kind)(config, **settings, tokenizer=tokenizer)
    texts = ["the cat sees the heron, unafraid.", "a fox [MASK]"]
    small = trim_vocabulary(model, texts)
    assert len(small.tokenizer) == small.config.vocabulary_size < len(tokenizer)
    assert small.count_params() < model.count_params()
    plm.save(small, tmp_path / "small")
    again = plm.load(tmp_path / "small")
    if kind == "Classifier":
        np.testing.assert_allclose(again.predict_logits(texts), model.predict_logits(texts), atol=1e-6)
        return
    batches = [pack(one.tokenizer, Spans.from_ragged(one.tokenizer(texts)), None, 16) for one in (again, model)]
    ours, theirs = (
        one({**b, "mask_positions": keras.ops.array([[2], [3]])})
        for one, b in zip((again, model), batches, strict=True)
    )
    kept = [tokenizer.id(piece) for piece in again.tokenizer.vocabulary]
    wanted = theirs["masked_tokens"].numpy()[..., kept]
    np.testing.assert_allclose(ours["masked_tokens"], wanted, atol=1e-6)
    table = named_weights(model)["embedding/tokens"].numpy()
    np.testing.assert_array_equal(named_weights(again)["embedding/tokens"], table[kept])


@pytest.mark.parametrize(
    "texts,min_count,words", [([], 1, "no text"), (["", " "], 1, "no text"), (["a"], 0, "min_count=0")]
)
def test_errors(classifier, texts, min_count, words):
    with pytest.raises(ValueError, match=words):
        trim_vocabulary(classifier, texts, min_count)


def test_a_model_without_tokenizer(config):
    with pytest.raises(ValueError, match="no tokenizer"):
        trim_vocabulary(plm.Encoder(config), ["a"])
