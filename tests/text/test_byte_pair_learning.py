import pytest
from tokenizers import Tokenizer as Theirs
from tokenizers import models, pre_tokenizers, trainers

from keras_plm.text.byte_pair import BYTE_CHARACTERS
from keras_plm.text.byte_pair_learning import END_OF_TEXT, learn_byte_pairs

TEXTS = [
    "It was the best of times, it was the worst of times, it was the age of wisdom,",
    "it was the age of foolishness, it was the epoch of belief, it was the epoch of incredulity,",
    "in the year 1775: «Über den Wolken» 中国 — naïve café, naïve café!\n\nit was the season of Light",
] * 3


def test_texts_come_back_and_get_shorter():
    tokenizer = learn_byte_pairs(TEXTS, size=320)
    assert len(tokenizer) == 320 and tokenizer.vocabulary[-1] == END_OF_TEXT
    for text in TEXTS:
        ids = tokenizer.encode(text).token_ids
        assert tokenizer.decode(ids) == text and len(ids) < 0.7 * len(text.encode())
    assert "Ġwas" in tokenizer.vocabulary and tokenizer.special.eos == tokenizer.special.bos == END_OF_TEXT


def test_as_many_tokens_as_the_learner_of_hugging_face():
    """Pairs with equal counts may be merged in another order: the texts are about as long."""
    theirs = Theirs(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=399, min_frequency=2, initial_alphabet=list(BYTE_CHARACTERS), show_progress=False
    )
    theirs.train_from_iterator(TEXTS, trainer)
    ours = learn_byte_pairs(TEXTS, size=400)
    lengths = [(len(ours.encode(text).token_ids), len(theirs.encode(text).ids)) for text in TEXTS]
    assert abs(sum(a - b for a, b in lengths)) <= 0.02 * sum(b for _, b in lengths)


def test_the_same_whatever_the_order_of_texts():
    assert learn_byte_pairs(TEXTS, 300).merges == learn_byte_pairs(TEXTS[::-1], 300).merges


def test_a_rule_of_words_is_kept():
    tokenizer = learn_byte_pairs(["1234 1234 1234"] * 3, 270, words="smollm")
    assert tokenizer.words == "smollm" and len(tokenizer.encode("1234").token_ids) == 4
    assert len(learn_byte_pairs(["1234 1234 1234"] * 3, 270).encode("1234").token_ids) < 4


def test_errors():
    with pytest.raises(ValueError, match="size=256; the 256 bytes"):
        learn_byte_pairs(TEXTS, 256)
    with pytest.raises(ValueError, match="the corpus is empty"):
        learn_byte_pairs([""], 300)
