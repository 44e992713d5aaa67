"""SentencePiece's byte pairs, the tokenizer of Llama 1 and 2 and Mistral: the ids and texts of SentencePiece itself."""

import io
import json

import numpy as np
import pytest
import sentencepiece

import keras_plm as plm
from keras_plm.checkpoints import gguf
from keras_plm.checkpoints.tokenizer_reader import read_tokenizer
from keras_plm.models import load_tokenizer, tokenizer_settings
from keras_plm.text import SentencePieceTokenizer, SpecialTokens, Template
from keras_plm.text.sentence_piece_model import BytePairs, _proto, read_model
from tests.tasks.test_text_generation import make

TEXTS = [
    "", "a", " a", "  two  spaces ", "the cat\tsat\n\non the mat", "Über den Wolken 屋", "🙂👍🏽 e\u0301",
    "the the the", "▁ is a mark", "<0x41> is no byte", "x" * 50, "1234567 + 89", "don't — “quoted”",
]  # fmt: skip


@pytest.fixture(scope="module")
def theirs():
    random = np.random.default_rng(3)
    words = ["the", "cat", "sat", "on", "mat", "house", "über", "houses", "12", "don't", "(", "a)"]
    corpus = [" ".join(random.choice(words, 9)) for _ in range(400)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, vocab_size=320, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@pytest.fixture(scope="module")
def ours(theirs):
    special = SpecialTokens(pad=None, unk="<unk>", cls=None, sep=None, mask=None, bos="<s>", eos="</s>")
    model = read_model(theirs.serialized_model_proto(), "the model")
    assert isinstance(model, BytePairs)
    return SentencePieceTokenizer(model, special, template=Template("bos A", None))


def random_texts():
    random = np.random.default_rng(5)
    letters = [*"the cat sat on houses.,()12 \n\t", "ü", "屋", "🙂", "é", "▁", "  "]
    return ["".join(random.choice(letters, random.integers(1, 40))) for _ in range(300)]


def test_ids_texts_and_offsets(theirs, ours):
    texts = TEXTS + random_texts()
    for text, ids in zip(texts, ours(texts).to_list(), strict=True):
        assert ids == theirs.encode(text), text
        assert ours.encode(text).token_ids == ids
        if "▁" not in text:  # the mark becomes a space, also in SentencePiece
            assert ours.decode(ids) == theirs.decode(ids) == text
    encoding = ours.encode("the houses 屋")
    assert [("the houses 屋")[s:e] for s, e in zip(encoding.starts, encoding.ends, strict=True)][-1] == "屋"


def test_a_continuation_keeps_its_space(ours):
    ids = ours.encode("the cat sat").token_ids
    first = ours.encode("the").token_ids
    assert ours.decode(first) + ours.continuation(ids[len(first) :]) == "the cat sat"
    # a text behind another one has no space of its own in front: as in a prompt with its completion
    writer = make("llama")
    writer.tokenizer = ours
    assert ours.encode(" sat").token_ids != ids[-len(writer.continuation_ids([" sat"])[0]) :]
    assert writer.continuation_ids([" cat sat", " sat", ""]) == [
        ids[len(first) :], ids[len(ours.encode("the cat").token_ids) :], [],
    ]  # fmt: skip
    assert b"".join(ours.token_bytes()[i] for i in ours.encode("a 屋").token_ids) == " a 屋".encode()


def hugging_face(theirs, folder, merges_in_normalizer=True):
    """tokenizer.json as Transformers converts it."""
    pieces = [theirs.id_to_piece(i) for i in range(len(theirs))]
    ids = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for piece, rank in sorted(ids.items(), key=lambda item: -theirs.get_score(item[1])):
        if theirs.is_byte(rank) or theirs.is_control(rank) or theirs.is_unknown(rank):
            continue
        splits = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        merges += [[a, b] for a, b in splits if a in ids and b in ids]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    steps = [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]
    special = [
        {"id": i, "content": piece, "special": True, "normalized": False, "single_word": False, "lstrip": False,
         "rstrip": False}
        for i, piece in enumerate(pieces[:3])
    ]  # fmt: skip
    begin = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    pair = [*begin, {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    content = {
        "added_tokens": special,
        "normalizer": {"type": "Sequence", "normalizers": steps} if merges_in_normalizer else None,
        "pre_tokenizer": None if merges_in_normalizer else metaspace,
        "post_processor": {"type": "TemplateProcessing", "single": begin, "pair": pair, "special_tokens": {}},
        "model": {
            "type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>", "vocab": ids,
            "merges": merges,
        },
    }  # fmt: skip
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_other_rules_for_spaces_are_refused(theirs, tmp_path):
    hugging_face(theirs, tmp_path, merges_in_normalizer=False)
    with pytest.raises(ValueError, match=r"after \['Metaspace'\] are not supported"):
        read_tokenizer(tmp_path, causal=True)


@pytest.mark.parametrize("form", ["tokenizer.model", "tokenizer.json"])
def test_folders_of_transformers(form, theirs, tmp_path):
    hugging_face(theirs, tmp_path)
    if form == "tokenizer.model":
        (tmp_path / "tokenizer.json").unlink()
        (tmp_path / "tokenizer.model").write_bytes(theirs.serialized_model_proto())
    tokenizer = read_tokenizer(tmp_path, causal=True)
    assert tokenizer.template == Template("bos A", None)
    assert tokenizer.special.by_role == {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}
    for text in TEXTS + random_texts():
        assert tokenizer.encode(text).token_ids == theirs.encode(text), text


def test_files_of_llama_cpp(theirs):
    kinds = {"is_unknown": 2, "is_control": 3, "is_byte": 6}
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [theirs.id_to_piece(i) for i in range(len(theirs))],
        "tokenizer.ggml.scores": [theirs.get_score(i) for i in range(len(theirs))],
        "tokenizer.ggml.token_type": [
            next((kind for name, kind in kinds.items() if getattr(theirs, name)(i)), 1) for i in range(len(theirs))
        ],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
    }  # fmt: skip
    tokenizer = gguf._tokenizer(metadata)
    assert tokenizer.template == Template("bos A", None)
    for text in TEXTS + random_texts():
        assert tokenizer.encode(text).token_ids == theirs.encode(text), text
    with pytest.raises(ValueError, match="there are 319 scores for 320 tokens"):
        gguf._tokenizer(metadata | {"tokenizer.ggml.scores": metadata["tokenizer.ggml.scores"][1:]})


def test_saved_and_generating(ours, tmp_path):
    files = {name: tmp_path / name for name in ours.files()}
    for name, content in ours.files().items():
        files[name].write_bytes(content)
    again = load_tokenizer(tokenizer_settings(ours), files.__getitem__)
    assert again.encode("the 屋").token_ids == ours.encode("the 屋").token_ids
    base = make("llama")
    config = plm.DecoderConfig.from_dict(base.config.to_dict() | {"vocabulary_size": len(ours)})
    model = plm.TextGenerator(config, ours)
    (text,) = model.generate(["the cat"], max_new_tokens=5)
    assert "".join(model.stream("the cat", max_new_tokens=5)) == text
    row = model.texts_to_ids(["the cat"])[0]
    assert row[0] == ours.id("<s>") and row[1:] == ours.encode("the cat").token_ids
    with pytest.raises(ValueError, match="none of them can be left out"):
        ours.subset([0, 1, 2, 3])


def test_damaged(theirs):
    model = read_model(theirs.serialized_model_proto(), "the model")
    special = SpecialTokens(pad=None, unk="<unk>", cls=None, sep=None, mask=None, bos="<s>", eos="</s>")
    with pytest.raises(ValueError, match="have no token for 59 of 256 bytes"):
        BytePairs(model.pieces[:200], model.scores[:200], b"")
    proto = _proto()
    proto.ParseFromString(model.to_bytes(special))
    del proto.pieces[200]
    with pytest.raises(ValueError, match="the file: the byte pairs have no token for 1 of 256 bytes"):
        read_model(proto.SerializeToString(), "the file")
    proto.pieces[-1].type = 4
    with pytest.raises(ValueError, match="user-defined token"):
        read_model(proto.SerializeToString(), "the file")
