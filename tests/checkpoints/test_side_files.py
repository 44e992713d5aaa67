"""Every file beside the weights that Transformers and sentence-transformers read is read, or is an error."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_plm as plm
from keras_plm.checkpoints.tokenizer_reader import read_tokenizer
from keras_plm.checkpoints.tokenizer_writer import write_tokenizer
from keras_plm.text import AddedToken
from keras_plm.text.byte_pair import BytePairTokenizer
from keras_plm.text.sentence_piece import ALBERT_TOKENS, SentencePieceTokenizer, Unigram

from .small_folders import byte_pair, refuses, sentence_piece, word_piece, write_folder

TEXTS = [
    "the [E1] film[/E1] is big", "[e1] the", "the <ent>film", "a[E10]b", "  [E1]  ", "[E1][E1]", "no tokens",
    "[MASK] [E1]", "the [SEP] é [E1]", "", "<ENT> the",
]  # fmt: skip
ADDED = [AddedToken("[E1]"), AddedToken("[/E1]"), AddedToken("[E10]", strips_left=True)]


def with_added(tokenizer, added):
    names = [token.text for token in added]
    if isinstance(tokenizer, plm.WordPieceTokenizer):
        folded = [*added, AddedToken("<ent>", ignore_case=True)]
        return plm.WordPieceTokenizer([*tokenizer.vocabulary, *names, "<ent>"], added=folded)
    if isinstance(tokenizer, BytePairTokenizer):
        return BytePairTokenizer([*tokenizer.vocabulary, *names], tokenizer.merges, tokenizer.special, added=added)
    model = tokenizer.model
    unigram = Unigram([*model.pieces, *names], [*model.scores, *[0.0] * len(names)], model.charsmap)
    settings = {name: getattr(tokenizer, name) for name in ("lowercase", "strip_accents", "quotes", "template")}
    return SentencePieceTokenizer(unigram, tokenizer.special, **settings, added=added)


@pytest.mark.parametrize("kind", ["WordPiece", "byte pairs", "Unigram"])
def test_added_tokens_in_every_tokenizer(kind, tmp_path):
    """The ids are those of Hugging Face's own library, in the graph, with offsets, and after a round trip."""
    from tokenizers import Tokenizer

    plain = {
        "WordPiece": word_piece,
        "byte pairs": byte_pair,
        "Unigram": lambda: sentence_piece(ALBERT_TOKENS, ["<pad>", "<unk>", "[CLS]", "[SEP]"]),
    }[kind]()
    ours = with_added(plain, ADDED)
    write_tokenizer(ours, tmp_path, 128)
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    again = read_tokenizer(tmp_path)
    assert again.added == ours.added and again.vocabulary == ours.vocabulary
    for text in TEXTS:
        wanted = theirs.encode(text, add_special_tokens=False)
        encoding = ours.encode(text)
        assert encoding.token_ids == wanted.ids, (text, encoding.tokens, wanted.tokens)
        assert ours([text]).to_list()[0] == wanted.ids, text
        assert again.encode(text) == encoding
        for token, start, end in zip(encoding.tokens, encoding.starts, encoding.ends, strict=True):
            if token in [t.text for t in ours.added]:
                assert text[start:end].strip().lower() == token.lower()
    kept = ours.subset(ours.needed(np.bincount(ours.encode("the film").token_ids, minlength=len(ours))))
    assert {t.text for t in kept.added} <= set(kept.vocabulary)


@pytest.mark.parametrize("where", ["added_tokens.json", "added_tokens_decoder", "tokenizer.json"])
def test_added_tokens_in_every_file(where, tmp_path):
    folder = tmp_path / "bert"
    write_folder(folder, "BertModel")
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    save_file(tensors | {name: np.vstack([tensors[name], np.ones((2, tensors[name].shape[1]), "float32")])},
              folder / "model.safetensors")  # fmt: skip
    config = json.loads((folder / "config.json").read_text()) | {"vocab_size": size + 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text('{"additional_special_tokens": ["[E1]", "[/E1]"]}')
    ids = {"[E1]": size, "[/E1]": size + 1}
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    content = json.loads((folder / "tokenizer.json").read_text())
    if where == "tokenizer.json":
        content["added_tokens"] += [
            {"id": i, "content": t, "special": True, "normalized": False} for t, i in ids.items()
        ]
        (folder / "tokenizer.json").write_text(json.dumps(content))
    else:
        (folder / "tokenizer.json").unlink()
        if where == "added_tokens.json":
            (folder / where).write_text(json.dumps(ids))
        else:
            settings |= {where: {str(i): {"content": t, "special": True} for t, i in ids.items()}}
            (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = plm.load(f"hf:{folder}")
    assert model.tokenizer.encode("the [E1] film").token_ids[1] == size
    plm.checkpoints.to_hugging_face(model, tmp_path / "out")
    again = plm.load(f"hf:{tmp_path / 'out'}")
    assert again.tokenizer(["[/E1] [e1]"]).to_list() == model.tokenizer(["[/E1] [e1]"]).to_list()
    plm.save(model, tmp_path / "saved")
    assert plm.load(tmp_path / "saved").tokenizer.added == model.tokenizer.added
    (folder / "special_tokens_map.json").write_text('{"additional_special_tokens": ["[X]"]}')
    refuses(folder, r"the special token '\[X\]' has no id")


def sentence_folder(tmp_path, **files):
    tokenizer = word_piece()
    sizes = replace(
        plm.TINY, vocabulary_size=len(tokenizer), num_layers=1, hidden_dim=32, num_heads=2, intermediate_dim=40
    )
    folder = tmp_path / "sentences"
    plm.checkpoints.to_hugging_face(plm.Embedder(sizes, tokenizer), folder)
    (folder / "sentence_bert_config.json").unlink()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


LIMIT = {"max_seq_length": 17, "do_lower_case": False}


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"sentence_bert_config": LIMIT}, 17),
        ({"sentence_roberta_config": LIMIT}, 17),
        ({"sentence_distilbert_config": LIMIT}, 17),
        ({"sentence_xlm-roberta_config": LIMIT}, 17),
        ({"sentence_albert_config": LIMIT, "sentence_xlnet_config": {"max_seq_length": 9}}, 17),
        ({"sentence_bert_config": {"max_seq_length": None}, "tokenizer_config": {"model_max_length": 21}}, 21),
        ({"tokenizer_config": {"model_max_length": 21, "do_lower_case": True}}, 21),
        ({"tokenizer_config": {"model_max_length": 10**30}}, 512),
        ({"tokenizer_config": {"model_max_length": 1e30}}, 512),
    ],
)
def test_the_limit_of_sentence_transformers(files, limit, tmp_path):
    model = plm.load(f"hf:{sentence_folder(tmp_path, **files)}")
    assert model.longest_row == limit
    text = "the quiet film is big " * 120
    cut = " ".join(text.split()[: limit - 2])
    np.testing.assert_allclose(model.embed([text]), model.embed([cut]), atol=1e-6)
    plm.checkpoints.to_hugging_face(model, tmp_path / "again")
    assert plm.load(f"hf:{tmp_path / 'again'}").longest_row == limit


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"sentence_bert_config": {"max_seq_length": 0}}, "max_seq_length=0 is not a number of tokens"),
        ({"sentence_bert_config": {"max_seq_length": True}}, "max_seq_length=True is not a number"),
        ({"sentence_bert_config": {"do_lower_case": "no"}}, "do_lower_case='no' is neither true nor false"),
        ({"config_sentence_transformers": {"default_prompt_name": "query"}}, "'query' is not one of its prompts"),
        ({"sentence_bert_config": [1]}, "holds a list, not an object"),
    ],
)
def test_bad_side_files(files, message, tmp_path):
    refuses(sentence_folder(tmp_path, **files), message)


def test_the_default_prompt(tmp_path):
    prompts = {"prompts": {"query": "the film: ", "passage": "a: "}, "default_prompt_name": "query"}
    folder = sentence_folder(tmp_path, config_sentence_transformers=prompts)
    model = plm.load(f"hf:{folder}")
    np.testing.assert_allclose(model.embed(["quiet"]), model.embed(["the film: quiet"], prompt=""), atol=1e-6)
    plm.checkpoints.to_hugging_face(model, tmp_path / "again")
    assert plm.load(f"hf:{tmp_path / 'again'}").prompt == "the film: "
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text()) | {"include_prompt": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    refuses(folder, "excludes the prompt from pooling")


def test_left_over_tensors_are_left_out_and_said(tmp_path):
    folder = tmp_path / "bert"
    write_folder(folder, "BertForSequenceClassification")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    wanted = plm.load(f"hf:{folder}").get_weights()
    more = {"loss_fct.weight": np.ones(3, "float32"), "cls.predictions.bias": np.ones(307, "float32")}
    save_file({f"module.{name}": tensor for name, tensor in (tensors | more).items()}, path)
    with pytest.warns(
        UserWarning, match="left out cls.predictions.bias, loss_fct.weight, which the model does not have"
    ):
        model = plm.load(f"hf:{folder}")
    assert all(np.array_equal(a, b) for a, b in zip(wanted, model.get_weights(), strict=True))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["MyOwnModel"]}))
    save_file(tensors, path)
    assert isinstance(plm.load(f"hf:{folder}"), plm.Classifier)


def test_capital_letters_that_are_never_found(tmp_path):
    write_folder(tmp_path / "bert", "BertModel")
    tokenizer = word_piece()
    pieces = [p.upper() if 20 < i < 60 else p for i, p in enumerate(tokenizer.vocabulary)]
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(pieces))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bert" / name).unlink()
    with pytest.warns(UserWarning, match="does not say do_lower_case, and .* tokens have capital letters"):
        read_tokenizer(tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert not read_tokenizer(tmp_path / "bert").lowercase


IOB1 = {"0": "I-LOC", "1": "I-PER", "2": "O", "3": "B-LOC", "4": "B-PER"}


def test_a_published_tagger_in_iob1(tmp_path):
    """Its I begins an entity: it must not be told that this is illegal."""
    write_folder(tmp_path / "bert", "BertForTokenClassification")
    path = tmp_path / "bert" / "model.safetensors"
    tensors = load_file(path)
    tokenizer = plm.load(f"hf:{tmp_path / 'bert'}").tokenizer
    width = tensors["classifier.weight"].shape[1]
    head = {"classifier.weight": np.zeros((5, width), "float32"), "classifier.bias": np.zeros(5, "float32")}
    save_file(tensors | head, path)
    config = json.loads((tmp_path / "bert" / "config.json").read_text()) | {"id2label": IOB1}
    (tmp_path / "bert" / "config.json").write_text(json.dumps(config))
    model = plm.load(f"hf:{tmp_path / 'bert'}")
    assert model.i_begins and model.step_scores() is None
    words = ["the", "film", "is", "in", "the", "cafe", "."]
    path = [1, 1, 2, 0, 3, 0, 2]  # I-PER I-PER O I-LOC B-LOC I-LOC O
    logits = np.eye(5, dtype="float32")[path] * 9

    def outputs(inputs):
        ids = np.asarray(inputs["token_ids"])
        found = np.zeros((*ids.shape, 5), "float32")
        found[:, 1 : len(path) + 1] = logits
        return found

    model.predict_on_batch = outputs
    assert model.predict_tags([words]) == [["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC", "O"]]
    spans = [(span.label, span.text) for span in model.tag([" ".join(words)])[0]]
    assert spans == [("PER", "the film"), ("LOC", "in"), ("LOC", "the cafe")]
    trained = plm.Tagger(model.config, model.labels, tokenizer)
    assert not trained.i_begins and trained.step_scores() is not None
    assert plm.Tagger(model.config, ["O", "B-x", "L-x", "U-x", "I-x"], tokenizer).labels == [
        "O",
        "B-x",
        "E-x",
        "S-x",
        "I-x",
    ]


def test_sizes_are_compared_before_anything_is_allocated(config, tokenizer, tmp_path):
    plm.save(plm.Encoder(config, tokenizer), tmp_path / "ours")
    write_folder(tmp_path / "bert", "BertModel")
    for folder, where, fields in (
        ("ours", ("model", "config"), {"num_layers": 100_000}),
        ("ours", ("model", "config"), {"intermediate_dim": 10**9}),
        ("ours", ("model", "config"), {"max_sequence_length": 10**9}),
        ("ours", ("model", "config"), {"max_sequence_length": 10**9, "positions": "sinusoidal"}),
        ("bert", (), {"num_hidden_layers": 100_000}),
        ("bert", (), {"vocab_size": 10**12}),
    ):
        path = tmp_path / folder / "config.json"
        before = path.read_text()
        content = inner = json.loads(before)
        for key in where:
            inner = inner[key]
        inner |= fields
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="numbers, but there are only"):
            plm.load(f"hf:{path.parent}" if folder == "bert" else path.parent)
        path.write_text(before)
    for value, message in (("6", "num_layers='6'; it must be int"), (True, "must be int"), (2.0, "must be int")):
        with pytest.raises(ValueError, match=message):
            replace(config, num_layers=value)
