"""An architecture that the package does not have is one table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_plm as plm
from keras_plm.checkpoints import hugging_face
from keras_plm.checkpoints.architecture import Head, Stack
from keras_plm.checkpoints.encoder_architecture import EncoderArchitecture
from keras_plm.checkpoints.rules import Rule, concatenate, dense, norm, split, tie, weight
from keras_plm.models import Encoder
from keras_plm.tasks import Classifier, Pretrainer
from tests.conftest import token_batch

from .small_folders import word_piece

OWLET = EncoderArchitecture(
    model_type="owlet",
    prefix="owlet.",
    fields={
        "words": ("vocabulary_size", 9), "width": ("hidden_dim", 33), "depth": ("num_layers", 2),
        "heads": ("num_heads", 3), "inner": ("intermediate_dim", 53), "places": ("max_sequence_length", 47),
        "act": ("activation", "relu"),
    },
    fixed={"num_segments": 0, "normalize_first": True, "dropout": 0.0, "attention_dropout": 0.0},
    backbone=(*weight("words.weight", "embedding/tokens"), *weight("places.weight", "embedding/positions", 3),
             *norm("last", "final_norm"), *norm("norm", "embedding/norm")),
    stacks=(Stack(rules=(
        # query, key and value in one, as GPT-2 has them; the inner layer in two halves
        *split("deep.{i}.ask", [f"block_{{i}}/attention/{name}" for name in ("query", "key", "value")], False),
        *dense("deep.{i}.out", "block_{i}/attention/output"),
        *norm("deep.{i}.first", "block_{i}/attention_norm"),
        *concatenate(["deep.{i}.up.left", "deep.{i}.up.right"], "block_{i}/feed_forward/expand/kernel"),
        *weight("deep.{i}.up.bias", "block_{i}/feed_forward/expand_bias"),
        *dense("deep.{i}.down", "block_{i}/feed_forward/contract"),
        *norm("deep.{i}.second", "block_{i}/feed_forward_norm"),
    )),),
    heads=(
        Head(their_class="OwletModel", our_class=Encoder),
        Head(their_class="OwletForLabels", our_class=Classifier, rules=dense("judge", "head/dense")),
        Head(
            their_class="OwletForWords", our_class=Pretrainer, options={"next_sentence": False},
            rules=(*dense("guess", "masked_tokens/dense"), *norm("calm", "masked_tokens/norm"),
                   *weight("bias", "masked_tokens/bias"), *tie("again.weight", "embedding/tokens")),
        ),
    ),
)  # fmt: skip


def test_one_table_is_an_architecture(config, tmp_path, monkeypatch):
    monkeypatch.setitem(hugging_face.ARCHITECTURES, "owlet", OWLET)
    tokenizer = word_piece()
    shape = replace(
        config, vocabulary_size=len(tokenizer), activation="relu", num_segments=0, normalize_first=True, dropout=0.0,
        attention_dropout=0.0, has_pooler=False, intermediate_dim=54,
    )  # fmt: skip
    model = plm.Classifier(shape, ["a", "b"], tokenizer)
    plm.checkpoints.to_hugging_face(model, tmp_path / "owlet", model_type="owlet")
    theirs = json.loads((tmp_path / "owlet" / "config.json").read_text())
    assert theirs["architectures"] == ["OwletForLabels"] and theirs["inner"] == shape.intermediate_dim
    again = plm.load(f"hf:{tmp_path / 'owlet'}")
    assert isinstance(again, plm.Classifier) and again.labels == ["a", "b"]
    stored = load_file(tmp_path / "owlet" / "model.safetensors")
    weights = {variable.path: np.asarray(variable) for variable in model.weights}
    np.testing.assert_array_equal(
        stored["owlet.deep.1.ask.weight"],
        np.concatenate([weights[f"block_1/attention/{name}/kernel"] for name in ("query", "key", "value")], 1),
    )
    np.testing.assert_array_equal(
        stored["owlet.deep.0.up.right"], weights["block_0/feed_forward/expand/kernel"][:, 27:].T
    )
    assert not stored["owlet.places.weight"][:3].any() and "owlet.again.weight" not in stored
    texts = ["the quiet film", "a"]
    np.testing.assert_allclose(again.predict_logits(texts), model.predict_logits(texts), atol=1e-6)
    with pytest.raises(ValueError, match="bert has no"):
        plm.checkpoints.to_hugging_face(model, tmp_path / "bert", model_type="bert")


def test_a_second_copy_is_compared(config, tmp_path, monkeypatch):
    monkeypatch.setitem(hugging_face.ARCHITECTURES, "owlet", OWLET)
    shape = replace(
        config, activation="relu", num_segments=0, normalize_first=True, dropout=0.0, attention_dropout=0.0,
        has_pooler=False, intermediate_dim=54,
    )  # fmt: skip
    tokenizer = word_piece()
    shape = replace(shape, vocabulary_size=len(tokenizer))
    model = plm.Pretrainer(shape, tokenizer, next_sentence=False)
    plm.checkpoints.to_hugging_face(model, tmp_path / "owlet", model_type="owlet")
    file = tmp_path / "owlet" / "model.safetensors"
    stored = load_file(file)
    save_file(stored | {"again.weight": stored["owlet.words.weight"]}, file)
    again = plm.load(f"hf:{tmp_path / 'owlet'}")
    batch = token_batch(shape) | {"mask_positions": np.ones((3, 2), "int32")}
    np.testing.assert_allclose(again(batch)["masked_tokens"], model(batch)["masked_tokens"], atol=1e-5)
    save_file(stored | {"again.weight": stored["owlet.words.weight"] + 1}, file)
    with pytest.raises(ValueError, match=r"again.weight differs from words.weight; untied outputs are not supported"):
        plm.load(f"hf:{tmp_path / 'owlet'}")
    del stored["owlet.deep.1.up.left"]
    save_file(stored, file)
    with pytest.raises(ValueError, match=r"missing: \['deep.1.up.left'\]"):
        plm.load(f"hf:{tmp_path / 'owlet'}")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("skipped", [0, 2])
@pytest.mark.parametrize(("theirs", "ours"), [(1, [5]), (1, [4, 2, 2]), (2, [6]), (2, [4, 2])])
def test_a_rule_reads_what_it_wrote(theirs, ours, transposed, skipped):
    rule = Rule(
        theirs=tuple("ab"[:theirs]), ours=tuple("xyz"[: len(ours)]), transposed=transposed, skipped_rows=skipped
    )
    random = np.random.default_rng(0)
    weights = [random.normal(size=(3, size)) for size in ours]
    shapes = [array.shape for array in weights]
    written = rule.to_theirs(weights)
    assert [array.shape for array in written] == rule.their_shapes(shapes)
    for found, wanted in zip(rule.to_ours(written, shapes), weights, strict=True):
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="cannot be split into 2 equal parts"):
        Rule(theirs=("a", "b"), ours=("x",)).to_theirs([np.zeros((3, 5))])
