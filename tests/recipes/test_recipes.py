import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import Classify, Pretrain, Recipe
from keras_plm.recipes.training_method import SUPERVISED
from keras_plm.recipes.training_state import TrainingState


@pytest.fixture(scope="module")
def small():
    return replace(plm.TINY, vocabulary_size=89, hidden_dim=32, intermediate_dim=48, max_sequence_length=64)


@pytest.fixture(scope="module")
def pretrained(small, corpus_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "model"
    Pretrain(
        corpus=corpus_file,
        validation=corpus_file,
        config=small,
        steps=60,
        checkpoint_every=20,
        validation_steps=3,
        batch_size=16,
        max_length=32,
        learning_rate=5e-3,
        tensorboard=str(folder.parent / "log"),
        save_to=str(folder),
        verbose=0,
    ).run()
    return folder


def history(folder):
    header, *rows = (folder / "history.csv").read_text().split()
    return [dict(zip(header.split(","), map(float, row.split(",")), strict=True)) for row in rows]


def test_pretraining_learns_and_writes_its_record(pretrained, corpus_file):
    rows = history(pretrained)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] - 0.5
    record = json.loads((pretrained / "recipe.json").read_text())
    assert record["recipe"] == "Pretrain" and record["corpus"] == corpus_file and record["steps"] == 60
    card = (pretrained / "README.md").read_text()
    assert "masked_tokens_unigram_accuracy" in card and "tensorflow 2." in card
    assert not pretrained.with_name("model.training").exists()
    assert list((pretrained.parent / "log").glob("events*"))
    model = plm.load(pretrained)
    assert isinstance(model, plm.Pretrainer) and model.dtype_policy.name == "float32"


def test_fine_tuning_learns(pretrained, review_files, tmp_path, capsys):
    recipe = Classify(
        start_from=str(pretrained),
        train=review_files["train"],
        validation=review_files["test"],
        test=review_files["test"],
        epochs=6,
        batch_size=8,
        max_length=12,
        learning_rate=3e-3,
        dropout=0.0,
        save_to=str(tmp_path / "model"),
        verbose=2,
    )
    model = recipe.run()
    printed = capsys.readouterr().out
    assert "truncated" in printed and "2 labels: " in printed and f"saved in {tmp_path / 'model'}" in printed
    assert f"keras-plm predict --model {tmp_path / 'model'}" in printed
    assert history(tmp_path / "model")[-1]["val_accuracy"] > 0.9
    assert model.predict_labels(["the cat sees", "hears , dog"]) == ["cat", "dog"]
    assert model.config.dropout == 0.0
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        replace(recipe, epochs=1).run()


@pytest.mark.slow
def test_pairs_and_regression(pretrained, tmp_path):
    rows = ["score\ta\tb"] + [f"{n}\tthe {'cat ' * n}\tthe dog" for n in (1, 2, 3, 4) * 8]
    (tmp_path / "pairs.tsv").write_text("\n".join(rows))
    model = Classify(
        start_from=str(pretrained),
        train=str(tmp_path / "pairs.tsv"),
        test=str(tmp_path / "pairs.tsv"),
        text_column="a",
        second_column="b",
        label_column="score",
        regression=True,
        epochs=40,
        batch_size=8,
        max_length=24,
        learning_rate=3e-3,
        dropout=0.0,
        save_to=str(tmp_path / "model"),
        verbose=0,
    ).run()
    card = (tmp_path / "model" / "README.md").read_text()
    assert float(next(line for line in card.splitlines() if "test pearson" in line).split("|")[2]) > 0.9
    few, many = model.predict_logits(["the cat", "the cat cat cat cat"], ["the dog"] * 2)[:, 0]
    assert few < many - 1


def test_fast_dev_run_saves_nothing(small, corpus_file, review_files, pretrained, tmp_path):
    folder = str(tmp_path / "none")
    Pretrain(
        corpus=corpus_file,
        config=small,
        max_length=32,
        save_to=folder,
        fast_dev_run=True,
        verbose=0,
    ).run()
    Classify(
        start_from=str(pretrained),
        train=review_files["train"],
        max_length=16,
        save_to=folder,
        fast_dev_run=True,
        verbose=0,
    ).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_fast_dev_run_takes_a_sorted_file(pretrained, tmp_path):
    """The first rows all have one label, and the last label is in none of them."""
    rows = [f"{label}\tthe {label}" for label in ("cat", "dog", "heron") for _ in range(70)]
    (tmp_path / "sorted.tsv").write_text("\n".join(["label\ttext", *rows]))
    model = Classify(
        start_from=str(pretrained),
        train=str(tmp_path / "sorted.tsv"),
        validation=str(tmp_path / "sorted.tsv"),
        max_length=16,
        save_to=str(tmp_path / "m"),
        fast_dev_run=True,
        verbose=0,
    ).run()
    assert model.labels == ["cat", "dog", "heron"]


@pytest.mark.slow
def test_a_classifier_has_the_positions_it_was_trained_on(pretrained, review_files, tmp_path):
    recipe = Classify(
        start_from=str(pretrained),
        train=review_files["train"],
        epochs=1,
        max_length=16,
        save_to=str(tmp_path / "m"),
        verbose=0,
    )
    model = recipe.run()
    assert model.config.max_sequence_length == 16
    long = "the cat sees the dog " * 9
    np.testing.assert_allclose(model.predict_logits([long]), model.predict_logits([long], max_length=16), atol=1e-6)
    found = plm.load(tmp_path / "m").encoder.embedding.position_matrix
    expected = plm.load(pretrained).encoder.embedding.position_matrix[:16]
    assert 0 < np.abs(np.asarray(found) - np.asarray(expected)).max() < 0.02  # trained on from there


@pytest.mark.parametrize("kind", ["pretrain", "classify"])
@pytest.mark.slow
def test_a_full_disk_at_the_end_loses_no_training(
    kind, small, corpus_file, pretrained, review_files, tmp_path, monkeypatch
):
    """The last checkpoint is written, the model is not: started again, nothing is left but to save it."""
    save_to = str(tmp_path / "m")
    recipe: Recipe = Pretrain(
        corpus=corpus_file, config=small, steps=4, checkpoint_every=2, max_length=32, save_to=save_to, verbose=0
    )
    if kind == "classify":
        recipe = Classify(
            start_from=str(pretrained), train=review_files["train"], epochs=2, max_length=16, save_to=save_to, verbose=0
        )
    module = importlib.import_module(
        f"keras_plm.recipes.{'output_folder' if kind == 'classify' else 'pretraining_recipe'}"
    )
    real = module.save

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save", full)
    with pytest.raises(OSError, match="No space left"):
        recipe.run()
    monkeypatch.setattr(module, "save", real)
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("it trained again"))
    recipe.run()
    assert len(history(tmp_path / "m")) == 2
    assert not (tmp_path / "m.training").exists()


@pytest.mark.slow
def test_a_training_that_diverges_ruins_nothing(small, corpus_file, tmp_path):
    settings = {"corpus": corpus_file, "config": small, "max_length": 32, "save_to": str(tmp_path / "m"), "verbose": 0}
    Pretrain(**settings, steps=2, checkpoint_every=2).run()
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    with pytest.raises(
        RuntimeError,
        match="the loss became nan at batch .*, after 5 restarts from a checkpoint; delete .* lower learning rate",
    ):
        Pretrain(**settings, steps=40, checkpoint_every=20, learning_rate=1e30, clip_norm=0, overwrite=True).run()
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before


def test_a_resumed_training_keeps_its_vocabulary(small, corpus_file, tmp_path, monkeypatch):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(Path(corpus_file).read_text())
    recipe = Pretrain(
        corpus=str(corpus),
        config=small,
        steps=4,
        checkpoint_every=2,
        max_length=32,
        save_to=str(tmp_path / "m"),
        verbose=0,
    )
    module = importlib.import_module("keras_plm.recipes.pretraining_recipe")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "save", interrupted)
        recipe.run()
    first = (tmp_path / "m.training" / "vocab.txt").read_text()
    whole = corpus.read_text()
    corpus.write_text(whole + "\n\n" + "Quite other words, zebra, zebra, zebra. " * 50)
    with pytest.raises(ValueError, match="unfinished training with other settings or other examples"):
        recipe.run()
    corpus.write_text(whole)
    assert recipe.run().tokenizer.files()["vocab.txt"].decode() == first


def interrupted(*arguments):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_steps_need_not_be_whole_epochs(small, corpus_file, tmp_path):
    recipe = Pretrain(
        corpus=corpus_file,
        config=small,
        steps=7,
        checkpoint_every=3,
        max_length=32,
        save_to=str(tmp_path / "m"),
        verbose=0,
    )
    recipe.run()
    assert len(history(tmp_path / "m")) == 3
    assert "| steps | 9 |" in (tmp_path / "m" / "README.md").read_text()
    with pytest.raises(ValueError, match="steps=0; it must be at least 1"):
        replace(recipe, steps=0, overwrite=True)


@pytest.mark.slow
def test_a_second_phase_starts_from_the_first(pretrained, corpus_file, tmp_path):
    model = Pretrain(
        corpus=corpus_file,
        start_from=str(pretrained),
        validation=corpus_file,
        steps=2,
        checkpoint_every=2,
        validation_steps=3,
        batch_size=16,
        max_length=32,
        learning_rate=1e-6,
        save_to=str(tmp_path / "model"),
        verbose=0,
    ).run()
    assert model.config == plm.load(pretrained).config
    # the same weights, in effect: the same validation loss as at the end of the first phase
    assert history(tmp_path / "model")[0]["val_loss"] == pytest.approx(history(pretrained)[-1]["val_loss"], abs=0.02)


@pytest.mark.slow
def test_lamb(small, corpus_file, tmp_path):
    Pretrain(
        corpus=corpus_file, config=small, optimizer_name="lamb", learning_rate=0.02, steps=40, checkpoint_every=20,
        batch_size=16, max_length=32, save_to=str(tmp_path / "model"), verbose=0,
    ).run()  # fmt: skip
    rows = history(tmp_path / "model")
    assert rows[1]["loss"] < rows[0]["loss"] - 0.1


def test_errors_come_before_the_work(small, corpus_file, pretrained, tmp_path, review_files):
    with pytest.raises(ValueError, match="warmup=2.0; it is a fraction"):
        Pretrain(corpus=corpus_file, save_to=str(tmp_path / "x"), warmup=2.0)
    for field, value, message in [
        ("mask_rate", 15, "mask_rate=15; it is a fraction"),
        ("inside_rate", -0.1, "inside_rate=-0.1; it is a fraction"),
        ("clip_norm", -1.0, "clip_norm=-1.0; it must be above 0"),
        ("max_length", 4, "max_length=4; a row needs 5 tokens"),
        ("tensorboard", str(tmp_path / "x" / "log"), "x/log lies inside save_to="),
    ]:
        with pytest.raises(ValueError, match=message):
            Pretrain(corpus=corpus_file, save_to=str(tmp_path / "x"), **{field: value})
    with pytest.raises(ValueError, match="epochs=0; it must be at least 1"):
        Classify(start_from="x", train="x", save_to=str(tmp_path / "y"), epochs=0)
    with pytest.raises(ValueError, match="max_length=65, but the model has 64 positions"):
        Pretrain(corpus=corpus_file, config=small, max_length=65, save_to=str(tmp_path / "m"), verbose=0).run()
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="the corpus is empty"):
        Pretrain(corpus=str(tmp_path / "empty.txt"), config=small, save_to=str(tmp_path / "m"), verbose=0).run()
    (tmp_path / "other.tsv").write_text("label\ttext\nheron\tthe heron\n")
    options = {
        "start_from": str(pretrained),
        "train": review_files["train"],
        "save_to": str(tmp_path / "m"),
        "verbose": 0,
    }
    with pytest.raises(ValueError, match=r"other.tsv, row 1: unknown label 'heron'"):
        Classify(**options, validation=str(tmp_path / "other.tsv"), max_length=16).run()
    with pytest.raises(ValueError, match=r"other.tsv, row 1: unknown label 'heron'"):
        Classify(**options, test=str(tmp_path / "other.tsv"), max_length=16).run()
    assert not (tmp_path / "m.training").exists()  # nothing was begun
    with pytest.raises(ValueError, match="max_length=128, but the model has 64 positions"):
        Classify(**options).run()
    with pytest.raises(ValueError, match="no column 'sentence'"):
        Classify(**options, text_column="sentence").run()


SCRIPT = """
import sys
from dataclasses import replace
import keras
import keras_plm as plm
from keras_plm.recipes import Pretrain
fit = keras.Model.fit
def noted(*arguments, initial_epoch, **options):
    print("from epoch", initial_epoch, file=sys.stderr, flush=True)
    return fit(*arguments, initial_epoch=initial_epoch, **options)
keras.Model.fit = noted
corpus, save_to = sys.argv[1:]
sizes = replace(plm.TINY, vocabulary_size=89, hidden_dim=32, intermediate_dim=48)
Pretrain(corpus=corpus, config=sizes, steps=90, checkpoint_every=10, batch_size=8, max_length=32,
         learning_rate=3e-3, save_to=save_to, verbose=0).run()
"""


@pytest.mark.slow
def test_killed_and_started_again_it_ends_the_same(corpus_file, tmp_path):
    """Dropout on: its state must come back too."""

    def start(folder):
        command = [sys.executable, "-c", SCRIPT, corpus_file, str(folder)]
        with (tmp_path / "log").open("w") as log:
            return subprocess.Popen(command, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}, stderr=log)

    def finish(process):
        assert process.wait(timeout=240) == 0, (tmp_path / "log").read_text()[-3000:]

    finish(start(tmp_path / "whole"))
    killed = start(tmp_path / "killed")
    log = tmp_path / "killed.training" / "history.csv"
    end = time.monotonic() + 200
    while time.monotonic() < end and (not log.exists() or len(log.read_text().split()) < 4):
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "killed").exists(), "it had ended before it was killed"
    finish(start(tmp_path / "killed"))
    assert int((tmp_path / "log").read_text().split("from epoch")[1].split()[0]) > 0
    expected, found = history(tmp_path / "whole"), history(tmp_path / "killed")
    assert [row["epoch"] for row in found] == list(range(9))
    assert found[-1]["loss"] == pytest.approx(expected[-1]["loss"], abs=1e-4)


def test_an_unfinished_training_of_other_settings_is_not_continued(small, corpus_file, tmp_path):
    recipe = Pretrain(corpus=corpus_file, config=small, max_length=32, save_to=str(tmp_path / "m"), verbose=0)
    trainee = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    trainee.compile("adam", "mse")
    TrainingState(recipe, SUPERVISED, "").restore(trainee)
    with pytest.raises(ValueError, match="holds an unfinished training with other settings"):
        replace(recipe, learning_rate=1.0).run()


def test_a_start_brings_its_vocabulary_along(small, tmp_path):
    for options, words in (
        ({"start_from": "x", "vocabulary_size": 99}, "the model of start_from has its own sizes and vocabulary"),
        ({"start_from": "x", "config": small}, "the model of start_from has its own sizes and vocabulary"),
        ({"vocabulary": "x", "vocabulary_size": 99}, "vocabulary names a file"),
    ):
        with pytest.raises(ValueError, match=words):
            Pretrain(corpus="x", save_to=str(tmp_path / "m"), **options)
    with pytest.raises(TypeError, match="config='mini'; give an object of EncoderConfig"):
        Pretrain(corpus="x", save_to=str(tmp_path / "m"), config="mini")
