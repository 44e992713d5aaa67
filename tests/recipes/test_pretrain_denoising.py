from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import PretrainDenoising, Translate
from keras_plm.training import Checkpoint

SMALL = replace(
    plm.TRANSFORMER_TINY, num_layers=1, num_decoder_layers=1, num_heads=2, hidden_dim=32, intermediate_dim=48,
    vocabulary_size=160, max_sequence_length=32, dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
RHYME = "This is the house that Jack built. This is the malt that lay in the house that Jack built.\n"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "a.txt").write_text(RHYME * 31)
    (folder / "dev.txt").write_text(RHYME * 5)
    return folder


def recipe(folder, tmp_path, **changes):
    fields = {
        "corpus": str(folder / "a.txt"), "config": SMALL, "batch_size": 8, "max_length": 24, "learning_rate": 1e-2,
        "steps": 6, "checkpoint_every": 3, "save_to": str(tmp_path / "restorer"), "precision": "float32", "verbose": 0,
    }  # fmt: skip
    return PretrainDenoising(**fields | changes)


@pytest.mark.parametrize("noise", ["spans", "infilling"])
def test_a_rhyme_is_restored(corpus, tmp_path, noise):
    first = recipe(corpus, tmp_path, validation=str(corpus / "dev.txt"), steps=200, checkpoint_every=100, noise=noise)
    model = first.run()
    card = (tmp_path / "restorer" / "README.md").read_text()
    perplexity = float(card.split("| perplexity | ")[1].split(" ")[0])
    assert perplexity < 3 and f"{noise}, {15 if noise == 'spans' else 30}% of the tokens" in card
    history = (tmp_path / "restorer" / "history.csv").read_text().splitlines()
    assert "val_accuracy" in history[0] and len(history) == 3
    assert not model.compiled
    mark = "<extra_id_0>" if noise == "spans" else "<mask>"
    source = f"the {mark} that Jack built. This is the malt"
    loaded = plm.load(tmp_path / "restorer")
    assert loaded.generate([source], max_new_tokens=12) == model.generate([source], max_new_tokens=12)
    assert PretrainDenoising.from_json(tmp_path / "restorer" / "recipe.json") == first


@pytest.mark.slow
def test_a_translator_can_start_from_it(corpus, tmp_path):
    recipe(corpus, tmp_path).run()
    pairs = {"source": ["the house", "the malt"] * 4, "target": ["das Haus", "das Malz"] * 4}
    rows = [dict(zip(pairs, row, strict=True)) for row in zip(*pairs.values(), strict=True)]
    tuned = Translate(
        start_from=str(tmp_path / "restorer"), train=rows, epochs=1, save_to=str(tmp_path / "translator"),
        max_length=16, verbose=0, precision="float32",
    ).run()  # fmt: skip
    assert len(tuned.generate(["the house"], max_new_tokens=3)) == 1


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
    monkeypatch.setattr("keras_plm.recipes.pretrain_denoising.learn_sentence_pieces", lambda *_: pytest.fail("again"))
    resumed = second.run()
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_wrong_settings(corpus, tmp_path):
    with pytest.raises(ValueError, match="noise_rate=1.5"):
        recipe(corpus, tmp_path, noise_rate=1.5)
    with pytest.raises(ValueError, match="noise='holes'; choose one of"):
        recipe(corpus, tmp_path, noise="holes")
    with pytest.raises(TypeError, match="give an object of EncoderDecoderConfig"):
        recipe(corpus, tmp_path, config=plm.MINI)
    with pytest.raises(ValueError, match="leave out config and vocabulary_size"):
        recipe(corpus, tmp_path, start_from="somewhere")
    with pytest.raises(ValueError, match="max_length=4000, but the model has 32 positions"):
        recipe(corpus, tmp_path, max_length=4000).run()
