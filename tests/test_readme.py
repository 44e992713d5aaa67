"""The README's Python runs, on a small corpus and with small numbers in place of its own."""

import functools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import keras_plm as plm
from keras_plm import export, recipes

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_story(config, tokenizer, corpus_file, review_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plm.save(plm.Encoder(config, tokenizer), tmp_path / "encoder")
    story = python_blocks()[0]
    for theirs, ours in {
        '"hf:path/to/folder"': '"encoder"',
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
    budget = python_blocks()[4]
    for theirs, ours in {
        '"train.tsv"': repr(review_files["train"]),
        '"dev.tsv"': repr(review_files["test"]),
        "max_loss=2": 'max_loss=90, schemes=["float16"]',
    }.items():
        assert theirs in budget, theirs
        budget = budget.replace(theirs, ours)
    exec(compile(budget, "README.md", "exec"), names)
    assert (tmp_path / "saved_models" / "small_phone" / "model.tflite.budget.json").exists()


@pytest.mark.slow
def test_every_task(config, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plm.save(plm.Encoder(replace(config, max_sequence_length=128), tokenizer), tmp_path / "saved_models" / "mini")
    (tmp_path / "train.conll").write_text("the O\ncat B-PER\n\ndog B-LOC\nsees O\n")
    (tmp_path / "dev.conll").write_text("the O\ncat B-PER\n")
    answer = {"text": "cat", "answer_start": 4}
    row = {"question": "who ?", "context": "the cat sees", "answers": [answer]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    (tmp_path / "pairs.tsv").write_text("sentence1\tsentence2\tscore\nthe cat\tcat\t5\ndog\tthe\t0\n")
    story = python_blocks()[1]
    for theirs, ours in {
        'keep="best",': 'keep="best", epochs=1, verbose=0, max_length=16,',
        'train="train.json", max_length=128,': 'train="train.jsonl", max_length=128, epochs=1, verbose=0,',
        'train="pairs.tsv",': 'train="pairs.tsv", epochs=1, verbose=0, max_length=16,',
    }.items():
        assert theirs in story, theirs
        story = story.replace(theirs, ours)
    names: dict = {"plm": plm, "recipes": recipes, "export": export}
    exec(compile(story, "README.md", "exec"), names)
    assert names["tagger"].predict_tags([["the", "cat"]]) == names["entities"].predict_tags([["the", "cat"]])


def test_the_published_checkpoint(config, review_files, tmp_path, monkeypatch):
    from checkpoints.small_folders import word_piece, write_folder

    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "bert", "BertModel")
    tokenizer = word_piece()
    sizes = replace(config, vocabulary_size=len(tokenizer))
    plm.checkpoints.to_hugging_face(plm.Embedder(sizes, tokenizer), tmp_path / "sentences")
    story = python_blocks()[2]
    for theirs, ours in {
        "path/to/folder": "bert",
        "path/to/sentence_transformer": "sentences",
        '"train.tsv"': f"{review_files['train']!r}, epochs=1, max_length=16, verbose=0",
    }.items():
        assert theirs in story, theirs
        story = story.replace(theirs, ours)
    names: dict = {"plm": plm, "recipes": recipes}
    exec(compile(story, "README.md", "exec"), names)
    assert names["vectors"].shape == (2, sizes.hidden_dim)
    assert plm.load("hf:out/reviews").labels == ["cat", "dog"]


def test_the_parts():
    names: dict = {"plm": plm}
    exec(compile(python_blocks()[3], "README.md", "exec"), names)
    assert names["hidden"].shape == (2, 5, 512)
    assert isinstance(names["model"], plm.Pretrainer)


@pytest.mark.parametrize("command", re.findall(r"^keras-plm .*$", README, re.MULTILINE))
def test_the_commands_parse(command, monkeypatch, tmp_path):
    """Every command and flag of the README exists: all but the work is done."""
    import shlex

    from keras_plm import __main__ as command_line

    called = []
    for name in recipes.__all__:
        if hasattr(getattr(recipes, name), "run"):
            monkeypatch.setattr(getattr(recipes, name), "run", lambda self: called.append(self))
    for groups in (command_line.COMMANDS, command_line.EXPORTS):
        for entry in (entry for group in groups.values() for entry in group.values()):
            module, _, name = entry.target.partition(":")
            if module == "keras_plm.commands":
                monkeypatch.setattr(f"{module}.{name}", recorded(entry.load(), called), raising=False)
    monkeypatch.chdir(tmp_path)
    command_line.main(shlex.split(command)[1:])
    assert len(called) == 1
    with pytest.raises(SystemExit):
        command_line.main([*shlex.split(command)[1:], "--no-such-flag", "3"])


def recorded(function, called):
    """The same signature without the work."""

    @functools.wraps(function)
    def record(*arguments, **options):
        called.append(function)

    return record


def test_links_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
