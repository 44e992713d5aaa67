"""Every score beside the one that the field uses."""

import collections
import json
import re
import string
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from keras_plm.evaluation import (
    answer_f1,
    answer_scores,
    correlations,
    exact_match,
    label_scores,
    multi_label_scores,
    scores_by_label,
    tag_scores,
)
from keras_plm.tasks import ClassifierMethods, evaluate
from keras_plm.text import LabeledTexts

IDS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40)


@given(IDS)
def test_labels_as_scikit_learn(pairs):
    wanted, found = zip(*pairs, strict=True)
    scores = label_scores(wanted, found, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(wanted, found))
        assert scores["macro_f1"] == pytest.approx(metrics.f1_score(wanted, found, average="macro"))
        assert scores["matthews"] == pytest.approx(metrics.matthews_corrcoef(wanted, found), abs=1e-12)


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=20))
def test_several_labels_as_scikit_learn(rows):
    table = np.array(rows)
    wanted, found = table[:, :3], table[:, 3:]
    scores = multi_label_scores(wanted, found)
    options = {"zero_division": 0.0}
    assert scores["micro_f1"] == pytest.approx(metrics.f1_score(wanted, found, average="micro", **options))
    assert scores["macro_f1"] == pytest.approx(metrics.f1_score(wanted, found, average="macro", **options))
    assert scores["exact_match"] == pytest.approx(metrics.accuracy_score(wanted, found))


@given(st.lists(st.tuples(st.integers(-3, 3), st.floats(-5, 5, width=16)), min_size=3, max_size=30))
def test_correlations_as_scipy(pairs):
    x, y = (np.array(side, float) for side in zip(*pairs, strict=True))
    scores = correlations(x, y)
    if np.ptp(x) and np.ptp(y) > 1e-3:
        assert scores["pearson"] == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-9)
        assert scores["spearman"] == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-9)
    assert scores["rmse"] == pytest.approx(np.sqrt(metrics.mean_squared_error(x, y)))


def test_constant_numbers_have_no_correlation():
    assert correlations([0.1, 0.1, 0.1], [1, 2, 3]) == {
        "pearson": 0.0,
        "spearman": 0.0,
        "rmse": pytest.approx(2.06, abs=0.01),
    }


TAG = st.sampled_from(["O", "B-PER", "I-PER", "B-小", "I-小", "E-PER", "S-小"])


@given(st.lists(st.lists(st.tuples(TAG, TAG), min_size=1, max_size=9), min_size=1, max_size=6))
@settings(deadline=None)
def test_entities_as_seqeval(sentences):
    from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score

    wanted = [[a for a, _ in sentence] for sentence in sentences]
    found = [[b for _, b in sentence] for sentence in sentences]
    scores = tag_scores(wanted, found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert scores["accuracy"] == pytest.approx(accuracy_score(wanted, found))
        if "f1" not in scores:  # only O: nothing to find
            assert {tag for tags in [*wanted, *found] for tag in tags} == {"O"}
            return
        assert scores["f1"] == pytest.approx(f1_score(wanted, found))
        assert scores["precision"] == pytest.approx(precision_score(wanted, found))
        assert scores["recall"] == pytest.approx(recall_score(wanted, found))
        report = classification_report(wanted, found, output_dict=True) if any(scores_by_label(wanted, found)) else {}
    for label, row in scores_by_label(wanted, found).items():
        assert row["f1"] == pytest.approx(report[label]["f1-score"])
        assert row["support"] == report[label]["support"]


def test_sentences_of_unequal_length():
    with pytest.raises(ValueError, match="sentence 1 has 2 tags, but 1 were found"):
        tag_scores([["O", "O"]], [["O"]])


# ---- the arithmetic of SQuAD's evaluate-v2.0.py, step by step


def official_normalize(s):
    def remove_articles(text):
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

    def remove_punctuation(text):
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return " ".join(remove_articles(remove_punctuation(s.lower())).split())


def official_f1(gold, prediction):
    gold_tokens = official_normalize(gold).split() if gold else []
    prediction_tokens = official_normalize(prediction).split() if prediction else []
    common = collections.Counter(gold_tokens) & collections.Counter(prediction_tokens)
    same = sum(common.values())
    if len(gold_tokens) == 0 or len(prediction_tokens) == 0:
        return int(gold_tokens == prediction_tokens)
    if same == 0:
        return 0
    precision, recall = 1.0 * same / len(prediction_tokens), 1.0 * same / len(gold_tokens)
    return (2 * precision * recall) / (precision + recall)


def official_scores(golds, predictions):
    exact, f1 = [], []
    for gold, prediction in zip(golds, predictions, strict=True):
        answers = [a for a in gold if official_normalize(a)] or [""]
        exact.append(max(int(official_normalize(a) == official_normalize(prediction)) for a in answers))
        f1.append(max(official_f1(a, prediction) for a in answers))
    return sum(exact) / len(exact), sum(f1) / len(f1)


ANSWER = st.text(st.sampled_from("aAn The,.小明é\u0301🙂 -12\u00a0"), max_size=16)


@given(st.lists(st.tuples(st.lists(ANSWER, max_size=3), ANSWER), min_size=1, max_size=6))
def test_answers_as_the_official_script(rows):
    golds, predictions = [gold for gold, _ in rows], [prediction for _, prediction in rows]
    scores = answer_scores(golds, predictions)
    exact, f1 = official_scores(golds, predictions)
    assert scores["exact_match"] == pytest.approx(exact) and scores["f1"] == pytest.approx(f1)


def test_answers():
    assert exact_match("The Eiffel Tower", "eiffel tower!") == 1
    assert answer_f1("a cat sat", "the cat ran") == pytest.approx(0.5)
    scores = answer_scores([["x"], []], ["x", ""])
    assert scores == {"exact_match": 1.0, "f1": 1.0, "answerable_f1": 1.0, "unanswerable": 1.0}


def test_what_is_wrong_comes_worst_first():
    class Known(ClassifierMethods):
        labels, multi_label = ["a", "b", "c"], False

        def predict_logits(self, first, second=None, **options):
            return np.array([known[text] for text in first], "float32")

    known = {
        "sure": [9, 0, 0],
        "less so": [0, 2, 0],
        "right": [0, 0, 3],
        "hardly": [1, 0.9, 0],
        "also right": [0, 5, 0],
    }
    found = evaluate(Known(), LabeledTexts("here", list(known), None, ["b", "c", "c", "b", "b"]))
    assert [found.rows[i]["text"] for i in found.wrong] == ["sure", "less so", "hardly"]
    assert found.scores["accuracy"] == 0.4 and found.main == "accuracy"
    assert found.details == (
        ["label", "rows", "recall", "precision", "most often taken for"],
        [["a", 0, 0.0, 0.0, ""], ["b", 3, 1 / 3, 0.5, "a"], ["c", 2, 0.5, 1.0, "b"]],
    )
    page = found.errors(limit=2)
    assert "3 of 5 rows are not fully correct" in page and "## The worst 2" in page
    assert page.index("| 1 | sure") < page.index("| 2 | less so") and "hardly" not in page
    assert [json.loads(line)["found"] for line in found.predictions().splitlines()] == ["a", "b", "c", "a", "b"]


def test_distinct_n_grams():
    from keras_plm.evaluation.text_scores import distinct

    texts = ["A b a", "a, b!", ""]
    assert distinct(texts, 1) == 2 / 5 and distinct(texts, 2) == 2 / 3 and distinct(texts, 3) == 1
    assert distinct(texts, 4) == distinct([], 1) == 0


ASCII = st.text(st.characters(max_codepoint=126), max_size=60)


@given(ASCII, ASCII)
def test_rouge_of_ascii_texts_is_that_of_rouge_score(found, wanted):
    from rouge_score.rouge_scorer import RougeScorer

    from keras_plm.evaluation.text_scores import rouge_scores

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    expected = {name: score.fmeasure for name, score in scorer.score(wanted, found).items()}
    assert rouge_scores([found], [wanted]) == [expected]


def test_rouge_of_other_scripts():
    from keras_plm.evaluation.text_scores import rouge_scores, words_of

    assert words_of("Кошка_сидит, 3.5! 小明 läuft.") == ["кошка", "сидит", "3", "5", "小", "明", "läuft"]
    found = rouge_scores(["小明走了。", "Кошка сидит"], ["小明来了。", "Кошка спит"])
    assert [round(row["rouge1"], 3) for row in found] == [0.75, 0.5]
