"""LoRA updates in PEFT's files, both ways."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import keras_plm as plm
from keras_plm.checkpoints import load_lora, save_lora
from keras_plm.models import encoder_like, named_weights
from tests.checkpoints import random_weights
from tests.conftest import token_batch

from .small_folders import write_folder


def make(config, tokenizer, adaptation=None, **change):
    keras.utils.set_random_seed(5)
    config = replace(config, **change)
    return plm.Classifier(config, ["cat", "dog"], tokenizer, plm.Encoder(config, tokenizer, adaptation))


@pytest.fixture
def trained(config, tokenizer):
    """A model whose updates do something."""
    lora = plm.Adaptation(lora_rank=3, lora_alpha=7.0, lora_targets=("query", "contract", "expand"))
    model = make(config, tokenizer, lora)
    for weight in model.weights:
        if "/lora_" in weight.path:
            weight.assign(np.random.default_rng(len(weight.path)).normal(size=weight.shape) * 0.3)
    return model


def test_there_and_back(config, tokenizer, trained, tmp_path):
    save_lora(trained, tmp_path / "lora", base="some/model")
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert settings["r"] == 3 and settings["lora_alpha"] == 7.0
    assert settings["target_modules"] == ["attention.self.query", "intermediate.dense", "output.dense"]
    assert settings["modules_to_save"] == ["classifier", "pooler"]
    tensors = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    name = "base_model.model.bert.encoder.layer.1.attention.self.query.lora_A.weight"
    assert tensors[name].shape == (3, config.hidden_dim)
    keras.utils.set_random_seed(6)
    base = make(config, tokenizer)  # the checkpoint that the updates belong to
    for path, weight in named_weights(base).items():
        weight.assign(named_weights(trained)[path])
    inputs = token_batch(config)
    again = load_lora(base, tmp_path / "lora")
    assert again.adaptation.lora_rank == 3
    np.testing.assert_allclose(again(inputs), trained(inputs), atol=1e-6)
    assert np.abs(np.asarray(base(inputs)) - np.asarray(trained(inputs))).max() > 1e-3


def test_updates_that_are_scaled_by_the_root_of_their_rank(config, tokenizer, trained, tmp_path):
    save_lora(trained, tmp_path / "lora", base="some/model")
    file = tmp_path / "lora" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_rslora": True}))
    again = load_lora(make(config, tokenizer), tmp_path / "lora")
    assert again.adaptation.lora_alpha / again.adaptation.lora_rank == pytest.approx(7.0 / 3**0.5)


@pytest.mark.parametrize(
    ("name", "model_type", "module"),
    [
        ("DistilBertForSequenceClassification", None, "distilbert.transformer.layer.0.attention.q_lin"),
        ("ElectraForSequenceClassification", "electra", "electra.encoder.layer.0.attention.self.query"),
    ],
)
def test_each_architecture_has_its_own_names(name, model_type, module, tmp_path):
    write_folder(tmp_path / "theirs", name)
    base = plm.load(f"hf:{tmp_path / 'theirs'}")
    encoder = encoder_like(base, base.config, plm.Adaptation(lora_rank=2, lora_targets=("query",)))
    model = plm.Classifier(base.config, base.labels, base.tokenizer, encoder)
    save_lora(model, tmp_path / "lora", model_type=model_type)
    stored = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert f"base_model.model.{module}.lora_A.weight" in stored
    again = load_lora(base, tmp_path / "lora")
    for path, weight in named_weights(model).items():
        if "/lora_" in path or path.startswith("head/"):
            np.testing.assert_array_equal(named_weights(again)[path], weight)
    with pytest.raises(ValueError, match="model_type='x'; choose one of"):
        save_lora(model, tmp_path / "other", model_type="x")


@pytest.mark.slow
def test_peft_reads_ours_and_we_read_theirs(config, tokenizer, trained, tmp_path):
    python = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
    if not python.exists():
        pytest.skip("no .venv-peers; make test-all makes it")
    inputs = random_weights.inputs("bert")
    inputs["token_ids"] = inputs["token_ids"] % config.vocabulary_size
    base = make(config, tokenizer, vocabulary_size=config.vocabulary_size)
    plm.checkpoints.to_hugging_face(base, tmp_path / "base", "bert")
    start = plm.load(f"hf:{tmp_path / 'base'}")
    save_lora(load_onto(start, trained), tmp_path / "ours")
    script = Path(__file__).parent / "transformers_peer.py"
    done = subprocess.run([python, script, "peft", tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in ("ours", "theirs"):
        model = load_lora(start, tmp_path / name)
        found = np.asarray(model(inputs))
        np.testing.assert_allclose(found, np.load(tmp_path / f"{name}.npz")["logits"], atol=1e-4)
        assert np.abs(found - np.asarray(start(inputs))).max() > 1e-3


def load_onto(start, trained):
    """The updates and the head of `trained` on another model."""
    copy = encoder_like(start, trained.config, trained.adaptation)
    model = plm.Classifier(trained.config, start.labels, start.tokenizer, copy)
    for path, weight in named_weights(model).items():
        if "/lora_" in path or path.startswith("head/"):
            weight.assign(named_weights(trained)[path])
    return model


def test_merged_it_answers_the_same(config, trained, tmp_path):
    merged = plm.merge_lora(trained)
    inputs = token_batch(config)
    assert merged.adaptation.lora_rank == 0
    assert len(merged.weights) < len(trained.weights)
    np.testing.assert_allclose(merged(inputs), trained(inputs), atol=1e-5)
    with pytest.raises(ValueError, match="no LoRA updates to merge"):
        plm.merge_lora(merged)
    with pytest.raises(ValueError, match="no LoRA updates to save"):
        save_lora(merged, tmp_path / "x")
    plm.checkpoints.to_hugging_face(merged, tmp_path / "hf")  # nothing is left of them
    plm.save(trained, tmp_path / "ours")
    np.testing.assert_allclose(plm.load(tmp_path / "ours")(inputs), trained(inputs), atol=1e-6)


def test_files_that_do_not_fit(config, tokenizer, trained, tmp_path):
    folder = tmp_path / "lora"
    save_lora(trained, folder)
    base = plm.merge_lora(trained)
    with pytest.raises(FileExistsError):
        save_lora(trained, folder)
    with pytest.raises(FileNotFoundError, match="is it a PEFT folder"):
        load_lora(base, tmp_path)
    with pytest.raises(ValueError, match="a Encoder has no LoRA format"):
        load_lora(base.encoder, folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(n for n in tensors if "layer.1.attention.self.query.lora_A" in n)
    save_file({**tensors, name.replace("layer.1", "layer.9"): tensors[name]}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="layer.9.*matches no layer of this Classifier"):
        load_lora(base, folder)
    save_file({n: t for n, t in tensors.items() if n != name}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="missing.*lora_a"):
        load_lora(base, folder)
    save_file(tensors | {name: tensors[name][:2].copy()}, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="lora_a is"):
        load_lora(base, folder)
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="already has LoRA updates"):
        load_lora(trained, folder)
    with pytest.raises(ValueError, match="is for the labels"):
        load_lora(plm.Classifier(base.config, ["dog", "cat"], tokenizer), folder)
    with pytest.raises(ValueError, match="plm.merge_lora"):
        plm.checkpoints.to_hugging_face(trained, tmp_path / "hf")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"alpha_pattern": {"query": 1}}))
    with pytest.raises(ValueError, match="differ from layer to layer"):
        load_lora(base, folder)
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"use_dora": True}))
    with pytest.raises(ValueError, match="without DoRA"):
        load_lora(base, folder)


def test_targets_that_match_no_layer():
    with pytest.raises(ValueError, match="match no layer; choose from query, key"):
        plm.Adaptation(lora_rank=2, lora_targets=("q_proj",))
    with pytest.raises(ValueError, match="match no layer"):
        plm.Adaptation(lora_rank=2, lora_targets=())
