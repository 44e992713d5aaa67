import json
import os

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import keras_plm as plm
from conftest import token_batch
from keras_plm import checkpoints
from keras_plm.models import check_free, saving, tensor_files


@pytest.fixture
def folder(classifier, tmp_path):
    plm.save(classifier, tmp_path / "model")
    return tmp_path / "model"


def test_round_trip(config, classifier, tokenizer, folder):
    loaded = plm.load(folder)
    assert loaded.labels == classifier.labels and loaded.config == config
    texts = ["the cat sees", "a dog, a dog"]
    # not to the last bit: the threads of a matrix product may add in another order
    np.testing.assert_allclose(loaded.predict_logits(texts), classifier.predict_logits(texts), atol=1e-5)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    for model in (plm.Encoder(config), plm.Pretrainer(config, tokenizer)):
        plm.save(model, folder, overwrite=True)
        inputs = token_batch(config)
        if isinstance(model, plm.Pretrainer):
            inputs["mask_positions"] = np.array([[1, 2]] * 3, "int32")
        for name, value in plm.load(folder)(inputs).items():
            np.testing.assert_allclose(value, model(inputs)[name], atol=1e-5)


def test_weights_come_back_and_are_not_copied_at_each_read(config, tmp_path):
    """TensorFlow copies a variable at each read once it has been assigned in parts."""
    encoder = plm.Encoder(config)
    plm.save(encoder, tmp_path / "model")
    again = plm.load(tmp_path / "model")
    loaded = saving.named_weights(again)
    for path, weight in saving.named_weights(encoder).items():
        np.testing.assert_array_equal(np.asarray(loaded[path]), weight, err_msg=path)
    reads = [
        again.embedding.embedding_matrix.value.read_value() for _ in range(2)
    ]  # both are kept, or the memory is used again
    first, second = (read._numpy_internal().__array_interface__["data"][0] for read in reads)
    assert first == second


def test_nothing_is_overwritten_unasked(classifier, folder, tmp_path):
    with pytest.raises(FileExistsError, match="exists and is not empty; pass overwrite=True"):
        plm.save(classifier, folder)
    (tmp_path / "file").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="exists and is a file"):
            plm.save(classifier, tmp_path / "file", overwrite)
    with pytest.raises(FileExistsError, match="contains files that are not from a model or corpus and would be lost"):
        plm.save(classifier, tmp_path, overwrite=True)  # where the models are
    with pytest.raises(FileExistsError, match="is a folder; choose the name of a file"):
        check_free(tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "model"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("No space left"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("at", ["save_file", "replace"])
def test_an_interrupted_save_loses_nothing(classifier, folder, monkeypatch, error, at):
    if at == "replace" and isinstance(error, SafetensorError):
        pytest.skip("renaming does not raise it")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    calls = []
    real = os.replace

    def failing_second(source, target):
        calls.append(target)
        if len(calls) == 2:  # the old folder is away, the new one not yet there
            raise error
        real(source, target)

    def failing(*arguments, **options):
        raise error

    if at == "save_file":
        monkeypatch.setattr(tensor_files, "save_file", failing)
    else:
        monkeypatch.setattr(os, "replace", failing_second)
    with pytest.raises(OSError if isinstance(error, SafetensorError) else type(error)):
        plm.save(classifier, folder, overwrite=True)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir() if p.name.startswith(".model.") and any(p.iterdir())] == []


def test_wrong_weights_are_named(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["strange"] = weights.pop("pooler/bias")
    weights["block_0/attention/query/bias"] = np.zeros(5, "float32")
    save_file(weights, path)
    with pytest.raises(ValueError) as caught:
        plm.load(folder)
    message = str(caught.value)
    assert "missing: ['pooler/bias'], unexpected: ['strange']" in message
    assert "block_0/attention/query/bias is (5,), not (33,)" in message


def test_a_large_model_is_saved_in_shards(tmp_path, config, tokenizer, monkeypatch):
    model = plm.Classifier(config, ["a", "b"], tokenizer)
    monkeypatch.setattr(tensor_files, "_SHARD_BYTES", 20_000)
    plm.save(model, tmp_path / "model")
    checkpoints.to_hugging_face(model, tmp_path / "theirs")
    for name in ("model", "theirs"):
        shards = sorted((tmp_path / name).glob("model-*.safetensors"))
        assert len(shards) > 3 and not (tmp_path / name / "model.safetensors").exists()
        sizes = [sum(array.nbytes for array in load_file(shard).values()) for shard in shards]
        assert all(size <= 20_000 or len(load_file(shard)) == 1 for size, shard in zip(sizes, shards, strict=True))
        index = json.loads((tmp_path / name / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(sizes)
    for again in (plm.load(tmp_path / "model"), plm.load(f"hf:{tmp_path / 'theirs'}")):
        np.testing.assert_array_equal(again(token_batch(config)), model(token_batch(config)))
    shards[1].unlink()
    with pytest.raises(FileNotFoundError, match="model-00002-of"):
        plm.load(f"hf:{tmp_path / 'theirs'}")


def test_broken_folders(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config.json"):
        plm.load(tmp_path)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        plm.load(folder)
    config = json.loads((folder / "config.json").read_text())
    for change, message in [
        ({"class": "os.system"}, "unknown class 'os.system'"),
        ({"format": 99}, "has format 99"),
        ({"model": {"config": {"class": "EncoderConfig", "hidden": 1}}}, "unknown EncoderConfig fields"),
        ({"model": {"config": {"hidden_dim": 8}}}, "the config has no class, such as DecoderConfig, EncoderConfig"),
        ({"model": {"config": {"class": "os.system"}}}, "unknown config class 'os.system'; choose one of"),
        ({"tokenizer": {"class": "os.system"}}, "unknown tokenizer 'os.system'"),
    ]:
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=message):
            plm.load(folder)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "model"}))
    with pytest.raises(ValueError, match="is not a model config: KeyError\\('model'\\)"):
        plm.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not a model config"):
        plm.load(folder)
