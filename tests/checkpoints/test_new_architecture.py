"""An architecture that the package does not have is one table."""

import json
from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.checkpoints import hugging_face
from keras_plm.checkpoints.architecture import Architecture, Head, dense, norm
from keras_plm.models import Encoder
from keras_plm.tasks import Classifier

from .small_folders import word_piece

OWLET = Architecture(
    model_type="owlet",
    prefix="owlet.",
    fields={
        "words": ("vocabulary_size", 9), "width": ("hidden_dim", 33), "depth": ("num_layers", 2),
        "heads": ("num_heads", 3), "inner": ("intermediate_dim", 53), "places": ("max_sequence_length", 47),
        "act": ("activation", "relu"),
    },
    fixed={"num_segments": 0, "normalize_first": True, "dropout": 0.0, "attention_dropout": 0.0},
    encoder={"words.weight": "embedding/tokens", "places.weight": "embedding/positions", **norm("last", "final_norm"),
             **norm("norm", "embedding/norm")},
    block={
        **dense("deep.{i}.ask", "block_{i}/attention/query"),
        **dense("deep.{i}.know", "block_{i}/attention/key"),
        **dense("deep.{i}.say", "block_{i}/attention/value"),
        **dense("deep.{i}.out", "block_{i}/attention/output"),
        **norm("deep.{i}.first", "block_{i}/attention_norm"),
        "deep.{i}.up.weight": "block_{i}/feed_forward/expand/kernel",
        "deep.{i}.up.bias": "block_{i}/feed_forward/expand_bias",
        **dense("deep.{i}.down", "block_{i}/feed_forward/contract"),
        **norm("deep.{i}.second", "block_{i}/feed_forward_norm"),
    },
    heads=(
        Head(their_class="OwletModel", our_class=Encoder),
        Head(their_class="OwletForLabels", our_class=Classifier, names=dense("judge", "head/dense")),
    ),
)  # fmt: skip


def test_one_table_is_an_architecture(config, tmp_path, monkeypatch):
    monkeypatch.setitem(hugging_face.ARCHITECTURES, "owlet", OWLET)
    tokenizer = word_piece()
    shape = replace(
        config, vocabulary_size=len(tokenizer), activation="relu", num_segments=0, normalize_first=True, dropout=0.0,
        attention_dropout=0.0, has_pooler=False,
    )  # fmt: skip
    model = plm.Classifier(shape, ["a", "b"], tokenizer)
    plm.checkpoints.to_hugging_face(model, tmp_path / "owlet", model_type="owlet")
    theirs = json.loads((tmp_path / "owlet" / "config.json").read_text())
    assert theirs["architectures"] == ["OwletForLabels"] and theirs["inner"] == shape.intermediate_dim
    again = plm.load(f"hf:{tmp_path / 'owlet'}")
    assert isinstance(again, plm.Classifier) and again.labels == ["a", "b"]
    texts = ["the quiet film", "a"]
    np.testing.assert_allclose(again.predict_logits(texts), model.predict_logits(texts), atol=1e-6)
    with pytest.raises(ValueError, match="bert has no"):
        plm.checkpoints.to_hugging_face(model, tmp_path / "bert", model_type="bert")
