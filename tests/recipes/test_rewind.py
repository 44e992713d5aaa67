"""A pre-training that diverges starts again from its checkpoint, with other batches."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import Pretrain

CONFIG = replace(
    plm.TINY, vocabulary_size=89, num_layers=1, hidden_dim=16, intermediate_dim=24, num_heads=2, max_sequence_length=32
)


class Poison(keras.callbacks.Callback):
    """Makes a weight NaN after some batches."""

    def __init__(self, *batches):
        super().__init__()
        self.batches, self.count, self.folder, self.noted = list(batches), 0, None, []

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count in self.batches:
            variable = self.model.trainable_variables[0]
            variable.assign(np.full(variable.shape, np.nan))

    def on_epoch_end(self, epoch, logs=None):
        path = self.folder / "worker_0.rewinds.json"
        self.noted.append(json.loads(path.read_text()) if path.exists() else [])


def run(corpus, folder, poison, **changes):
    poison.folder = folder.with_name(f"{folder.name}.training")
    return Pretrain(
        corpus=corpus, config=CONFIG, steps=9, checkpoint_every=3, batch_size=4, max_length=24, save_to=str(folder),
        precision="float32", callbacks=[poison], **{"verbose": 0} | changes,
    ).run()  # fmt: skip


def test_bad_batches_are_left_out(corpus_file, tmp_path, capsys):
    poison = Poison(4)  # the fifth batch has no loss
    model = run(corpus_file, tmp_path / "m", poison, verbose=2)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    told = "the loss became nan at batch 5: the training is rewound to batch 3, without the batches up to the bad one"
    assert told in capsys.readouterr().out
    assert poison.noted == [[], [[3, 2]], [[3, 2]]] and poison.count == 4 + 6
    epochs = (tmp_path / "m" / "history.csv").read_text().split()
    assert [row.split(",")[0] for row in epochs] == ["epoch", "0", "1", "2"]


def test_a_weight_that_is_no_number_is_not_saved(corpus_file, tmp_path):
    poison = Poison(3)  # the last batch of the first epoch
    model = run(corpus_file, tmp_path / "m", poison)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert poison.noted[-1] == [[0, 3]]


def test_a_training_that_diverges_at_once(corpus_file, tmp_path):
    model = run(corpus_file, tmp_path / "m", Poison(1))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_not_for_ever(corpus_file, tmp_path):
    with pytest.raises(RuntimeError, match="after 5 restarts from a checkpoint; delete .* lower learning rate"):
        run(corpus_file, tmp_path / "m", Poison(*range(1, 99)))
    assert (tmp_path / "m.training").exists() and not (tmp_path / "m").exists()
    with pytest.raises(RuntimeError, match="the loss became nan at batch 2; lower the learning rate"):
        run(corpus_file, tmp_path / "n", Poison(1), fast_dev_run=True)
