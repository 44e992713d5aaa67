"""The README's Python runs, on a small corpus and with small numbers in place of its own."""

import re
from pathlib import Path

import pytest

import keras_plm as plm

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_story(corpus_file, review_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    story = python_blocks()[0]
    for theirs, ours in {
        '"books/*.txt"': repr(corpus_file),
        '"train.tsv"': repr(review_files["train"]),
        '"dev.tsv"': repr(review_files["test"]),
        '"test.tsv"': repr(review_files["test"]),
        "plm.MINI": "plm.TINY",
        "vocabulary_size=8_000": "vocabulary_size=89, verbose=0",
        "steps=20_000": "steps=2, checkpoint_every=2, max_length=32",
        "epochs=3": "epochs=1, max_length=16, verbose=0",
    }.items():
        assert theirs in story, theirs
        story = story.replace(theirs, ours)
    names: dict = {}
    exec(compile(story, "README.md", "exec"), names)
    assert names["reviews"].predict_labels(["the cat"])[0] in ("cat", "dog")
    assert (tmp_path / "saved_models" / "phone" / "model.tflite").exists()


def test_the_parts():
    import numpy as np

    hidden, mask = np.ones((2, 5, 64), "float32"), np.ones((2, 5), "int32")
    names = {"plm": plm, "hidden": hidden, "mask": mask}
    exec(compile(python_blocks()[1], "README.md", "exec"), names)
    assert names["hidden"].shape == (2, 5, 64)
    assert isinstance(names["model"], plm.Pretrainer)


@pytest.mark.parametrize("command", re.findall(r"^keras-plm .*$", README, re.MULTILINE))
def test_the_commands_parse(command):
    """Every command and flag of the README exists: parsing it up to `--help` succeeds."""
    import shlex

    from keras_plm.__main__ import main

    words = shlex.split(command)[1:]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0


def test_links_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
