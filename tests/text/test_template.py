"""How texts become rows: templates, against rows that are put together one by one."""

import json

import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm.checkpoints.tokenizer_reader import read_tokenizer
from keras_plm.checkpoints.tokenizer_writer import write_tokenizer
from keras_plm.text import BERT_TEMPLATE, ROBERTA_TEMPLATE, Spans, SpecialTokens, Template, mask_tokens, pack

VOCABULARY = ["<pad>", "<unk>", "<s>", "</s>", "<m>", *"abcdefghij", *(f"##{c}" for c in "abcdefghij")]
SPECIAL = SpecialTokens(pad="<pad>", unk="<unk>", cls=None, sep=None, mask=None, bos="<s>", eos="</s>")
TEMPLATES = [
    Template("A eos", "A eos B eos"),  # T5
    Template("bos A", None),  # Llama
    Template("bos bos A:2 eos", "A B:1"),
]


def make(template):
    return plm.WordPieceTokenizer(VOCABULARY, special=SPECIAL, template=template)


def by_hand(tokenizer, words, texts, length):
    """One row: tokens, segments."""
    ids, segments = [], []
    for word in words.split():
        name, _, segment = word.partition(":")
        part = texts[name] if name in texts else [tokenizer.role_id(name)]
        ids += part
        segments += [int(segment or 0)] * len(part)
    padding = length - len(ids)
    return ids + [tokenizer.pad_id] * padding, segments + [0] * padding, [1] * len(ids) + [0] * padding


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("pair", [False, True])
def test_rows_are_those_by_hand(template, pair):
    tokenizer, random = make(template), np.random.default_rng(3)
    rows = [[list(random.integers(5, 25, random.integers(0, 7))) for _ in range(5)] for _ in "AB"]
    first, second = (Spans.from_ragged(tf.ragged.constant(part, dtype="int32")) for part in rows)
    if pair and template.pair is None:
        with pytest.raises(ValueError, match="has no pairs"):
            pack(tokenizer, first, second, 17, 17)
        return
    packed = pack(tokenizer, first, second if pair else None, 17, 17)
    words = template.pair if pair else template.single
    for index, (a, b) in enumerate(zip(*rows, strict=True)):
        wanted = by_hand(tokenizer, words, {"A": a, "B": b}, 17)
        for name, values in zip(("token_ids", "segment_ids", "padding_mask"), wanted, strict=True):
            assert packed[name][index].numpy().tolist() == values
    if pair:
        assert (
            template.num_before("B", pair=True) == words.split().index(next(w for w in words.split() if "B" in w)) - 1
        )


def test_what_is_too_long_is_cut_to_the_room_that_the_template_leaves():
    tokenizer = make(TEMPLATES[0])
    rows = Spans.from_ragged(tf.ragged.constant([[5, 6, 7, 8, 9, 10]], dtype="int32"))
    assert pack(tokenizer, rows, None, 4, 4)["token_ids"].numpy().tolist() == [[5, 6, 7, 3]]
    assert pack(tokenizer, rows, rows, 6, 6)["token_ids"].numpy().tolist() == [[5, 6, 3, 5, 6, 3]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("cls sep", "must have A once"),
        ("cls A A", "must have A once"),
        ("cls A begin", r"names \['begin'\]; the roles are pad, unk"),
        ("A:x", "a segment is a number"),
    ],
)
def test_templates_that_make_no_row(words, message):
    with pytest.raises(ValueError, match=message):
        Template(words)
    with pytest.raises(ValueError, match="must have A and B once, in that order"):
        Template(pair="cls B sep A sep")


def test_a_role_without_a_token_is_named_where_it_is_needed():
    with pytest.raises(ValueError, match=r"needs tokens for \['cls', 'sep'\], but `special` has none"):
        make(BERT_TEMPLATE)
    tokenizer = make(TEMPLATES[0])
    batch = pack(tokenizer, Spans.from_ragged(tokenizer(["a b c"])), None, 9, 9)
    with pytest.raises(ValueError, match="has no mask token, which is needed here"):
        mask_tokens(tokenizer, batch, tf.constant([1, 2]), 3)
    assert tokenizer.decode([2, 5, 6, 3, 0]) == "a b"


@pytest.mark.parametrize("template", [TEMPLATES[0], TEMPLATES[2]])
def test_a_template_survives_our_files_and_those_of_hugging_face(template, config, tmp_path):
    tokenizer = make(template)
    plm.save(plm.Encoder(config, tokenizer), tmp_path / "ours")
    again = plm.load(tmp_path / "ours").tokenizer
    assert again.template == template and again.special == SPECIAL and again.settings() == tokenizer.settings()


@pytest.mark.parametrize("template", [BERT_TEMPLATE, ROBERTA_TEMPLATE, Template("A sep", "A sep B:1")])
def test_hugging_faces_files_tell_of_the_template(template, tokenizer, tmp_path):
    tokenizer = plm.WordPieceTokenizer(tokenizer.vocabulary, template=template)
    write_tokenizer(tokenizer, tmp_path, 16)
    assert read_tokenizer(tmp_path).template == template
    # a BertTokenizer of Transformers would put BERT's template in the place of this one
    named = json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"]
    assert named == ("BertTokenizer" if template == BERT_TEMPLATE else "PreTrainedTokenizerFast")
