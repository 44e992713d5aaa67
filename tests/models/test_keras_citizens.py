"""Layers and models inside a user's own Keras model: saved, loaded, checked, masked."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

import keras_plm as plm
from conftest import token_batch
from keras_plm import layers

WIDTH = 6
LAYERS = {
    "EncoderBlock": lambda: plm.EncoderBlock(2, 11, dropout=0.1, adaptation=plm.Adaptation(lora_rank=2, adapter_dim=3)),
    "DecoderBlock": lambda: plm.DecoderBlock(2, 11),
    "MultiHeadAttention": lambda: plm.MultiHeadAttention(3, adaptation=plm.Adaptation(lora_rank=2)),
    "FeedForward": lambda: plm.FeedForward(11, gated=True),
    "ClassificationHead": lambda: plm.ClassificationHead(5),
    "ConditionalRandomField": lambda: layers.ConditionalRandomField(WIDTH),
    "ResidualNorm": lambda: layers.ResidualNorm(),
    "Dropout": lambda: layers.Dropout(0.1),
    "Adapter": lambda: layers.Adapter(4),
    "Projection": lambda: layers.Projection(5, WIDTH),
    "FakeQuantization": lambda: layers.FakeQuantization(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_in_a_keras_file(name, tmp_path):
    inputs = keras.Input((None, WIDTH))
    model = keras.Model(inputs, LAYERS[name]()(inputs))
    model.save(tmp_path / "user.keras")
    again = keras.saving.load_model(tmp_path / "user.keras")
    x = np.random.default_rng(0).normal(size=(2, 7, WIDTH)).astype("float32")
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


def test_embedding_and_heads_in_a_keras_file(tmp_path):
    ids, positions = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    embed = plm.TokenEmbedding(17, WIDTH)
    hidden = embed(ids)
    outputs = [hidden, plm.NextSentenceHead()(hidden[:, 0])]
    model = keras.Model([ids, positions], outputs)
    model.save(tmp_path / "user.keras")
    again = keras.saving.load_model(tmp_path / "user.keras")
    batch = [np.array([[3, 1, 4]]), np.array([[1]])]
    for a, b in zip(again(batch), model(batch), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def make(name, config, tokenizer):
    return {
        "Encoder": lambda: plm.Encoder(config, tokenizer),
        "Pretrainer": lambda: plm.Pretrainer(config, tokenizer),
        "Classifier": lambda: plm.Classifier(config, ["a", "b"], tokenizer, pairs=True),
        "Tagger": lambda: plm.Tagger(config, ["O", "B-a", "I-a"], tokenizer, crf=True, i_begins=True),
        "QuestionAnswerer": lambda: plm.QuestionAnswerer(config, tokenizer),
        "Embedder": lambda: plm.Embedder(config, tokenizer, max_length=9, prompt="the "),
    }[name]()


@pytest.mark.parametrize("name", ["Encoder", "Pretrainer", "Classifier", "Tagger", "QuestionAnswerer", "Embedder"])
def test_a_model_in_a_keras_file_keeps_its_tokenizer(name, config, tokenizer, tmp_path):
    model = make(name, config, tokenizer)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.tokenizer.vocabulary == tokenizer.vocabulary and again.tokenizer.settings() == tokenizer.settings()
    assert again.get_config() == model.get_config()
    batch = token_batch(config) | ({"mask_positions": np.ones((3, 2), "int32")} if name == "Pretrainer" else {})
    for a, b in zip(keras.tree.flatten(again(batch)), keras.tree.flatten(model(batch)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_model_inside_the_users(config, tokenizer, tmp_path):
    classifier = plm.Classifier(config, ["a", "b"], tokenizer)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in plm.models.INPUTS}
    model = keras.Model(inputs, keras.layers.Dense(3)(classifier(inputs)))
    model.save(tmp_path / "user.keras")
    again = keras.saving.load_model(tmp_path / "user.keras")
    inner = next(layer for layer in again.layers if isinstance(layer, plm.Classifier))
    assert inner.predict_labels(["the cat"]) == classifier.predict_labels(["the cat"])
    no_tokenizer = plm.Classifier(replace(config, vocabulary_size=31), ["a", "b"])
    no_tokenizer.save(tmp_path / "none.keras")
    assert keras.saving.load_model(tmp_path / "none.keras").tokenizer is None


X = np.ones((2, 5, 6), "float32")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: plm.EncoderBlock(2, 11, dropout=1.5), "dropout=1.5; it is a fraction in"),
        (lambda: plm.EncoderBlock(0, 11), "num_heads=0; it must be a whole number"),
        (lambda: plm.EncoderBlock(4, 11)(X), "num_heads=4 does not divide hidden_dim=6"),
        (lambda: plm.EncoderBlock(2, 11)(X[0]), "expected ndim=3, found ndim=2"),
        (lambda: plm.EncoderBlock(2, 11)(X, np.ones((2, 4), "int32")), r"has shape \(2, 4\), but there are 5"),
        (lambda: plm.EncoderBlock(2, 11)(X, np.ones(5)), r"padding_mask has shape \(5,\); expected \(B, S\)"),
        (lambda: plm.EncoderBlock(2, 11)(X, num_queries=9), "num_queries=9, but there are 5 positions"),
        (lambda: plm.DecoderBlock(2, 11)(X[0]), "expected ndim=3, found ndim=2"),
        (lambda: plm.DecoderBlock(2, 11, attention_dropout=-1), "attention_dropout=-1; it is a fraction"),
        (lambda: plm.MultiHeadAttention(2)(X, X, X), "attention_mask has shape .* and a float dtype; a mask is int32"),
        (lambda: plm.MultiHeadAttention(2.0), "num_heads=2.0; it must be a whole number"),
        (lambda: plm.FeedForward(0), "intermediate_dim=0; it must be"),
        (lambda: plm.TokenEmbedding(17, 6)(np.ones((2, 3, 4), "int32")), "expected ndim=2, found ndim=3"),
        (lambda: plm.ClassificationHead(0), "num_classes=0"),
        (lambda: plm.Classifier(plm.TINY, labels=2), 'labels=2; give their names, such as'),
        (lambda: plm.Classifier(plm.TINY, labels=["a", 1]), "give a list of names"),
        (lambda: plm.Tagger(plm.TINY, labels="O"), "give a list of names"),
        (lambda: plm.load("bert-base-uncased"), "a model of Hugging Face is 'hf:bert-base-uncased'"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_at_the_boundary(wrong, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        wrong()


def test_texts_that_are_none(classifier):
    for wrong, message in (
        (lambda: classifier.predict_labels(["a", None]), "row 1 of the first texts is None, a NoneType; give a text"),
        (
            lambda: classifier.predict_labels(["good \ud800 film"]),
            "row 0 of the first texts, .* has half of a character",
        ),
        (lambda: classifier.predict_labels(["a"], ["b", "c"]), "1 first texts, but 2 second texts"),
        (lambda: classifier.predict_labels(["a"], max_length=0), "max_length=0; it is a number of tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


@pytest.mark.parametrize("kind", ["EncoderBlock", "DecoderBlock", "MultiHeadAttention"])
def test_an_implicit_mask_is_honored(kind):
    """What `mask_zero=True` masks is not seen, as if the mask had been passed."""
    layer = LAYERS[kind]()
    ids = np.array([[0, 0, 3, 1, 4], [2, 7, 1, 8, 2]])  # in front: a decoder sees nothing behind
    embed = keras.layers.Embedding(9, WIDTH, mask_zero=True)
    hidden = embed(ids)
    names = {"MultiHeadAttention": "attention_mask"}
    wanted = layer(ops.copy(hidden), **{names.get(kind, "padding_mask"): (ids != 0).astype("int32")})
    np.testing.assert_allclose(layer(hidden)[0, 2:], wanted[0, 2:], atol=1e-6)
    model = keras.Sequential([embed, layer])
    np.testing.assert_allclose(model(ids)[0, 2:], wanted[0, 2:], atol=1e-6)
    assert np.abs(np.asarray(layer(ops.copy(hidden))[0, 2:] - wanted[0, 2:])).max() > 1e-3


def test_weights_can_be_read_by_others(config, tokenizer, tmp_path):
    import os

    before = os.umask(0o022)
    try:
        plm.save(plm.Encoder(config, tokenizer), tmp_path / "model")
        modes = {file.stat().st_mode & 0o777 for file in (tmp_path / "model").iterdir()}
        plm.checkpoints.to_hugging_face(plm.Encoder(config, tokenizer), tmp_path / "out")
        modes |= {file.stat().st_mode & 0o777 for file in (tmp_path / "out").iterdir()}
    finally:
        os.umask(before)
    assert modes == {0o644}
