import json
import math
from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import PretrainCausal
from keras_plm.training import Checkpoint

SMALL = replace(
    plm.GPT_MINI, num_layers=1, num_heads=2, hidden_dim=32, intermediate_dim=48, max_sequence_length=32, dropout=0.0,
    attention_dropout=0.0, vocabulary_size=300,
)  # fmt: skip
RHYME = "This is the house that Jack built. This is the malt that lay in the house that Jack built.\n"
SETTINGS = {
    "config": SMALL, "batch_size": 4, "max_length": 24, "learning_rate": 1e-2, "verbose": 0, "precision": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "a.txt").write_text(RHYME * 9)
    rows = [{"text": RHYME[i : i + 40]} for i in range(0, 60, 5)]
    (folder / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "dev.txt").write_text(RHYME)
    return folder


def recipe(folder, tmp_path, **changes):
    files = (str(folder / "a.txt"), str(folder / "b.jsonl"))
    fields = {"corpus": files, "steps": 6, "checkpoint_every": 3, "save_to": str(tmp_path / "writer")}
    return PretrainCausal(**SETTINGS | fields | changes)


def test_a_rhyme_is_learned_and_written(corpus, tmp_path):
    first = recipe(corpus, tmp_path, validation=str(corpus / "dev.txt"), steps=80, checkpoint_every=40)
    model = first.run()
    card = (tmp_path / "writer" / "README.md").read_text()
    bits = float(card.split("| bits_per_byte | ")[1].split(" ")[0])
    assert bits < 1.0 < math.log2(300) and "padding in the rows" in card
    text = model.generate(["This is the house"], max_new_tokens=8)[0]
    assert text.startswith(" that Jack built.")
    # the same as by the scores of the texts themselves; the first token is not predicted
    loaded = plm.load(tmp_path / "writer")
    ids = loaded.texts_to_ids([RHYME], ends=True)[0]
    rows = [np.array([ids[i : i + 24]], "int32") for i in range(0, len(ids) - 1, 24)]
    found = [np.asarray(loaded({"token_ids": row, "padding_mask": np.ones_like(row)}))[0] for row in rows]
    logits = np.concatenate(found)[: len(ids) - 1]
    nats = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(ids) - 1), ids[1:]]
    assert bits == pytest.approx(nats.sum() / math.log(2) / len(RHYME), abs=1e-3)
    assert loaded.generate(["This is"], max_new_tokens=5) == model.generate(["This is"], max_new_tokens=5)
    history = (tmp_path / "writer" / "history.csv").read_text().splitlines()
    assert history[0].startswith("epoch") and "val_loss" in history[0] and len(history) == 3
    assert not (tmp_path / "writer.training").exists()
    assert PretrainCausal.from_json(tmp_path / "writer" / "recipe.json").config == SMALL


def test_an_interrupted_training_ends_with_the_same_weights(corpus, tmp_path, monkeypatch):
    whole = recipe(corpus, tmp_path).run()
    real = Checkpoint.on_epoch_end

    def stop(self, *arguments):
        real(self, *arguments)
        raise KeyboardInterrupt

    second = recipe(corpus, tmp_path, save_to=str(tmp_path / "second"))
    monkeypatch.setattr(Checkpoint, "on_epoch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        second.run()
    monkeypatch.setattr(Checkpoint, "on_epoch_end", real)
    kept = tmp_path / "second.training"
    assert (kept / "tokenizer_settings.json").exists() and (kept / "merges.txt").exists()
    monkeypatch.setattr("keras_plm.recipes.pretrain_causal.learn_byte_pairs", lambda *_, **__: pytest.fail("again"))
    resumed = second.run()
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_it_continues_a_model(corpus, tmp_path):
    recipe(corpus, tmp_path).run()
    fields = {name: value for name, value in SETTINGS.items() if name != "config"}
    again = PretrainCausal(
        **fields, corpus=str(corpus / "a.txt"), start_from=str(tmp_path / "writer"), steps=2, fast_dev_run=True
    ).run()
    assert again.tokenizer.merges == plm.load(tmp_path / "writer").tokenizer.merges


def test_errors(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file matches"):
        recipe(corpus, tmp_path, corpus=str(tmp_path / "*.txt")).run()
    with pytest.raises(ValueError, match="max_length=33, but the model has 32 positions"):
        recipe(corpus, tmp_path, max_length=33).run()
    with pytest.raises(ValueError, match="leave out config and vocabulary_size"):
        recipe(corpus, tmp_path, start_from="x")
    with pytest.raises(TypeError, match="give an object of DecoderConfig"):
        recipe(corpus, tmp_path, config=plm.TINY)
    plm.save(plm.Encoder(plm.TINY), tmp_path / "encoder")
    fields = {name: value for name, value in SETTINGS.items() if name != "config"}
    with pytest.raises(ValueError, match="is a Encoder; give a TextGenerator"):
        PretrainCausal(
            **fields, corpus=str(corpus / "a.txt"), start_from=str(tmp_path / "encoder"), save_to=str(tmp_path / "y")
        ).run()
