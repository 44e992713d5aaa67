"""A training that was interrupted anywhere ends as if it had not been."""

import functools
import os
import signal
import warnings

import keras
import numpy as np
import pytest

from keras_plm.layers import Dropout
from keras_plm.training import AdamW, Checkpoint, Diverged, DivergenceGuard, LinearWarmupDecay, fit_from
from keras_plm.training import checkpoint as module

X = np.random.default_rng(0).normal(size=(40, 5)).astype("float32")
STEPS, EPOCHS = 5, 3


def make():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7), Dropout(0.3), keras.layers.Dense(1)])
    model.compile(AdamW(LinearWarmupDecay(0.05, 2, 15)), "mse", metrics=["mae"])
    return model


def batches(first):
    import tensorflow as tf

    rows = tf.data.Dataset.from_tensor_slices((X, X.sum(1, keepdims=True))).batch(8).repeat()
    return rows.skip(first)


class Log(keras.callbacks.Callback):
    """Notes the logs of each epoch, and does something after a batch."""

    def __init__(self, after=None, act=None):
        super().__init__()
        self.rows, self.after, self.act, self.count = {}, after, act, 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == self.after:
            self.act()

    def on_epoch_end(self, epoch, logs=None):
        self.rows[epoch] = dict(logs)


def train(folder, after=None, act=None):
    model = make()
    checkpoint, log = Checkpoint(folder, "a"), Log(after, act)
    done = checkpoint.restore(model)
    fit_from(model, batches, done, STEPS, EPOCHS, callbacks=[log, checkpoint], shuffle=False, verbose=0)
    return model, log.rows, done


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


def assert_equal(found, whole):
    model, rows, _ = found
    for a, b in zip(model.get_weights(), whole[0].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for epoch, row in rows.items():
        assert row == pytest.approx(whole[1][epoch], rel=1e-6), epoch


@pytest.mark.parametrize("after", [1, 3, 5, 7, 14, 15])
def test_sigterm_saves_at_the_end_of_the_batch(tmp_path, whole, capsys, after):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path, after, terminate)
    assert stopped.value.code == 143 and "saved in" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGTERM) == before
    found = train(tmp_path)
    assert found[2] == after
    assert_equal(found, whole)


def test_with_a_moving_average_of_the_weights(tmp_path, monkeypatch):
    """Keras replaces the weights by their averages at the end of each `fit`."""

    averaged = functools.partial(AdamW, use_ema=True, ema_momentum=0.9)
    monkeypatch.setitem(make.__globals__, "AdamW", averaged)
    whole = train(tmp_path / "whole")
    with pytest.raises(SystemExit):
        train(tmp_path / "stopped", 7, terminate)
    assert_equal(train(tmp_path / "stopped"), whole)


def test_the_file_before_a_damaged_one_is_used(tmp_path, whole):
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, 13, fail)
    newest, before = Checkpoint(tmp_path, "a").files()
    assert (newest.batches, before.batches) == (10, 5)
    newest.path.write_bytes(newest.path.read_bytes()[:-3])
    with pytest.warns(UserWarning, match="000000010.* is damaged and is not used"):
        assert Checkpoint(tmp_path, "a").restore(make()) == 5
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* is damaged")
        assert_equal(train(tmp_path), whole)


def test_only_damaged_files_are_an_error(tmp_path):
    train(tmp_path)
    files = Checkpoint(tmp_path, "a").files()
    assert len(files) == 2
    for file in files:
        content = bytearray(file.path.read_bytes())
        content[200] ^= 1
        file.path.write_bytes(content)
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(ValueError, match="all checkpoints in .* are damaged"),
    ):
        train(tmp_path)


def test_a_full_disk_leaves_the_files_before(tmp_path, monkeypatch, whole):
    def full(tensors, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        train(tmp_path, 8, lambda: patch.setattr(module, "save_file", full))
    assert [file.batches for file in Checkpoint(tmp_path, "a").files()] == [5]
    assert len(list(tmp_path.iterdir())) == 1
    assert_equal(train(tmp_path), whole)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    train(tmp_path)
    other = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    other.compile(AdamW(0.1), "mse")
    with pytest.raises(ValueError, match="is of another model"):
        Checkpoint(tmp_path, "a").restore(other)
    assert Checkpoint(tmp_path, "b").restore(make()) == 0


def test_workers_use_the_newest_file_that_all_have(monkeypatch):
    def among(rows):
        monkeypatch.setattr(module, "of_all_workers", lambda row: rows)
        return module._newest_of_all([1], True, "folder")

    assert among([[537, 500, 1], [500, 400, 1]]) == 500
    assert among([[-1, -1, 0], [-1, -1, 0]]) is None
    for rows in ([[500, -1, 1], [-1, -1, 0]], [[500, 400, 1], [300, 200, 1]]):
        with pytest.raises(ValueError, match="no checkpoint in folder can be used by all workers"):
            among(rows)


def guarded(losses, steps=1_000, border=0):
    """The batch at which the guard raises an error, from the losses of all batches."""
    guard = DivergenceGuard(1_000, border)
    guard.set_model(make())
    total = 0.0
    for number, loss in enumerate(losses):
        if number % steps == 0:
            guard.on_epoch_begin(0)
            total = 0.0
        total += loss
        if border:
            guard.model.optimizer._iterations.assign(number + 1)
        try:
            guard.on_train_batch_end(number % steps, {"loss": total / (number % steps + 1)})
        except Diverged as problem:
            return number, str(problem)
    return None


def test_a_loss_that_diverges():
    noise = np.random.default_rng(0).normal(0, 0.3, 2_000)
    falling = 3 + 5 * np.exp(-np.arange(2_000) / 300) + noise
    assert guarded(falling) is None and guarded(falling, steps=37) is None
    alone = falling.copy()
    alone[700] += 15  # one bad batch
    assert guarded(alone) is None
    spike = falling.copy()
    spike[700:760] += 5
    number, reason = guarded(spike)
    assert 701 < number < 730 and "the loss rose from" in reason
    assert guarded([3.0, 2.0, np.nan]) == (2, "the loss became nan at batch 0")
    assert guarded([3.0, np.inf])[0] == 1
    assert guarded(0.01 + 0.01 * np.abs(noise)) is None


def test_a_loss_may_rise_where_longer_rows_begin():
    losses = 2 + np.random.default_rng(0).normal(0, 0.1, 1_500)
    losses[700:] += 2
    assert 700 < guarded(losses)[0] < 740
    assert guarded(losses, border=700) is None
    losses[1_200:] += 3
    assert 1_200 < guarded(losses, border=700)[0] < 1_240
