"""Killed at any moment and started again, a training ends with the same weights, and nothing is ever half-written."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export

SCRIPT = str(Path(__file__).parent / "run_killed.py")


def start(*arguments):
    return subprocess.Popen([sys.executable, SCRIPT, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def whole_or_absent(folder):
    """What is there under its own name can be opened."""
    if (folder / "model").exists():
        assert plm.load(folder / "model").labels == ["cat", "dog"]
    if (folder / "phone.onnx").exists():
        assert export.load_artifact(folder / "phone.onnx").predict_labels(["the cat"])[0] in ("cat", "dog")


def until_done(folder, encoder, train, delays):
    """Start, kill after each delay, and let the last start run to its end; what it prints."""
    for delay in delays:
        process = start(folder, encoder, train)
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.kill()
        process.communicate()
        whole_or_absent(folder)
    process = start(folder, encoder, train)
    lines = process.communicate(timeout=300)[0].splitlines()
    assert process.returncode == 0 and lines[-1].startswith("done "), lines
    return lines[-1]


@pytest.fixture(scope="module")
def undisturbed(encoder, review_files, tmp_path_factory):
    began = time.monotonic()
    line = until_done(tmp_path_factory.mktemp("whole"), encoder, review_files["train"], [])
    return line, time.monotonic() - began


@pytest.mark.slow
def test_three_kills(undisturbed, encoder, review_files, tmp_path):
    line, seconds = undisturbed
    delays = [share * seconds / 2 for share in (0.3, 0.6, 0.9)]
    assert until_done(tmp_path, encoder, review_files["train"], delays) == line


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))  # in parts, which several processes share
def test_two_hundred_kills(undisturbed, encoder, review_files, tmp_path, part):
    line, seconds = undisturbed
    random = np.random.default_rng(part)
    for round_ in range(5):
        delays = random.uniform(0, 0.7 * seconds, 8)
        assert until_done(tmp_path / str(round_), encoder, review_files["train"], delays) == line
