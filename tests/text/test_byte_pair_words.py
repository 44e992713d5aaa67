"""Each rule that cuts words beside the one of the `tokenizers` library, on texts that are hard to cut."""

from typing import get_args

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Theirs

from keras_plm.checkpoints.tokenizer_reader import read_tokenizer
from keras_plm.checkpoints.tokenizer_writer import write_tokenizer
from keras_plm.text import SpecialTokens, Template
from keras_plm.text.byte_pair import BYTE_CHARACTERS, BytePairTokenizer
from keras_plm.text.byte_pair_words import WordRule, split_words

END = "<|endoftext|>"
RULES = get_args(WordRule)
TEXTS = [
    "It's 2031, and they'LL've 1,234,567.89 of them!",
    "  two  spaces   three\n\nand\tlines \n ",
    "a   5 b  \n\n  c\r\n\r\nd \t\n  9",
    "x = [1,2];  // ok?\n\treturn  'y';\n",
    "中国 is big。也许，不 ½ x² \u0939\u093f ٣٤",
    "\xa0no-break\u3000wide \u2028line\x85end",
    "",
    " ",
    "end ",
]


def tokenizer(rule, **changes):
    special = SpecialTokens(pad=None, unk=None, cls=None, sep=None, mask=None, bos=END, eos=END)
    merges = ["Ġ t", "h e", "Ġt he", "Ġ Ġ", "1 2", "Ċ Ċ"]
    vocabulary = [*BYTE_CHARACTERS, *(merge.replace(" ", "") for merge in merges), END]
    return BytePairTokenizer(vocabulary, merges, special, template=Template("A", None), words=rule, **changes)


def pre_tokenized(folder, rule):
    write_tokenizer(tokenizer(rule), folder, 99)
    return Theirs.from_file(str(folder / "tokenizer.json"))


def our_words(rule, text):
    return [word.decode() for word in split_words(tf.constant([text]), rule)[0].numpy()]


def their_words(reference, text):
    return [text[start:end] for _, (start, end) in reference.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize("rule", RULES)
def test_words_are_those_of_hugging_face(rule, tmp_path):
    reference = pre_tokenized(tmp_path, rule)
    for text in TEXTS:
        assert our_words(rule, text) == their_words(reference, text), text

    @settings(deadline=None, max_examples=150, derandomize=True)
    @given(st.text("ab'1٣ \t\n\r.,-é中\u3000\xa0\u2028sL", max_size=14))
    def any_text(text):
        assert our_words(rule, text) == their_words(reference, text)

    any_text()


@pytest.mark.parametrize("rule", RULES)
def test_a_decoders_tokenizer_goes_to_their_files_and_back(rule, tmp_path):
    ours, reference = tokenizer(rule), pre_tokenized(tmp_path, rule)
    back = read_tokenizer(tmp_path, causal=True)
    assert back.settings() == ours.settings() and back.vocabulary == ours.vocabulary and back.merges == ours.merges
    for text in (*TEXTS, f"the end{END} the"):
        encoding = ours.encode(text)
        assert (
            encoding.token_ids == reference.encode(text).ids == back.encode(text).token_ids == ours([text]).to_list()[0]
        )
        assert ours.decode(encoding.token_ids) == text.replace(END, "")


def test_rules_make_a_difference():
    assert len({tuple(our_words(rule, "It'S  1234")) for rule in RULES}) == 4
    with pytest.raises(ValueError, match="words='gpt4'; choose one of gpt2, smollm, qwen2, llama3"):
        tokenizer("gpt4")


def test_a_decoder_without_an_end_is_refused(tmp_path):
    ours = tokenizer("gpt2")
    for name, content in ours.files().items():
        (tmp_path / name).write_bytes(content.replace(END.encode(), b"<|no|>"))
    with pytest.raises(ValueError, match="no file names the token that ends a text"):
        read_tokenizer(tmp_path, causal=True)


def test_the_files_of_gpt2_alone(tmp_path):
    ours = tokenizer("gpt2")
    for name, content in ours.files().items():
        (tmp_path / name).write_bytes(content)
    found = read_tokenizer(tmp_path, causal=True)
    assert found.settings() == ours.settings()
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": true, "tokenizer_class": "GPT2Tokenizer"}')
    assert read_tokenizer(tmp_path, causal=True).template == Template("bos A", None)


COMPOSED = ["e\u0301te\u0301 cafe\u0301s", "Å \u212b A\u030a", "각 \u1100\u1161\u11a8", "a\u0323\u0307 x", *TEXTS]


@pytest.mark.parametrize("rule", ["qwen2", "llama3"])
def test_nfc_and_whole_words_are_those_of_hugging_face(rule, tmp_path):
    special = SpecialTokens(pad=None, unk=None, cls=None, sep=None, mask=None, bos=END, eos=END)
    vocabulary = [*BYTE_CHARACTERS, "he", "Ġthe", "Ġof", "they", "123", END]  # no merges make Ġthe, Ġof, they, 123
    options = {"template": Template("A", None), "words": rule, "nfc": True, "ignore_merges": True}
    ours = BytePairTokenizer(vocabulary, ["h e"], special, **options)
    write_tokenizer(ours, tmp_path, 99)
    reference, back = Theirs.from_file(str(tmp_path / "tokenizer.json")), read_tokenizer(tmp_path, causal=True)
    assert back.settings() == ours.settings()
    for text in COMPOSED:
        encoding, wanted = ours.encode(text), reference.encode(text)
        assert encoding.token_ids == wanted.ids == ours([text]).to_list()[0] == back.encode(text).token_ids, text
        # each token is a part of the text that it stands for; those of one character share it
        assert all(0 <= a <= b <= len(text) for a, b in zip(encoding.starts, encoding.ends, strict=True))
    assert "Ġof" in ours.encode("one of they").tokens
    plain = BytePairTokenizer(vocabulary, ["h e"], special, **options | {"nfc": False, "ignore_merges": False})
    assert plain.encode(COMPOSED[0]).token_ids != ours.encode(COMPOSED[0]).token_ids


def test_offsets_of_composed_characters():
    special = SpecialTokens(pad=None, unk=None, cls=None, sep=None, mask=None, bos=END, eos=END)
    ours = BytePairTokenizer([*BYTE_CHARACTERS, END], [], special, template=Template("A", None), nfc=True)
    encoding = ours.encode("xe\u0301y")
    # x, the two bytes of é, which is two characters here, y
    assert list(zip(encoding.starts, encoding.ends, strict=True)) == [(0, 1), (1, 3), (1, 3), (3, 4)]
