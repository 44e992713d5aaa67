import re
from dataclasses import replace

import pytest

import keras_plm as plm
from keras_plm import export
from keras_plm.evaluation import Evaluation
from keras_plm.export.compare import compare
from keras_plm.export.report import write_report

from .conftest import LENGTH


@pytest.fixture(scope="module")
def comparisons(reviews, review_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    files = [export.to_tflite(reviews, folder / scheme, scheme, LENGTH) for scheme in ("float32", "dynamic_int8")]
    return [compare(reviews, file, review_files["test"]) for file in files]


def test_the_page(comparisons, tmp_path):
    path = write_report(comparisons, tmp_path / "report.html")
    page = path.read_text("utf-8")
    for words in (
        "accuracy",
        "By class",
        "By length",
        "Calibration",
        "Confusion matrix",
        "Disagreements",
        "run by XNNPACK",
    ):
        assert words in page, words
    assert page.count("<svg") == 2 and page.count("<h2>") == 2
    outside = set(re.findall(r'(?:src|href)="(http[^"]*)"', page))
    assert not outside  # one page that needs no other
    with pytest.raises(FileExistsError, match="report.html exists"):
        write_report(comparisons[0], path)
    assert write_report(comparisons[0], path, overwrite=True).read_text("utf-8").count("<h2>") == 1
    with pytest.raises(ValueError, match="no comparisons"):
        write_report([], tmp_path / "none.html")
    fewer = replace(comparisons[1], lengths=comparisons[1].lengths[1:])
    with pytest.raises(ValueError, match="was compared on other examples than"):
        write_report([comparisons[0], fewer], tmp_path / "none.html")


def test_the_worst_disagreements_come_first(comparisons, tmp_path):
    """Of answers without a probability too."""

    def side(found, wrong):
        rows = [{"question": f"question {i}", "wanted": ["b"], "found": f, "start": 0} for i, f in enumerate(found)]
        return Evaluation({"f1": 0.5}, rows, wrong)

    keras, artifact = side("bbb", []), side(["b c", "", "b d"], [1, 2, 0])
    one = replace(comparisons[0], keras_evaluation=keras, artifact_evaluation=artifact)
    page = write_report(one, tmp_path / "report.html").read_text("utf-8")
    assert [page.index(f"question {i}") for i in (1, 2, 0)] == sorted(page.index(f"question {i}") for i in range(3))
    assert "<th>start</th>" not in page


def test_the_numbers_of_the_page(comparisons, tmp_path):
    """Nine rows of which the artifact gets one more wrong than the model does."""

    def side(found):
        rows = [
            {"text": f"text {i}", "wanted": "cat" if i < 6 else "dog", "found": label, "probability": 0.9 - i / 100}
            for i, label in enumerate(found)
        ]
        wrong = [i for i, row in enumerate(rows) if row["wanted"] != row["found"]]
        right = 1 - len(wrong) / 9
        details = ["label", "recall", "support"], [["cat", found[:6].count("cat") / 6, 6], ["dog", 1.0, 3]]
        return Evaluation({"accuracy": right}, rows, wrong, details)

    keras, artifact = side(["dog"] + ["cat"] * 5 + ["dog"] * 3), side(["dog"] * 2 + ["cat"] * 4 + ["dog"] * 3)
    one = replace(
        comparisons[0], keras_evaluation=keras, artifact_evaluation=artifact, keras_score=8 / 9, artifact_score=7 / 9,
        lengths=list(range(10, 19)), rows=9,
    )  # fmt: skip
    page = write_report(one, tmp_path / "report.html").read_text("utf-8")

    def row(*cells):
        return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells)

    assert '<td>0.7778</td><td class="worse">-11.11</td>' in page
    assert row("cat", 6, "0.6667").removesuffix("</td>") in page and '<td class="worse">-16.67</td>' in page
    assert row("dog", 3, "1.0000") + '<td class="">+0.00</td>' in page
    assert row("10 to 12 tokens", 3, "0.3333") + '<td class="worse">-33.33</td>' in page
    assert row("13 to 14 tokens", 2, "1.0000") + '<td class="">+0.00</td>' in page
    assert row("cat", 4, 2) in page and row("dog", 0, 3) in page  # wanted cat: 4 found, 2 taken for dogs
    assert "Disagreements: 1 of 9 examples" in page and page.count(">text 1<") == 1


def test_the_delegate_took_what_it_can(comparisons):
    for one in comparisons:
        assert one.delegated.total() > 0.5 * one.operators.total() and one.delegated <= one.operators
        assert one.delegated["FULLY_CONNECTED"] == one.operators["FULLY_CONNECTED"]
        assert "on XNNPACK" in str(one)


@pytest.mark.slow
def test_disagreements_and_what_is_in_a_text(reviews, tmp_path):
    """A text is shown as it is; a model against other weights differs."""
    other = plm.Classifier(reviews.config, reviews.labels, reviews.tokenizer)
    path = export.to_tflite(other, tmp_path, max_length=LENGTH)
    lines = ["label\ttext", *(f"{'cat' if i % 2 else 'dog'}\tthe <script> & cat {'sees ' * i}" for i in range(12))]
    (tmp_path / "rows.tsv").write_text("\n".join(lines))
    found = compare(reviews, path, tmp_path / "rows.tsv")
    assert found.agreement < 1
    page = write_report(found, tmp_path / "report.html").read_text("utf-8")
    assert "&lt;script&gt; &amp; cat" in page and "<script>" not in page
    assert re.search(r"Disagreements: \d+ of 12 examples", page)


@pytest.mark.slow
def test_taggers_and_embedders_have_a_page_too(config, tokenizer, tmp_path):
    tagger = plm.Tagger(config, ["O", "B-A", "I-A"], tokenizer)
    (tmp_path / "rows.conll").write_text("the O\ncat B-A\n\ndog B-A\nsees O\n")
    regression = plm.Classifier(config, None, tokenizer)
    (tmp_path / "rows.tsv").write_text("score\ttext\n" + "".join(f"{i}\tthe cat {'sees ' * i}\n" for i in range(9)))
    path = export.to_tflite(regression, tmp_path / "r", "dynamic_int8", max_length=LENGTH)
    one = compare(regression, path, tmp_path / "rows.tsv", label_column="score")
    page = write_report(one, tmp_path / "regression.html").read_text("utf-8")
    assert "By length" not in page and "Disagreements" in page
    one = compare(tagger, export.to_tflite(tagger, tmp_path / "t", max_length=LENGTH), str(tmp_path / "rows.conll"))
    page = write_report(one, tmp_path / "tagger.html").read_text("utf-8")
    assert "run by XNNPACK" in page and "<th>label</th><th>support</th><th>f1</th>" in page, page
    embedder = plm.Embedder(config, tokenizer=tokenizer)
    one = compare(embedder, export.to_tflite(embedder, tmp_path / "e", max_length=LENGTH), ["a", "the cat"])
    assert "run by XNNPACK" in write_report(one, tmp_path / "embedder.html").read_text("utf-8")
