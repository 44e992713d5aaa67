"""Every fine-tuning on tasks that a small model learns in seconds."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from keras_plm.evaluation import Evaluation
from keras_plm.recipes import AnswerQuestions, Classify, Embed, Tag
from keras_plm.recipes.fine_tune import TrainingData
from keras_plm.recipes.starting_model import starting_model
from keras_plm.recipes.validation import exhausted
from keras_plm.text import LabeledTexts
from keras_plm.training import Checkpoint, HistoryLog, layer_rates, unfreezing_steps

ANIMALS = ["cat", "dog", "heron", "fox", "otter", "wren", "mole", "newt"]
VERBS = ["sees", "hears", "follows", "loses"]


def sentences(rows, seed):
    random = np.random.default_rng(seed)
    for _ in range(rows):
        first, second = random.choice(ANIMALS, 2, replace=False)
        yield f"The {first} {random.choice(VERBS)} the {second} .", first, second


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagged")
    files = {}
    for name, rows in {"train": 64, "dev": 24}.items():
        blocks = []
        for text, first, _ in sentences(rows, rows):
            tag = {word: "O" for word in text.split()} | {first: "B-SUBJECT"}
            blocks.append("\n".join(f"{word}\t{tag[word]}" for word in text.split()))
        files[name] = str(folder / f"{name}.conll")
        (folder / f"{name}.conll").write_text("\n\n".join(blocks) + "\n")
    return files


@pytest.mark.parametrize("crf", [pytest.param(False, marks=pytest.mark.slow), True])
def test_tagging_learns(crf, tagged, settings, tmp_path):
    model = Tag(
        **settings, train=tagged["train"], validation=tagged["dev"], test=tagged["dev"], crf=crf, epochs=12,
        load_best=True, save_to=str(tmp_path / "m"),
    ).run()  # fmt: skip
    (spans,) = model.tag(["The otter follows the wren."])
    assert [(span.text, span.label) for span in spans] == [("otter", "SUBJECT")]
    errors = (tmp_path / "m" / "test.errors.md").read_text()
    assert "| f1 |" in errors and "| SUBJECT |" in errors
    rows = [json.loads(line) for line in (tmp_path / "m" / "test.predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 24 and len(rows[0]["found"]) == len(rows[0]["words"])
    card = (tmp_path / "m" / "README.md").read_text()
    assert "train tags that were made legal | 0" in card and "test f1" in card
    assert (model.transitions is not None) == crf
    if crf:
        assert np.abs(model.transitions[1]).max() > 0.05  # at the encoder's rate it would have stayed at nothing


@pytest.mark.slow
def test_answering_learns(settings, tmp_path):
    lines = []
    for number, (text, first, second) in enumerate(sentences(96, 3)):
        context = text
        question = f"What animal does it see : the {second} by the"
        answer = {"text": first, "answer_start": context.index(first)}
        lines.append(json.dumps({"id": number, "question": question, "context": context, "answers": [answer]}))
        if number % 3 == 0:
            other = next(a for a in ANIMALS if a not in text)
            row = {"id": f"{number}x", "question": f"the {other} {other}", "context": context, "answers": []}
            lines.append(json.dumps(row))
    (tmp_path / "qa.jsonl").write_text("\n".join(lines))
    path = str(tmp_path / "qa.jsonl")
    model = AnswerQuestions(
        **settings | {"max_length": 32}, train=path, validation=path, epochs=14, overlap=4, save_to=str(tmp_path / "m")
    ).run()
    score = plm.evaluate(model, plm.text.Questions.read(path)).scores
    assert score["f1"] > 0.6
    assert model.null_threshold is not None  # some questions have no answer
    assert f"no-answer threshold | {model.null_threshold}" in (tmp_path / "m" / "README.md").read_text()
    assert plm.load(tmp_path / "m").null_threshold == model.null_threshold


@pytest.mark.slow
@pytest.mark.parametrize("similarity", ["cosine", "ranking", "contrastive"])
def test_embedding_learns(similarity, settings, tmp_path):
    rows = ["sentence1\tsentence2\tscore"]
    random = np.random.default_rng(0)
    for text, first, second in sentences(64, 5):
        same = random.random() < 0.5 or similarity == "contrastive"
        other = first if same else next(a for a in ANIMALS if a not in (first, second))
        rows.append(f"{text}\tIt was the {other} .\t{5 if same else 0}")
    (tmp_path / "pairs.tsv").write_text("\n".join(rows))
    path = str(tmp_path / "pairs.tsv")
    scored = similarity != "contrastive"
    options = {"train": path, "similarity": similarity, "label_column": "score" if scored else None}
    recipe = Embed(**settings, **options, validation=path if scored else None, epochs=12, save_to=str(tmp_path / "m"))
    model = recipe.run()
    close, far = model.similarities(["The cat sees the dog ."] * 2, ["It was the cat .", "It was the newt ."])
    assert close > far + 0.2
    with pytest.raises(ValueError, match="batch_size=7; pairs need an even number"):
        replace(recipe, batch_size=7, overwrite=True)
    with pytest.raises(ValueError, match="takes no scores"):
        replace(recipe, label_column=None if scored else "score", overwrite=True)
    if not scored:
        with pytest.raises(ValueError, match="validation and test need a column of scores"):
            replace(recipe, validation=path, overwrite=True)


@pytest.mark.slow
def test_several_labels_are_learned(settings, tmp_path):
    labeled = [f"{first}; {second}\t{text}" for text, first, second in sentences(96, 7)]
    rows = ["label\ttext", *labeled, *["[]\tthe"] * 4]
    (tmp_path / "t.tsv").write_text("\n".join(rows))
    path = str(tmp_path / "t.tsv")
    model = Classify(
        **settings,
        train=path,
        validation=path,
        multi_label=True,
        pooling="mean",
        epochs=20,
        save_to=str(tmp_path / "m"),
    ).run()
    assert set(model.predict_labels(["The cat sees the newt ."])[0]) == {"cat", "newt"}
    scores = plm.evaluate(model, plm.text.LabeledTexts.read(path, "text", None, "label")).scores
    assert scores["micro_f1"] > 0.9
    with pytest.raises(ValueError, match="exclude each other"):
        Classify(start_from="x", train="x", save_to=str(tmp_path / "y"), multi_label=True, regression=True)


# ---- what is kept


def test_the_best_epoch_is_kept(settings, tagged, tmp_path, monkeypatch):
    scores, seen = iter([0.1, 0.9, 0.4, 0.3, 0.9]), []

    def scored(model, examples, batch_size):
        seen.append([np.asarray(weight).copy() for weight in model.weights])
        return Evaluation({"f1": next(scores)}, [], [])

    monkeypatch.setattr("keras_plm.recipes.fine_tune.evaluate", scored)
    options = {"train": tagged["train"], "validation": tagged["dev"], "epochs": 4, "load_best": True}
    model = Tag(**settings, **options, save_to=str(tmp_path / "m")).run()
    assert len(seen) == 5  # the last time for the model card
    distance = [max(np.abs(np.asarray(w) - s).max() for w, s in zip(model.weights, at, strict=True)) for at in seen]
    assert distance[1] < 1e-7 and min(distance[0], *distance[2:4]) > 1e-3


@pytest.mark.slow
def test_patience_ends_a_training_that_gains_nothing(settings, review_files, tmp_path):
    frozen = settings | {"learning_rate": 1e-12}
    Classify(
        **frozen, train=review_files["train"], validation=review_files["test"], epochs=9, patience=2,
        save_to=str(tmp_path / "m"),
    ).run()  # fmt: skip
    assert len((tmp_path / "m" / "history.csv").read_text().splitlines()) == 1 + 3
    assert not exhausted([0.1, 0.2], 2) and exhausted([0.3, 0.2, 0.3], 2) and not exhausted([], 1)
    with pytest.raises(ValueError, match="need `validation` or"):
        Classify(start_from="x", train="x", save_to=str(tmp_path / "y"), load_best=True)


@pytest.mark.slow
def test_averaged_weights_are_kept(settings, review_files, tmp_path):
    """With a momentum near 1 the average stays near the start, wherever the training goes."""
    far, near = (
        Classify(
            **settings, train=review_files["train"], validation=review_files["test"], epochs=2, ema_momentum=average,
            save_to=str(tmp_path / str(average)),
        ).run()
        for average in (None, 0.9999)
    )  # fmt: skip
    start = {w.path: np.asarray(w) for w in plm.load(settings["start_from"]).encoder.weights}
    path = "block_0/attention/query/kernel"
    distance = [np.abs(np.asarray({w.path: w for w in m.weights}[path]) - start[path]).max() for m in (far, near)]
    assert distance[1] < 0.05 * distance[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("special", "killed_after"),
    [
        ({"load_best": True}, HistoryLog),
        ({"load_best": True}, Checkpoint),
        ({"load_best": True, "gradient_accumulation_steps": 5}, Checkpoint),
        ({"prune": "0.6"}, Checkpoint),
        ({"prune": "2:4"}, Checkpoint),
        ({"clusters": 8}, Checkpoint),
        ({"quantization_aware": True}, Checkpoint),
    ],
    ids=str,
)
def test_an_interrupted_fine_tuning_ends_as_it_would_have(
    special, killed_after, settings, review_files, tmp_path, monkeypatch
):
    train = tmp_path / "train.tsv"
    train.write_text(rows := Path(review_files["train"]).read_text())
    options = {"train": str(train), "validation": review_files["test"], "epochs": 4, "ema_momentum": 0.9, **special}
    whole = Classify(**settings | {"dropout": 0.1}, **options, save_to=str(tmp_path / "whole")).run()
    recipe = Classify(**settings | {"dropout": 0.1}, **options, save_to=str(tmp_path / "cut"))
    real = killed_after.on_epoch_end

    def stop(self, epoch, logs=None):
        real(self, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(killed_after, "on_epoch_end", stop)
        recipe.run()
    train.write_text(f"{rows}cat\tthe cat hears\n")
    with pytest.raises(ValueError, match="unfinished training with other settings or other examples"):
        recipe.run()
    train.write_text(rows)
    trained, log = [], HistoryLog.on_epoch_end
    with monkeypatch.context() as patch:
        patch.setattr(
            HistoryLog, "on_epoch_end", lambda s, epoch, logs=None: (trained.append(epoch), log(s, epoch, logs))
        )
        again = recipe.run()
    assert trained == ([2, 3] if killed_after is Checkpoint else [1, 2, 3])  # a state is written after the row
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("whole", "cut")]
    assert [len(text.splitlines()) for text in histories] == [5, 5]
    for a, b in zip(whole.weights, again.weights, strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-4)


def test_rare_labels_count_as_much_as_frequent_ones(settings, tmp_path):
    rows = ["label\ttext"] + ["cat\tthe cat"] * 90 + ["dog\tthe dog"] * 6
    (tmp_path / "t.tsv").write_text("\n".join(rows))
    recipe = Classify(**settings, train=str(tmp_path / "t.tsv"), class_weights="balanced", save_to=str(tmp_path / "m"))
    examples = recipe.read(recipe.train)
    model = starting_model(recipe, examples)
    weights = recipe.rows(model, examples).weights
    assert weights.mean() == pytest.approx(1.0) and weights[:90].sum() == pytest.approx(weights[90:].sum())
    with pytest.raises(ValueError, match="needs one label a text"):
        replace(recipe, regression=True)


@pytest.mark.slow
def test_fast_dev_run_of_every_task_saves_nothing(settings, tagged, review_files, tmp_path):
    folder = tmp_path / "none"
    Tag(**settings, train=tagged["train"], validation=tagged["dev"], save_to=str(folder), fast_dev_run=True).run()
    Classify(
        **settings, train=review_files["train"], validation=review_files["test"], load_best=True, save_to=str(folder),
        fast_dev_run=True,
    ).run()  # fmt: skip
    answer = {"text": "cat", "answer_start": 4}
    row = {"question": "who sees ?", "context": "the cat sees", "answers": [answer]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    AnswerQuestions(**settings, train=str(tmp_path / "rows.jsonl"), save_to=str(folder), fast_dev_run=True).run()
    (tmp_path / "rows.tsv").write_text("sentence1\tsentence2\tscore\nthe cat\tcat\t5\ndog\tthe\t0\n")
    Embed(**settings, train=str(tmp_path / "rows.tsv"), save_to=str(folder), fast_dev_run=True).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "rows.tsv"]


def test_fields_reach_the_optimizer(settings, review_files, tmp_path):
    recipe = Classify(
        **settings, train=review_files["train"], save_to=str(tmp_path / "m"), epochs=4, gradual_unfreezing=True,
        head_rate=3.0, layer_decay=0.5, gradient_accumulation_steps=2, ema_momentum=0.9,
        weight_decay=0.07, clip_norm=0.3, warmup=0.2,
    )  # fmt: skip
    model = starting_model(recipe, recipe.read(recipe.train))
    optimizer = recipe.task_optimizer(model, 10)
    assert optimizer.first_steps == unfreezing_steps(model, 20)  # 4 epochs of 10 batches, two of which make a step
    assert optimizer.rates == layer_rates(model, 0.5, 3.0)
    assert (optimizer.weight_decay, optimizer.global_clipnorm, optimizer.ema_momentum) == (0.07, 0.3, 0.9)
    assert optimizer.use_ema and optimizer.gradient_accumulation_steps == 2
    rates = [float(optimizer._learning_rate(step)) for step in (0, 3, 4, 12, 20)]
    assert rates == pytest.approx([3e-3 / 4, 3e-3, 3e-3, 1.5e-3, 0], abs=1e-9)
    plain = replace(
        recipe,
        gradual_unfreezing=False,
        head_rate=1.0,
        layer_decay=1.0,
        gradient_accumulation_steps=1,
        ema_momentum=None,
    )
    optimizer = plain.task_optimizer(model, 10)
    assert not (optimizer.first_steps or optimizer.rates or optimizer.use_ema)
    assert optimizer.gradient_accumulation_steps is None


def test_what_several_devices_cannot_share(settings, review_files, tmp_path, monkeypatch):
    two = SimpleNamespace(num_replicas_in_sync=2)
    options = settings | {"train": review_files["train"], "save_to": str(tmp_path / "m")}
    recipe = Classify(**options | {"batch_size": 9})
    monkeypatch.setattr("keras_plm.recipes.recipe.make_strategy", lambda name: two)
    with pytest.raises(ValueError, match="batch_size=9 cannot be shared by 2 devices; choose a multiple of 2"):
        recipe.run()
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: two)
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2 works on one device only, not on 2"):
        Classify(**options, gradient_accumulation_steps=2).task_optimizer(None, 10)
    pairs = LabeledTexts("here", ["a"] * 9, ["b"] * 9, ["1"] * 9)
    with pytest.raises(ValueError, match="batch_size=6 would split pairs; choose a multiple of 4"):
        Embed(**options | {"batch_size": 6}).rows(None, pairs)


def test_batches_that_never_make_a_step(settings, review_files, tmp_path):
    recipe = Classify(
        **settings, train=review_files["train"], epochs=1, gradient_accumulation_steps=99, save_to=str(tmp_path / "m")
    )
    with pytest.raises(
        ValueError, match=r"gradient_accumulation_steps=99 is more than the \d+ batches of the whole training"
    ):
        recipe.run()


@pytest.mark.slow
def test_held_out_rows_are_scored_whole(settings, review_files, tmp_path):
    recipe = Classify(**settings, train=review_files["train"], save_to=str(tmp_path / "m"))
    rows = recipe.read(review_files["train"])
    _, found = recipe.train_on(TrainingData(rows.head(16), rows, {"fold": rows}), save_model=False)
    assert len(found["fold"].rows) == 96
