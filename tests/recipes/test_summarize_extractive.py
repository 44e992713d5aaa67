import json

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export, load
from keras_plm.__main__ import main
from keras_plm.recipes import SummarizeExtractive
from keras_plm.tasks import extract_summaries
from keras_plm.text import sentences_of

NOISE = ["We like cats.", "It rained today.", "Nobody knows why.", "The dog ran home."]


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    found = []
    for number in range(40):
        order = random.permutation(4)
        thing = ["method", "model"][number % 2]
        important = f"Our {thing} is good."
        sentences = [NOISE[i] for i in order[:3]]
        sentences.insert(int(random.integers(4)), important)
        found.append({"text": " ".join(sentences), "summary": f"our {thing} is good"})
    return found


@pytest.fixture(scope="module")
def extractor(rows, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("extractor") / "m"
    recipe = SummarizeExtractive(
        start_from=str(encoder), train=rows[:32], validation=rows[32:], epochs=12, learning_rate=3e-3,
        num_sentences=1, max_length=32, batch_size=16, save_to=str(folder), precision="float32", verbose=0,
    )  # fmt: skip
    return recipe.run(), folder


def test_the_important_sentence_is_selected(extractor, rows, tmp_path):
    model, folder = extractor
    texts = [row["text"] for row in rows[32:]]
    found = extract_summaries(model, texts, 1)
    assert np.mean([text.startswith("Our ") for text in found]) > 0.8
    predictions = [json.loads(line) for line in (folder / "validation.predictions.jsonl").read_text().splitlines()]
    assert [row["found"] for row in predictions] == found
    card = (folder / "README.md").read_text()
    scores = [
        float(card.split(f"| validation {name} | ")[1].split(" ")[0])
        for name in ("rouge1", "rouge1_of_first_sentences")
    ]
    assert scores[0] > 80 > scores[1]
    assert extract_summaries(load(folder), texts, 1) == found
    phone = export.load_artifact(export.to_tflite(model, tmp_path / "phone", max_length=32))
    assert extract_summaries(phone, texts, 1) == found


def test_sentences_keep_their_order_and_do_not_repeat(extractor):
    model = extractor[0]
    text = "We like cats. Our method is good. We like cats.\nIt rained today"
    assert sentences_of(text) == ["We like cats.", "Our method is good.", "We like cats.", "It rained today"]
    (whole,) = extract_summaries(model, [text], 9)
    assert whole == "We like cats. Our method is good. It rained today"
    assert extract_summaries(model, ["", "One."], 2) == ["", "One."]
    assert extract_summaries(model, []) == []
    assert extract_summaries(model, ["没有人。他走了。没有人。"], 3) == ["没有人。 他走了。"]


def test_what_cannot_work_is_said(extractor, rows, encoder, tmp_path, capsys):
    main(["extract", "--model", str(extractor[1]), "--num-sentences", "1", "We like cats. Our method is good."])
    assert capsys.readouterr().out == "Our method is good.\n"
    for wrong in (plm.load(encoder), plm.Classifier(plm.TINY, ["a", "b"])):
        with pytest.raises(ValueError, match="the model does not score sentences"):
            extract_summaries(wrong, ["a"])
    with pytest.raises(ValueError, match="num_sentences=0; it must be at least 1"):
        extract_summaries(extractor[0], ["a"], 0)
    with pytest.raises(ValueError, match="num_sentences=0; it must be at least 1"):
        SummarizeExtractive(start_from="m", train=rows, num_sentences=0)
    with pytest.raises(ValueError, match=r"summary"):
        SummarizeExtractive(
            start_from=str(encoder), train=[{"text": "a"}], save_to=str(tmp_path / "m"), max_length=32, verbose=0
        ).run()
