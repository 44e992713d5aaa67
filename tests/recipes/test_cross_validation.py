"""How far a score can be trusted, and which rate to try."""

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.evaluation import Evaluation
from keras_plm.recipes import AnswerQuestions, Classify, Embed, RateTest, cross_validate, find_learning_rate
from keras_plm.recipes.fine_tune import TrainingData
from keras_plm.recipes.splits import fold_of_rows


@pytest.mark.slow
def test_cross_validation(settings, review_files, tmp_path):
    recipe = Classify(
        **settings, train=review_files["train"], validation="no.such.file", epochs=5, load_best=True,
        
    )  # fmt: skip
    found = cross_validate(recipe, folds=3)
    assert len(found.folds) == 3 and found.mean("accuracy") > 0.7
    assert "3 folds" in str(found) and "macro_f1" in str(found)
    assert list(tmp_path.iterdir()) == []
    for folds in (1, 97):
        with pytest.raises(ValueError, match="choose from 2 to 96"):
            cross_validate(recipe, folds)


def test_every_row_is_scored_once_by_a_model_that_has_not_seen_it(tmp_path, monkeypatch):
    recipe = Classify(start_from="x", train="x")
    rows = plm.text.LabeledTexts("here", [f"text {i}" for i in range(23)], None, ["a", "b", "b"] * 7 + ["a"] * 2)
    scored = []

    def train_on(self, data, save_model):
        fold = data.held_out["fold"].first
        assert set(data.train.first) == set(rows.first) - set(fold) and data.labeled is rows and not save_model
        scored.extend(fold)
        return None, {"fold": Evaluation({"accuracy": float(len(fold))}, [], [])}

    monkeypatch.setattr(Classify, "read_all", lambda _: TrainingData(rows, rows, {}))
    monkeypatch.setattr(Classify, "train_on", train_on)
    found = cross_validate(recipe, folds=3)
    assert sorted(scored) == sorted(rows.first)
    assert sorted(fold["accuracy"] for fold in found.folds) == [7, 8, 8]
    assert found.mean("accuracy") == pytest.approx(23 / 3)
    assert found.standard_deviation("accuracy") == pytest.approx(3**-0.5)


def test_every_fold_has_its_share_of_every_label():
    rows = plm.text.LabeledTexts("here", ["x"] * 60, None, ["a"] * 40 + ["b"] * 20)
    fold_of = fold_of_rows(rows, 5, seed=0)
    assert np.bincount(fold_of).tolist() == [12] * 5
    assert np.bincount(fold_of[:40]).tolist() == [8] * 5
    assert not np.array_equal(fold_of, fold_of_rows(rows, 5, seed=1))


def test_folds_that_cannot_be_scored(tmp_path, monkeypatch):
    recipe = AnswerQuestions(start_from="x", train="x")
    rows = plm.text.Questions("here", ["x"] * 40, ["who ?"] * 40, ["one", "two"] * 20, [[]] * 40)
    monkeypatch.setattr(AnswerQuestions, "read_all", lambda _: TrainingData(rows, rows, {}))
    with pytest.raises(ValueError, match="folds=5; choose from 2 to 2, the number of groups"):
        cross_validate(recipe)
    pairs = {"similarity": "contrastive", "label_column": None}
    with pytest.raises(ValueError, match="examples without labels or scores cannot be scored"):
        cross_validate(Embed(start_from="x", train="x", **pairs))


def test_questions_on_one_context_stay_together():
    contexts = [f"context {i % 7}" for i in range(40)]
    rows = plm.text.Questions("here", ["x"] * 40, ["who ?"] * 40, contexts, [[]] * 40)
    fold_of = fold_of_rows(rows, 3, seed=0)
    assert all(len(set(fold_of[[c == f"context {i}" for c in contexts]])) == 1 for i in range(7))
    assert set(fold_of) == {0, 1, 2}


def test_the_rate_to_begin_with_is_a_third_of_that_of_the_steepest_fall():
    assert RateTest([1, 2, 4, 8], [5, 4.9, 3, 6]).suggestion == pytest.approx(2 / 3)


@pytest.mark.slow
def test_a_loss_that_only_rises_suggests_nothing():
    assert "the loss only rises" in str(RateTest([1e-6, 1e-5, 1e-4], [1.0, 1.5, 4.0]))
    assert "try learning_rate=3.3e-07" in str(RateTest([1e-6, 1e-5, 1e-4], [1.0, 0.5, 4.0]))


def test_the_noise_of_single_batches_decides_nothing():
    curve = [2.0, 1.2, *[2.0] * 10, *[2.0 - 0.15 * i for i in range(8)], 3.0]  # an outlier, and a real fall at the end
    rates = [10.0 ** (-6 + i / 4) for i in range(len(curve))]
    assert RateTest(rates, curve).suggestion > rates[9] / 3


def test_a_learning_rate_is_found(settings, review_files, tmp_path):
    recipe = Classify(**settings, train=review_files["train"], save_to=str(tmp_path / "m"))
    found = find_learning_rate(recipe, lowest=1e-6, highest=1.0, steps=60)
    assert found.rates == sorted(found.rates) and found.rates[0] == 1e-6
    assert len(found.losses) == len(found.rates) <= 60
    assert 1e-5 < found.suggestion < 0.1
    assert "try learning_rate=" in str(found)
    assert list(tmp_path.iterdir()) == []
    for wrong, message in (({"lowest": 1.0}, "below highest"), ({"steps": 5}, "steps=5; it must be at least 10")):
        with pytest.raises(ValueError, match=message):
            find_learning_rate(recipe, **wrong)
