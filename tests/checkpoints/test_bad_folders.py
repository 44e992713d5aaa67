"""Folders of others that are damaged, odd or hostile: a clear error, nothing half-loaded, nothing executed."""

import json
import os
import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_plm as plm

from .small_folders import refuses, torch_file, word_piece, write_folder


def change(folder, **fields) -> None:
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))


def test_tensors_that_do_not_fit_are_named(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["strange"] = tensors.pop("classifier.bias")
    tensors["bert.embeddings.LayerNorm.weight"] = np.zeros(5, "float32")
    save_file(tensors, path)
    refuses(
        folder, r"missing: \['classifier.bias'\], unexpected: \['strange'\], misshapen: .*LayerNorm.weight is \(5,\)"
    )
    del tensors["strange"], tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors, path)
    refuses(folder, r"missing: .*'encoder.layer.1.output.dense.weight'")


def test_old_names_half_precision_and_parts(folder):
    wanted = plm.load(f"hf:{folder}").get_weights()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    old = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in tensors.items()
    }
    old["bert.embeddings.position_ids"] = np.arange(23)[None]
    names = sorted(old)
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2])):
        save_file({n: old[n] for n in part}, folder / f"part-{number}.safetensors")
        weight_map |= dict.fromkeys(part, f"part-{number}.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    for a, b in zip(plm.load(f"hf:{folder}").get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    for bad, message in (
        ("../part-0.safetensors", "leads out of the folder"),
        ("/etc/passwd", "leads out of the folder"),
        ("C:\\part", "leads out of the folder"),
    ):
        index.write_text(json.dumps({"weight_map": weight_map | {names[0]: bad}}))
        refuses(folder, message)
    index.write_text(json.dumps({"weight_map": weight_map | {"lost": "part-0.safetensors"}}))
    refuses(folder, r"names tensors that are not in their shards: \['lost'\]")
    index.write_text(json.dumps({"weight_map": weight_map | {"lost": "part-7.safetensors"}}))
    refuses(folder, "part-7", FileNotFoundError)
    index.write_text("[]")
    refuses(folder, "holds a list, not an object")


def test_damaged_files(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\xff" * 20, whole[:9]):
        path.write_bytes(content)
        refuses(folder, "is not a whole safetensors file")
    path.unlink()
    refuses(folder, "has neither model.safetensors nor pytorch_model.bin", FileNotFoundError)
    path.write_bytes(whole)
    for name, content, message in (
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", '"bert"', "holds a str, not an object"),
        ("tokenizer.json", '{"model": {"type": "WordLevel", "vocab": {}}}', "a tokenizer of type WordLevel is not"),
        ("tokenizer.json", '{"model": []}', "tokenizer.json is not a tokenizer"),
        ("tokenizer.json", "{}", "tokenizer.json is not a tokenizer: KeyError"),
        ("tokenizer_config.json", "[]", "holds a list, not an object"),
    ):
        before = (folder / name).read_bytes()
        (folder / name).write_text(content)
        refuses(folder, message)
        (folder / name).write_bytes(before)
    plm.load(f"hf:{folder}")


def test_a_config_that_the_layers_cannot_follow(folder):
    for fields, message in (
        ({"model_type": "mamba"}, "has model_type 'mamba'; supported are bert, distilbert"),
        ({"hidden_act": "mish"}, "activation 'mish' is not supported"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key' is not supported"),
        ({"is_decoder": True}, "is_decoder=True is not supported"),
        (
            {"architectures": ["BertForMultipleChoice"]},
            "the class BertForMultipleChoice is not supported, only BertModel",
        ),
        ({"architectures": "BertModel"}, "architectures='BertModel' is not a list of names"),
        ({"model_type": []}, "has model_type"),
        ({"id2label": ["a"]}, "id2label is a list, not an object"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "the tokenizer BertJapaneseTokenizer is not supported"),
        ({"num_attention_heads": 5}, "num_heads=5 does not divide hidden_dim=33"),
        ({"hidden_size": "33"}, "config.json"),
        ({"num_hidden_layers": 3}, r"missing: .*encoder.layer.2"),
        ({"vocab_size": 300}, "the tokenizer has 307 tokens, but vocabulary_size=300"),
    ):
        before = (folder / "config.json").read_text()
        change(folder, **fields)
        refuses(folder, message)
        (folder / "config.json").write_text(before)


def test_what_a_classifier_means(tmp_path):
    write_folder(tmp_path / "bert", "BertForSequenceClassification")
    folder = tmp_path / "bert"
    assert plm.load(f"hf:{folder}").labels == ["cat", "dog", "heron"]
    change(folder, id2label={"0": "yes", "1": "no"})  # two names for three outputs
    assert plm.load(f"hf:{folder}").labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
    change(folder, problem_type="multi_label_classification")
    model = plm.load(f"hf:{folder}")
    assert model.multi_label
    single = plm.Classifier(model.config, ["toxic"], model.tokenizer, multi_label=True)
    plm.checkpoints.to_hugging_face(single, tmp_path / "single")
    again = plm.load(f"hf:{tmp_path / 'single'}")
    assert again.labels == ["toxic"] and again.multi_label
    change(folder, problem_type="regression")
    refuses(folder, "a regression of 3 numbers is not supported")
    tensors = load_file(folder / "model.safetensors")
    tensors |= {"classifier.weight": tensors["classifier.weight"][:1].copy(), "classifier.bias": np.zeros(1, "float32")}
    save_file(tensors, folder / "model.safetensors")
    model = plm.load(f"hf:{folder}")
    assert model.labels is None and model.predict_logits(["the film"]).shape == (1, 1)
    plm.checkpoints.to_hugging_face(model, tmp_path / "back")
    assert plm.load(f"hf:{tmp_path / 'back'}").labels is None


def test_no_tokenizer_no_folder_no_permission(folder, tmp_path):
    for name in ("tokenizer.json", "vocab.txt"):
        (folder / name).unlink()
    refuses(folder, "has no tokenizer: neither tokenizer.json nor vocab.txt", FileNotFoundError)
    refuses(tmp_path / "nowhere", "there is no folder", FileNotFoundError)
    refuses("../escape", "there is no folder ../escape", FileNotFoundError)
    refuses(tmp_path, "config.json", FileNotFoundError)
    with pytest.raises(ValueError, match=f"is a Hugging Face folder; load it as 'hf:{folder}'"):
        plm.load(folder)
    folder.chmod(0)
    is_root = os.geteuid() == 0  # who may read everything: the question is asked as somebody else
    if is_root:
        os.seteuid(65534)
    try:
        refuses(folder, "Permission denied: .*bert", PermissionError)
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_an_interrupted_load_leaves_no_model(folder, monkeypatch):
    from keras_plm.checkpoints import hugging_face

    def failing(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hugging_face, "_assign", failing)
    refuses(folder, "Input/output error", OSError)


def test_sentence_transformers_folders(config, tmp_path):
    tokenizer = word_piece()

    for pooling, normalize in (("mean", True), ("max", True), ("cls", False)):
        shape = replace(config, vocabulary_size=len(tokenizer))
        model = plm.Embedder(shape, tokenizer, pooling, normalize, max_length=9)
        folder = tmp_path / pooling
        plm.checkpoints.to_hugging_face(model, folder)
        again = plm.load(f"hf:{folder}")
        assert (again.pooling, again.normalize, again.max_length) == (pooling, normalize, 9)
        texts = ["the quiet film", "a", "the quiet film is big " * 5]
        np.testing.assert_allclose(again.embed(texts), model.embed(texts), atol=1e-5)
        np.testing.assert_allclose(again.embed(texts[:1]), again.embed(texts)[:1], atol=1e-5)  # padding changes nothing
    folder = tmp_path / "mean"
    assert abs(np.linalg.norm(plm.load(f"hf:{folder}").embed(["film"])) - 1) < 1e-5
    modules = json.loads((folder / "modules.json").read_text())
    for bad, message in (
        (
            [*modules, {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}],
            "supported are",
        ),
        ([modules[0] | {"path": "../bert"}, *modules[1:]], "leads out of the folder"),
        ([{"idx": 0}], "is not a list of modules"),
        (modules[:1], "supported are Transformer, Pooling, Normalize"),
    ):
        (folder / "modules.json").write_text(json.dumps(bad))
        refuses(folder, message)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_weightedmean_tokens": True}))
    refuses(folder, r"pools by \['pooling_mode_weightedmean_tokens'\]; supported are mean, max and cls")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "max"}))  # as newer versions write it
    assert plm.load(f"hf:{folder}").pooling == "max"


def test_writing_refuses_what_transformers_does_not_have(config, tmp_path):

    for fields, message in (
        ({"normalize_first": True}, "bert has no normalize_first=True"),
        ({"positions": "sinusoidal"}, "bert has no positions='sinusoidal'"),
    ):
        with pytest.raises(ValueError, match=message):
            plm.checkpoints.to_hugging_face(plm.Encoder(replace(config, **fields)), tmp_path / "out")
    from .small_folders import byte_pair

    pieces = byte_pair()
    odd = plm.BytePairTokenizer(["<pad>", "<s>", *pieces.vocabulary[2:]], pieces.merges)
    narrow = replace(config, vocabulary_size=len(odd), embedding_dim=19)
    for model, model_type, message in (
        (plm.Encoder(replace(config, num_segments=0)), "bert", "bert has no num_segments=0"),
        (plm.Pretrainer(replace(config, has_pooler=False)), None, "bert has no Pretrainer with this pooler"),
        (
            plm.Classifier(replace(config, has_pooler=False), ["a", "b"]),
            None,
            "bert has no Classifier with this pooler",
        ),
        (plm.Encoder(replace(config, shared_layers=True)), None, "albert has no embedding_dim=None"),
        (plm.Encoder(replace(config, embedding_dim=33)), "electra", "electra has no embedding_dim=33"),
        (
            plm.Encoder(replace(narrow, num_segments=1, embedding_dim=None), odd),
            None,
            "roberta pads with id 1, but this tokenizer",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            plm.checkpoints.to_hugging_face(model, tmp_path / "out", model_type)
    with pytest.raises(ValueError, match="model_type='gpt'; choose one of"):
        plm.checkpoints.to_hugging_face(plm.Encoder(config), tmp_path / "out", model_type="gpt")
    with pytest.raises(ValueError, match="distilbert has no num_segments=2"):
        plm.checkpoints.to_hugging_face(plm.Encoder(config), tmp_path / "out", model_type="distilbert")
    assert not list(tmp_path.iterdir())
    plm.checkpoints.to_hugging_face(plm.Encoder(config), tmp_path / "out")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        plm.checkpoints.to_hugging_face(plm.Encoder(config), tmp_path / "out")


def test_more_heads_than_the_config_says(tmp_path):
    """Published BERTs say MaskedLM and hold next sentence too; others keep the head of an earlier life."""
    write_folder(tmp_path / "bert", "BertForPreTraining")
    change(tmp_path / "bert", architectures=["BertForMaskedLM"])
    assert plm.load(f"hf:{tmp_path / 'bert'}").next_sentence
    change(tmp_path / "bert", architectures=None)
    assert plm.load(f"hf:{tmp_path / 'bert'}").next_sentence
    change(tmp_path / "bert", architectures=["BertModel"])
    with pytest.warns(
        UserWarning, match=r"left out cls.predictions.bias, .* and 2 more, which the model does not have"
    ):
        assert isinstance(plm.load(f"hf:{tmp_path / 'bert'}"), plm.Encoder)
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    modules.append({"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"})
    (tmp_path / "bert" / "1_Pooling").mkdir()
    (tmp_path / "bert" / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (tmp_path / "bert" / "modules.json").write_text(json.dumps(modules))
    model = plm.load(f"hf:{tmp_path / 'bert'}")
    assert isinstance(model, plm.Embedder) and model.pooling == "cls" and not model.normalize
    (tmp_path / "bert" / "sentence_bert_config.json").write_text('{"max_seq_length": "128"}')
    refuses(tmp_path / "bert", "max_seq_length='128' is not a number")

    write_folder(tmp_path / "albert", "AlbertForMaskedLM")
    path = tmp_path / "albert" / "model.safetensors"
    tensors = load_file(path)
    own_bias = tensors["predictions.bias"] + 1
    save_file(tensors | {"predictions.decoder.bias": own_bias}, path)
    model = plm.load(f"hf:{tmp_path / 'albert'}")
    np.testing.assert_array_equal(plm.models.named_weights(model)["masked_tokens/bias"], own_bias)
    untied = tensors["albert.embeddings.word_embeddings.weight"] + 1
    save_file(tensors | {"predictions.decoder.weight": untied}, path)
    refuses(tmp_path / "albert", "predictions.decoder.weight differs from embeddings.word_embeddings.weight; untied")


def test_tokenizers_that_would_cut_otherwise(folder, tmp_path):
    content = json.loads((folder / "tokenizer.json").read_text())
    pieces = {index: piece for piece, index in content["model"]["vocab"].items()}
    for fields, message in (
        ({"pre_tokenizer": {"type": "WhitespaceSplit"}}, "is not supported, only as in BERT"),
        ({"normalizer": None}, "is not supported, only as in BERT"),
        ({"normalizer": content["normalizer"] | {"clean_text": False}}, "is not supported, only as in BERT"),
        ({"added_tokens": [{"id": 307, "content": "<e1>"}]}, "the tokenizer has 308 tokens, but vocabulary_size=307"),
        ({"added_tokens": [{"id": 309, "content": "<e1>"}]}, "'<e1>' has the id 309, but the vocabulary ends at 307"),
        ({"added_tokens": [{"id": 9, "content": "<e1>"}]}, f"the id 9 of the token '{re.escape(pieces[9])}'"),
        ({"added_tokens": [{"id": 9, "content": pieces[9], "single_word": True}]}, "for whole words only"),
        ({"added_tokens": [{"id": "9", "content": "x"}]}, "'9' is not the id of a token"),
        ({"normalizer": content["normalizer"] | {"lowercase": False}}, "do_lower_case=True; correct one of them"),
    ):
        (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
        (folder / "tokenizer.json").write_text(json.dumps(content | fields))
        refuses(folder, message)
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"word_tokenizer_type": "mecab"}')
    refuses(folder, "word_tokenizer_type='mecab' is not supported")
    write_folder(tmp_path / "albert", "AlbertModel")
    path = tmp_path / "albert" / "tokenizer.json"
    content = json.loads(path.read_text())
    strange = {"type": "Replace", "pattern": {"String": "x"}, "content": "y"}
    content["normalizer"]["normalizers"].append(strange)
    path.write_text(json.dumps(content))
    refuses(tmp_path / "albert", "Unigram after the normalizers .* is not supported")
    content["normalizer"]["normalizers"].remove(strange)
    content["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"}
    path.write_text(json.dumps(content))
    refuses(tmp_path / "albert", "prepend_scheme='never' is not supported")


def test_repositories(folder, monkeypatch):
    """No network: the download itself is replaced."""
    import huggingface_hub

    asked = []

    def download(name, allow_patterns, ignore_patterns):
        asked.append((name, "*pytorch_model*.bin" in allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert isinstance(plm.load("hf:google-bert/small"), plm.Tagger)
    assert asked == [("google-bert/small", False)]
    torch_file(folder / "pytorch_model.bin", load_file(folder / "model.safetensors"), legacy=False)
    (folder / "model.safetensors").unlink()
    assert isinstance(plm.load("hf:google-bert/small"), plm.Tagger)
    assert asked[1:] == [("google-bert/small", False), ("google-bert/small", True)]

    def offline(*_, **__):
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    refuses("google-bert/small", "no such repository was reached: no connection$", FileNotFoundError)
    refuses("not a name", "there is no folder not a name$", FileNotFoundError)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_classifier_of_all_tokens_says_how_to_write_it(pooling, config, tmp_path):
    tokenizer = word_piece()
    model = plm.Classifier(replace(config, vocabulary_size=len(tokenizer)), ["a", "b"], tokenizer, pooling=pooling)
    called = r"plm.Embedder\(model.config, model.tokenizer, model.pooling, encoder=model.encoder\)"
    with pytest.raises(ValueError, match=rf"pooling='{pooling}'.*{called}"):
        plm.checkpoints.to_hugging_face(model, tmp_path / "no")
    embedder = plm.Embedder(model.config, model.tokenizer, model.pooling, encoder=model.encoder)  # as the error says
    plm.checkpoints.to_hugging_face(embedder, tmp_path / "encoder")
    again = plm.load(f"hf:{tmp_path / 'encoder'}")
    np.testing.assert_allclose(again.embed(["the quiet film"]), embedder.embed(["the quiet film"]), atol=1e-5)
