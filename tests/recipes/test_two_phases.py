"""Short rows first, then long ones, in one training."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import Pretrain, PretrainCausal, pretraining_recipe
from keras_plm.recipes.pretraining_recipe import PretrainingRecipe
from keras_plm.training import fit_from

SMALL = {"num_layers": 1, "hidden_dim": 32, "intermediate_dim": 48, "num_heads": 2, "max_sequence_length": 48}
KINDS = {
    "encoder": (Pretrain, replace(plm.TINY, **SMALL), {"vocabulary_size": 97}),
    "packed": (Pretrain, replace(plm.TINY, **SMALL), {"vocabulary_size": 97, "pack": True}),
    "decoder": (PretrainCausal, plm.DecoderConfig(**SMALL, vocabulary_size=300), {"vocabulary_size": 300}),
}


class Stop(keras.callbacks.Callback):
    """Interrupts a training after some batches."""

    def __init__(self, after):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def recipe(kind, corpus, folder, **changes):
    make, config, own = KINDS[kind]
    fields = {
        "corpus": corpus, "config": config, "steps": 20, "checkpoint_every": 10, "batch_size": 2, "max_length": 40,
        "short_length": 16, "short_share": 0.6, "precision": "float32", "verbose": 0, **own,
    }  # fmt: skip
    return make(**fields | changes, save_to=str(folder))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [1, 2])
def test_the_first_steps_have_short_rows(kind, parts, corpus_file, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(PretrainingRecipe, "_fit", lambda self, trainee, rows, *rest: seen.append((self, rows)))
    own = recipe(kind, corpus_file, tmp_path / "m", gradient_accumulation_steps=parts)
    own.run()
    replace(own, fast_dev_run=True).run()
    (own, rows), (short, short_rows) = seen
    assert 0 < short_rows.short_steps < short.batches.updates  # a test run has both lengths

    def batches(first):
        return [inputs["token_ids"].numpy() for inputs, *_ in own.batches.of_rows(rows, lambda done: 0)(first)]

    whole = batches(0)
    assert [batch.shape[1] for batch in whole] == [16] * 12 + [40] * 8
    for first in (3, 11, 12, 13, 19):
        for again, batch in zip(batches(first), whole[first:], strict=True):
            np.testing.assert_array_equal(again, batch)


@pytest.mark.parametrize("stopped_after", [7, 16])
def test_a_resumed_training_ends_with_the_same_weights(stopped_after, corpus_file, tmp_path):
    whole = recipe("encoder", corpus_file, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        recipe("encoder", corpus_file, tmp_path / "m", callbacks=[Stop(stopped_after)]).run()
    resumed = recipe("encoder", corpus_file, tmp_path / "m").run()
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_settings_that_do_not_go_together(corpus_file, tmp_path):
    for changes, message in [
        ({"short_length": 40}, "short_length=40; it must be from 5 to max_length=40"),
        ({"short_share": 1.0}, "short_share=1.0; it is a fraction"),
    ]:
        with pytest.raises(ValueError, match=message):
            recipe("encoder", corpus_file, tmp_path / "m", **changes)
    with pytest.raises(ValueError, match="batches of two shapes"):
        recipe("encoder", corpus_file, tmp_path / "m", static_shapes=True)


def test_batches_that_are_left_out_do_not_shorten_the_first_phase(corpus_file, tmp_path, monkeypatch):
    widths = []

    def noted(model, batches, done, *rest, **options):
        widths.append([inputs["token_ids"].shape[1] for inputs, *_ in batches(done)])
        fit_from(model, batches, done, *rest, **options)

    class Poison(keras.callbacks.Callback):
        count = 0

        def on_train_batch_end(self, batch, logs=None):
            self.count += 1
            if self.count in (13, 23):  # in the first phase, and in the second
                self.model.trainable_variables[0].assign(np.full(self.model.trainable_variables[0].shape, np.nan))

    monkeypatch.setattr(pretraining_recipe, "fit_from", noted)
    recipe("encoder", corpus_file, tmp_path / "m", short_share=0.7, callbacks=[Poison()]).run()
    assert [(w.count(16), w.count(40)) for w in widths] == [(14, 6), (4, 6), (4, 6)]
