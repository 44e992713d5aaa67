"""Fine-tunings that end with a smaller model."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.compression.pruning import measured_sparsity
from keras_plm.recipes import Classify
from tests.tflite_operators import operands


@pytest.mark.slow
@pytest.mark.parametrize("sparsity,share", [("0.8", 0.8), ("2:4", 0.5)])
def test_pruning_ends_with_zeros_and_still_learns(settings, review_files, tmp_path, sparsity, share):
    model = Classify(
        **settings, train=review_files["train"], test=review_files["test"], epochs=8, prune=sparsity, ema_momentum=0.8,
        save_to=str(tmp_path / "model"),
    ).run()  # fmt: skip
    assert measured_sparsity(model) == pytest.approx(share, abs=0.03)
    assert measured_sparsity(plm.load(tmp_path / "model")) == measured_sparsity(model)
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"zeros in the kernels | {measured_sparsity(model):.1%}" in card
    accuracy = float(card.split("| test accuracy | ")[1].split(" ")[0])
    assert accuracy > 0.9


@pytest.mark.slow
def test_training_a_part_of_the_encoder(settings, review_files, tmp_path):
    whole = plm.load(settings["start_from"]).config
    model = Classify(
        **settings, train=review_files["train"], test=review_files["test"], epochs=8, num_layers=1, num_heads=1,
        embedding_rank=8, save_to=str(tmp_path / "model"),
    ).run()  # fmt: skip
    config = plm.load(tmp_path / "model").config
    assert (config.num_layers, config.num_heads, config.embedding_rank) == (1, 1, 8)
    assert config.hidden_dim == whole.hidden_dim // whole.num_heads and model.count_params() < 20_000
    card = (tmp_path / "model" / "README.md").read_text()
    assert float(card.split("| test accuracy | ")[1].split(" ")[0]) > 0.7
    with pytest.raises(ValueError, match="num_layers=9 is more than the larger model's"):
        Classify(**settings, train=review_files["train"], num_layers=9, save_to=str(tmp_path / "none")).run()


@pytest.mark.slow
def test_training_with_the_roundings_of_int8(settings, review_files, tmp_path):
    from keras_plm import export

    model = Classify(
        **settings, train=review_files["train"], test=review_files["test"], epochs=8, quantization_aware=True,
        prune="2:4", save_to=str(tmp_path / "model"),
    ).run()  # fmt: skip
    ranges = {weight.path: weight.numpy() for weight in model.weights if weight.path.endswith("/range")}
    assert len(ranges) == 12 * model.config.num_layers and all(not np.allclose(r, [-6, 6]) for r in ranges.values())
    again = plm.load(tmp_path / "model")
    np.testing.assert_allclose(again.predict_logits(["the cat"]), model.predict_logits(["the cat"]), atol=1e-6)
    path = export.to_tflite(again, tmp_path / "phone", "static_int8")
    comparison = export.compare(again, path, review_files["test"])
    assert comparison.artifact_score > 0.9 and comparison.largest_error < 0.05
    integer = [kinds for kinds in operands(path, "FULLY_CONNECTED") if kinds == ("int8", "int8")]
    assert len(integer) == 6 * model.config.num_layers
    assert set(operands(path, "BATCH_MATMUL")) == {("float32", "float32")}  # attention has no roundings in training
    assert measured_sparsity(again) == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_clusters_go_with_pruning_that_was_before(settings, review_files, tmp_path):
    files = {"train": review_files["train"], "validation": review_files["test"]}
    Classify(**settings, **files, epochs=6, prune="0.6", save_to=str(tmp_path / "pruned")).run()
    again = {"start_from": str(tmp_path / "pruned"), "load_best": True, "ema_momentum": 0.8}
    model = Classify(**settings | again, **files, epochs=6, clusters=8, save_to=str(tmp_path / "model")).run()
    kernel = plm.load(tmp_path / "model").encoder.blocks[0].feed_forward.expand.kernel.numpy()
    assert len(np.unique(kernel)) == 8 and (kernel == 0).mean() == pytest.approx(0.6, abs=0.02)
    assert measured_sparsity(model) == pytest.approx(0.6, abs=0.02)
    assert (tmp_path / "model" / "README.md").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "field,value", [("prune", "0.8"), ("prune", "2:4"), ("clusters", 8), ("quantization_aware", True)]
)
def test_compression_on_two_devices(settings, review_files, tmp_path, field, value):
    script = Path(__file__).parent / "run_two_replicas.py"
    arguments = [settings["start_from"], review_files["train"], str(tmp_path / "model"), field, json.dumps(value)]
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2_000:]
    replicas, sparsity, values, ranges = json.loads(done.stdout.split("OUT")[1])
    assert replicas == [2]
    assert bool(ranges) == (field == "quantization_aware") and 6.0 not in ranges  # which is where they begin
    wanted = {"0.8": 0.8, "2:4": 0.5}.get(value, 0.0)
    assert sparsity == pytest.approx(wanted, abs=0.03) and (value != 8 or values == 8)


def test_roundings_of_int8_are_not_mixed_with_those_of_bfloat16(monkeypatch):
    monkeypatch.setattr("keras_plm.training.mixed_precision._processor_has_bfloat16", lambda: True)
    recipe = Classify(start_from="x", train="x", save_to="none")
    assert recipe.policy == "mixed_bfloat16"
    assert replace(recipe, quantization_aware=True).policy == "float32"
    assert replace(recipe, quantization_aware=True, precision="mixed_bfloat16").policy == "mixed_bfloat16"


def test_compression_that_cannot_be_kept(tmp_path):
    for options, words in [
        ({"prune": "1.5"}, 'a fraction such as "0.8"'),
        ({"prune": "0.5", "load_best": True, "validation": "x"}, "prune excludes load_best and patience"),
        ({"prune": "0.5", "trainable": "lora:2"}, "they need trainable='all', not 'lora:2'"),
        ({"clusters": 4, "trainable": "last:1"}, "they need trainable='all', not 'last:1'"),
        ({"quantization_aware": True, "trainable": "lora:2"}, "with lora they are not trained"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"clusters": 1}, "clusters=1; it must be at least 2"),
        ({"clusters": 4, "prune": "0.5"}, "prune first, then fine-tune the pruned model with clusters"),
    ]:
        with pytest.raises(ValueError, match=words):
            Classify(start_from="x", train="x", save_to=str(tmp_path / "y"), **options)
