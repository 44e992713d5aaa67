import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_plm import WordPieceTokenizer
from keras_plm.text import SPECIAL_TOKENS, learn_vocabulary, read_vocabulary, split_words

VOCABULARY = [
    *SPECIAL_TOKENS,
    "un",
    "##aff",
    "##able",
    "cafe",
    "##s",
    ",",
    "中",
    "国",
    "x",
    "runn",
    "##ing",
]
TOKENIZER = WordPieceTokenizer(VOCABULARY)
CONTROLS = WordPieceTokenizer([*SPECIAL_TOKENS, *"abe中", *(f"##{c}" for c in "abe")])


def test_the_example_of_the_bert_paper():
    assert TOKENIZER.encode("unaffable").tokens == ["un", "##aff", "##able"]
    assert TOKENIZER.encode("UNaffable running").tokens == [
        "un",
        "##aff",
        "##able",
        "runn",
        "##ing",
    ]


def test_offsets_are_characters_of_the_original():
    text = "Cafés, 中国 [MASK]\tunaffable 🎉x"
    encoding = TOKENIZER.encode(text)
    parts = [text[s:e] for s, e in zip(encoding.starts, encoding.ends, strict=True)]
    assert parts == ["Café", "s", ",", "中", "国", "[MASK]", "un", "aff", "able", "🎉x"]
    assert encoding.tokens[5] == "[MASK]" and encoding.tokens[9] == "[UNK]"
    assert encoding.token_ids == TOKENIZER([text]).to_list()[0]


def test_literal_special_tokens():
    for token in SPECIAL_TOKENS:
        assert TOKENIZER.encode(f"x{token}x").tokens == ["x", token, "x"]
        assert TOKENIZER.encode(f"x{token}x").ends == [1, 1 + len(token), 2 + len(token)]
    # lower case, and brackets around other words, are ordinary text
    assert "[MASK]" not in TOKENIZER.encode("[mask] [MASKED] MASK").tokens


def test_batch_graph_and_dataset_agree():
    texts = ["unaffable cafés", "", "中国 [SEP] x"]
    eager = TOKENIZER(texts).to_list()
    graph = tf.function(TOKENIZER)(tf.constant(texts)).to_list()
    mapped = [
        row for batch in tf.data.Dataset.from_tensor_slices(texts).batch(2).map(TOKENIZER) for row in batch.to_list()
    ]
    assert eager == graph == mapped == [TOKENIZER.encode(t).token_ids for t in texts]


def test_cased():
    cased = WordPieceTokenizer([*SPECIAL_TOKENS, "Café", "cafe"], lowercase=False)
    assert cased.encode("Café cafe CAFE").tokens == ["Café", "cafe", "[UNK]"]


def test_decode():
    assert TOKENIZER.decode(TOKENIZER.encode("unaffable, cafés 中国").token_ids) == "unaffable , cafes 中 国"
    with pytest.raises(ValueError, match="token id 99 is outside"):
        TOKENIZER.decode([99])


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=40))
def test_offsets_hold_for_any_text(text):
    encoding = TOKENIZER.encode(text)
    last = 0
    for token, start, end in zip(encoding.tokens, encoding.starts, encoding.ends, strict=True):
        assert last <= start < end <= len(text)
        last = start if token == "[UNK]" else end
        if token.isascii() and token not in SPECIAL_TOKENS and text[start:end].isascii():
            assert text[start:end].lower() == token.removeprefix("##")


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab \0\1\x07é中\ufffd\u200d", max_size=12))
def test_control_characters_are_the_same_in_a_graph(text):
    assert CONTROLS([text]).to_list()[0] == CONTROLS.encode(text).token_ids


def test_one_text_is_no_list_of_letters():
    for call in (TOKENIZER, TOKENIZER.encode_batch, split_words):
        with pytest.raises(ValueError, match="pass a list of texts, not one string"):
            call("the cat")


def test_vocabulary_file_round_trip(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(TOKENIZER.files()["vocab.txt"])
    assert read_vocabulary(tmp_path / "vocab.txt") == VOCABULARY
    (tmp_path / "bad.txt").write_text("[PAD]\n[UNK]\nx\nx\n")
    with pytest.raises(ValueError, match=r"bad.txt: the vocabulary has no \[CLS\], \[SEP\], \[MASK\]"):
        WordPieceTokenizer.from_file(tmp_path / "bad.txt")
    with pytest.raises(ValueError, match="tokens twice"):
        WordPieceTokenizer([*VOCABULARY, "un"])


def test_learning_by_hand():
    # o-w occurs 3 + 3 + 3 = 9 times; then l-ow inside a word 3, at its start 6; e-s and es-t 6 each
    words = ["low"] * 3 + ["lowest"] * 3 + ["newest"] * 3 + ["slow"] * 3
    learned = learn_vocabulary([" ".join(words)], size=30)
    merges = [p for p in learned[5:] if len(p.removeprefix("##")) > 1]
    assert merges[0] == "##ow" and "##est" in merges and "low" in merges
    tokenizer = WordPieceTokenizer(learned)
    assert "[UNK]" not in tokenizer.encode("lowest new slow").tokens


def test_learning_is_deterministic_and_bounded(corpus_file):
    from keras_plm.text import read_documents

    sentences = [s for d in read_documents(corpus_file) for s in d]
    assert learn_vocabulary(sentences, 71) == learn_vocabulary(list(reversed(sentences)), 71)
    assert len(learn_vocabulary(sentences, 71)) == 71
    with pytest.raises(ValueError, match="size=7 is smaller than the"):
        learn_vocabulary(sentences, 7)
    with pytest.raises(ValueError, match="the corpus is empty"):
        learn_vocabulary([" "], 71)


def test_chinese():
    learned = learn_vocabulary(["我爱北京。北京很大。"] * 2, size=40)
    tokenizer = WordPieceTokenizer(learned)
    assert tokenizer.encode("北京大").tokens == ["北", "京", "大"]
    np.testing.assert_array_equal(tokenizer.encode("我爱。").ends, [1, 2, 3])


def test_stand_ins_of_special_tokens_are_unknown_in_a_text(tokenizer):
    """Code points that stand in for special tokens inside the tokenizer are nothing of that kind outside."""
    unknown, cat = tokenizer.unk_id, tokenizer.id("cat")
    for code in range(0xFAF0, 0xFAF6):
        text = f"cat {chr(code)} cat"
        assert tokenizer([text]).to_list() == [[cat, unknown, cat]]
        encoding = tokenizer.encode(text)
        assert encoding.token_ids == [cat, unknown, cat] and encoding.starts == [0, 4, 6]
    mixed = "cat \ufaf3 [MASK]"
    assert tokenizer([mixed]).to_list()[0] == tokenizer.encode(mixed).token_ids == [cat, unknown, tokenizer.mask_id]
