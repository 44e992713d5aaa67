"""A student beside its teacher: every part of the loss, alone."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_plm as plm
from keras_plm.models import Distiller, encoder_states
from keras_plm.recipes import Classify, Distill, Pretrain
from keras_plm.text import LabeledTexts
from keras_plm.training import AttentionMaps, CrossEntropy, HiddenStates, SoftLabels, freeze, matched_layers
from tests.conftest import token_batch


@pytest.fixture
def teacher(config, tokenizer):
    keras.utils.set_random_seed(1)
    model = plm.Classifier(
        replace(config, num_layers=3, dropout=0.0, attention_dropout=0.0), ["a", "b", "c"], tokenizer
    )
    for weight in model.weights:
        if weight.path.endswith("kernel"):
            weight.assign(weight * 3)
    return model


@pytest.fixture
def student(config, tokenizer):
    keras.utils.set_random_seed(2)
    sizes = replace(config, num_layers=2, hidden_dim=21, intermediate_dim=29, dropout=0.0, attention_dropout=0.0)
    return plm.Classifier(sizes, ["a", "b", "c"], tokenizer)


def test_internals_are_those_of_the_encoder(teacher, config):
    inputs = token_batch(config)
    found = encoder_states(teacher.encoder, inputs, attention=True)
    wanted = teacher.encoder(inputs)
    for name in ("sequence_output", "pooled_output"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-6)
    assert len(found["hidden"]) == 3 == len(found["attention"])
    np.testing.assert_allclose(np.asarray(found["attention"][0]).sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(teacher.from_states(found, inputs), teacher(inputs), atol=1e-6)


def test_losses_by_their_formulas():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 5, 7)).astype("float32")

    def probabilities(x):
        return np.exp(x / 3) / np.exp(x / 3).sum(-1, keepdims=True)

    p, q = probabilities(a), probabilities(b)
    expected = 9 * (p * np.log(p / q)).sum(-1)
    assert float(SoftLabels(3.0)(a, b)) == pytest.approx(expected.mean(), rel=1e-4)
    weights = np.array([1, 0, 0, 2, 0], "float32")
    assert float(SoftLabels(3.0)(a, b, weights)) == pytest.approx((expected * weights).mean(), rel=1e-4)
    assert float(SoftLabels()(a, a)) == pytest.approx(0, abs=1e-5)
    states = random.normal(size=(2, 3, 4, 8)).astype("float32")
    assert float(HiddenStates()(states[0], 5 * states[0] + 2)) == pytest.approx(0, abs=1e-4)  # scale does not matter
    one, two = ((x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) for x in states)
    assert float(HiddenStates()(states[0], states[1])) == pytest.approx(np.square(one - two).mean(), rel=1e-4)
    maps = random.random((2, 2, 3, 4, 4)).astype("float32")
    maps /= maps.sum(-1, keepdims=True)
    assert float(AttentionMaps()(maps[0], maps[0])) == pytest.approx(0, abs=1e-5)
    teacher, student = maps[0].mean(1), maps[1][:, :2].mean(1)  # of three heads, and of two
    expected = (teacher * np.log(teacher / student)).sum(-1)
    assert float(AttentionMaps()(maps[0], maps[1][:, :2])) == pytest.approx(expected.mean(), rel=1e-3)


def test_layers_are_matched_evenly():
    assert matched_layers(4, 6) == [0, 2, 3, 5] and matched_layers(2, 2) == [0, 1]
    with pytest.raises(ValueError, match="a student of 3 blocks cannot learn block by block from 2"):
        matched_layers(3, 2)


@pytest.mark.parametrize(
    "part", ["soft", *(pytest.param(p, marks=pytest.mark.slow) for p in ("hard", "hidden", "attention"))]
)
def test_each_part_alone_is_learned(part, teacher, student, config):
    inputs = token_batch(config, rows=8)
    labels = np.arange(8) % 3
    before = [np.asarray(w).copy() for w in teacher.weights]
    weights = {"hard": 0.0, "soft": 0.0} | {part: 1.0}
    if part == "attention":  # of the last block only the queries and keys have to do with it
        weights["soft"] = 0.01
    distiller = Distiller(student, teacher, CrossEntropy(), **weights)
    distiller.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    losses = distiller.fit(inputs, labels, batch_size=8, epochs=25, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert all(np.array_equal(np.asarray(w), b) for w, b in zip(teacher.weights, before, strict=True))
    inside = {id(w) for w in student.weights}
    beside = [w.path for w in distiller.weights if id(w) not in inside]
    assert beside == (["projection/kernel"] if part == "hidden" else [])
    if part == "soft":
        agreement = np.asarray(student(inputs)).argmax(-1) == np.asarray(teacher(inputs)).argmax(-1)
        assert agreement.mean() > 0.8


@pytest.mark.parametrize("part", ["hard", "soft", "hidden", "attention"])
def test_sample_weights_are_honored(part, teacher, student, config):
    """Rows of weight 0 change nothing."""
    inputs, others = token_batch(config, rows=4), token_batch(config, rows=4, seed=1)
    distiller = Distiller(student, teacher, CrossEntropy(), **({"hard": 0.0, "soft": 0.0} | {part: 1.0}))

    def loss(changed, weights):
        batch = {name: values.copy() for name, values in inputs.items()}
        batch["token_ids"][changed, 2:6] = others["token_ids"][changed, 2:6]
        labels = np.array([0, 1, 2, 0])
        labels[changed] = 1 - labels[changed] % 2
        return float(distiller.compute_loss(batch, labels, distiller(batch), np.array(weights, "float32")))

    half, all_alike = [1, 1, 0, 0], [1, 1, 1, 1]
    assert loss([2, 3], half) == pytest.approx(loss([], half), rel=1e-5)
    assert abs(loss([2, 3], all_alike) - loss([], all_alike)) > 1e-4
    assert loss([], [2, 2, 2, 2]) == pytest.approx(2 * loss([], all_alike), rel=1e-5)


@pytest.mark.slow
def test_a_pretrainer_learns_hidden_states_of_any_encoder(teacher, config, tokenizer):
    student = plm.Pretrainer(replace(config, dropout=0.0, attention_dropout=0.0), tokenizer)
    inputs = token_batch(config) | {"mask_positions": np.ones((3, 2), "int32")}
    labels = {"masked_tokens": np.ones((3, 2), "int32"), "next_sentence": np.zeros(3, "int32")}
    losses = {name: CrossEntropy() for name in student.output}
    distiller = Distiller(student, teacher.encoder, losses, hard=1.0, soft=0.0, hidden=1.0)
    distiller.compile("adam", jit_compile=False)
    found = distiller.fit(inputs, labels, epochs=8, verbose=0).history["loss"]
    assert found[-1] < found[0]


def test_unlike_models_cannot_teach_each_other(teacher, student, config, tokenizer):
    other = plm.Classifier(config, ["a", "b"], tokenizer)
    for models, options, message in [
        ((student, other), {}, "the student has labels="),
        ((student, teacher.encoder), {}, "the student is a Classifier, the teacher a Encoder"),
        ((student, teacher), {"soft": 0.0}, "at least one must be above 0"),
        ((student, teacher), {"hard": 1.0}, "task_loss is required"),
        ((student, teacher), {"hidden": 1.0, "layers": [0, 3]}, "give a block of the teacher, 0 to 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            Distiller(*models, **options)
    words = plm.WordPieceTokenizer([*tokenizer.vocabulary[:-1], "zebra"])
    with pytest.raises(ValueError, match="different vocabularies"):
        Distiller(plm.Classifier(student.config, ["a", "b", "c"], words), teacher)


@pytest.mark.parametrize("kind", ["a score", "several labels"])
def test_numbers_are_learned_too(kind, config, tokenizer):
    """What is no distribution is learned by the squared difference of the logits."""
    sizes = replace(config, dropout=0.0, attention_dropout=0.0)
    several = {"labels": ["a", "b", "c"], "multi_label": True} if kind == "several labels" else {"labels": None}
    teacher, student = (plm.Classifier(sizes, tokenizer=tokenizer, **several) for _ in range(2))
    distiller = Distiller(student, teacher, hard=0.0, soft=1.0)
    distiller.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
    batch = token_batch(config)
    difference = np.asarray(teacher(batch)) - np.asarray(student(batch))
    losses = distiller.fit(batch, np.zeros(3), epochs=20, verbose=0).history["loss"]
    assert losses[0] == pytest.approx(np.square(difference).mean(), rel=1e-4)
    assert losses[-1] < 0.3 * losses[0]


def test_what_is_frozen_stays_so(teacher, student):
    freeze(student, "last:1")
    Distiller(student, teacher, soft=0.0, hidden=1.0)
    assert {w.path.split("/")[0] for w in student.trainable_weights} == {"block_1"}


def test_copies_for_the_teacher_to_label(tmp_path):
    recipe = Classify(start_from="nowhere", train="a.tsv", save_to=str(tmp_path / "model"))
    rows = LabeledTexts("a.tsv", ["the cat sees a dog", "猫看见狗"], ["so", "it does"], ["yes", "no"])
    more = Distill(teacher="nowhere", recipe=recipe, hard=0.0, augmentations_per_text=4).examples(rows)
    assert more.first[:2] == rows.first and more.values == rows.values * 5 and more.second == rows.second * 5
    assert len({*more.first}) > 6
    assert all(text and set(text) <= set("".join(rows.first)) for text in more.first)
    again = Distill(teacher="nowhere", recipe=recipe, hard=0.0, augmentations_per_text=4).examples(rows)
    assert again.first == more.first
    for fields, words in [
        ({"augmentations_per_text": 2}, "needs hard=0"),
        ({"augmentations_per_text": -1, "hard": 0.0}, "augmentations_per_text=-1"),
        ({"temperature": 0.0}, "temperature=0.0; it must be above 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            Distill(teacher="nowhere", recipe=recipe, **fields)


@pytest.mark.slow
def test_the_recipe(config, tokenizer, review_files, tmp_path, corpus_file):
    """Both stages: raw text with a teacher's hidden states, then the task with its probabilities."""
    sizes = replace(config, num_heads=4, hidden_dim=32, intermediate_dim=48, max_sequence_length=32)
    settings = {"batch_size": 8, "max_length": 24, "learning_rate": 3e-3, "verbose": 0}
    plm.save(plm.Encoder(sizes, tokenizer), tmp_path / "start")
    task = settings | {"train": review_files["train"], "test": review_files["test"], "dropout": 0.0}
    Classify(start_from=str(tmp_path / "start"), epochs=8, save_to=str(tmp_path / "teacher"), **task).run()
    (tmp_path / "vocab.txt").write_bytes(tokenizer.files()["vocab.txt"])
    small = replace(sizes, num_layers=1, hidden_dim=16, intermediate_dim=24)
    pretraining = Pretrain(
        corpus=corpus_file, vocabulary=str(tmp_path / "vocab.txt"), config=small, steps=4, checkpoint_every=2,
        save_to=str(tmp_path / "small"), **settings,
    )  # fmt: skip
    Distill(teacher=str(tmp_path / "teacher"), recipe=pretraining, soft=0.0, hidden=1.0).run()
    assert isinstance(plm.load(tmp_path / "small"), plm.Pretrainer)
    recipe = Classify(start_from=str(tmp_path / "small"), epochs=10, save_to=str(tmp_path / "student"), **task)
    student = Distill(teacher=str(tmp_path / "teacher"), recipe=recipe).run()
    assert student.predict_labels(["the cat sees", "hears , dog"]) == ["cat", "dog"]
    recipe = replace(recipe, save_to=str(tmp_path / "other"), epochs=4)
    student = Distill(
        teacher=str(tmp_path / "teacher"), recipe=recipe, hard=0.0, soft=1.0, augmentations_per_text=3
    ).run()
    assert student.predict_labels(["the cat sees", "hears , dog"]) == ["cat", "dog"]
    record = json.loads((tmp_path / "student" / "recipe.json").read_text())
    assert record["recipe"] == "Distill" and record["student"]["recipe"] == "Classify" and record["soft"] == 0.5
    assert not (tmp_path / "student.training").exists()
