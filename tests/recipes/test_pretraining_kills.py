"""A pre-training that is interrupted at any batch, in any way, ends with the weights of one that was not.

An exception or SIGTERM at a random batch, a checkpoint that is cut off, a full disk: at 200 points in `make test-all`.
"""

import os
import random
import signal
import warnings
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import Pretrain, PretrainCausal
from keras_plm.training import Checkpoint
from keras_plm.training import checkpoint as module

ENCODER = replace(
    plm.TINY, vocabulary_size=89, num_layers=1, hidden_dim=16, intermediate_dim=24, num_heads=2, max_sequence_length=32
)
DECODER = replace(
    plm.GPT_MINI, vocabulary_size=300, num_layers=1, hidden_dim=16, intermediate_dim=24, num_heads=2,
    max_sequence_length=32,
)  # fmt: skip
STEPS = 24


class Killed(BaseException):
    """As a kill: nothing catches it."""


class Interruption(keras.callbacks.Callback):
    """Interrupts the training after a batch."""

    def __init__(self, folder, kind, after, patch):
        super().__init__()
        self.folder, self.kind, self.after, self.patch, self.count = folder, kind, after, patch, 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count != self.after:
            return
        if self.kind == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        elif self.kind == "disk":
            self.patch.setattr(module, "save_file", full)
        else:
            files = Checkpoint(self.folder, "worker_0").files()
            if self.kind == "truncated" and len(files) > 1:
                files[0].path.write_bytes(files[0].path.read_bytes()[: random.randrange(3_000)])
            raise Killed


def full(tensors, path):
    path.write_bytes(b"half of a file")
    raise OSError(28, "No space left on device")


def run(kind, corpus, folder, callbacks=()):
    recipe, config = {"encoder": (Pretrain, ENCODER), "decoder": (PretrainCausal, DECODER)}[kind]
    return recipe(
        corpus=corpus, validation=corpus, config=config, steps=STEPS, checkpoint_every=4, validation_steps=2,
        batch_size=4, max_length=24, learning_rate=1e-2, save_to=str(folder), precision="float32", verbose=0,
        callbacks=callbacks,
    ).run()  # fmt: skip


def losses(folder):
    rows = [row.split(",") for row in (folder / "history.csv").read_text().split()]
    return [dict(zip(rows[0], map(float, row), strict=True)) for row in rows[1:]]


def interrupted(kind, corpus, folder, draw, most, monkeypatch):
    """Interrupt a training up to `most` times, and let it end. Returns the model and the number of interruptions."""
    state = folder.with_name(f"{folder.name}.training")
    for count in range(most):
        how = draw.choice(["kill", "kill", "term", "truncated", "disk"])
        with monkeypatch.context() as patch:
            interruption = Interruption(state, how, draw.randint(1, STEPS // 3), patch)
            try:
                return run(kind, corpus, folder, [interruption]), count
            except (Killed, SystemExit, OSError):
                files = Checkpoint(state, "worker_0").files()
                assert any(module._digest(file.path) == file.digest for file in files), how
                assert not folder.exists()
    return run(kind, corpus, folder), most


def check(kind, corpus, tmp_path, monkeypatch, draws, most=9):
    whole = run(kind, corpus, tmp_path / "whole")
    points = 0
    for seed in draws:
        folder = tmp_path / str(seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* is damaged and is not used")
            model, count = interrupted(kind, corpus, folder, random.Random(seed), most, monkeypatch)
        points += count
        for a, b in zip(model.get_weights(), whole.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        for found, wanted in zip(losses(folder), losses(tmp_path / "whole"), strict=True):
            assert found == pytest.approx(wanted, abs=1e-5)
        assert not folder.with_name(f"{folder.name}.training").exists()
    return points


def test_interruptions(corpus_file, tmp_path, monkeypatch):
    assert check("encoder", corpus_file, tmp_path, monkeypatch, [0], most=3) > 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_a_hundred_interruptions(kind, corpus_file, tmp_path, monkeypatch):
    assert check(kind, corpus_file, tmp_path, monkeypatch, range(1, 25)) >= 100
