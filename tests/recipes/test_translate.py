"""Translators and summarizers: from scratch, continued, with LoRA, and on a phone."""

import json
from pathlib import Path

import numpy as np
import pytest
import sacrebleu

import keras_plm as plm
from keras_plm import export
from keras_plm.__main__ import main
from keras_plm.commands.columns import columns_of
from keras_plm.commands.written_table import write_table
from keras_plm.evaluation.text_scores import text_scores
from keras_plm.recipes import Summarize, Translate
from keras_plm.tasks import SEQ2SEQ, evaluate
from keras_plm.text import learn_sentence_pieces

NUMBERS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf", "six": "sechs", "ten": "zehn"}
SMALL = plm.EncoderDecoderConfig(
    num_layers=1, num_heads=2, hidden_dim=32, intermediate_dim=64, vocabulary_size=60, normalize_first=True
)


def write(path, count, seed):
    random = np.random.default_rng(seed)
    rows = [random.choice(list(NUMBERS), random.integers(1, 5)).tolist() for _ in range(count)]
    lines = [f"{' '.join(row)}\t{' '.join(NUMBERS[word] for word in row)}\n" for row in rows]
    path.write_text("en\tde\n" + "".join(lines), "utf-8")
    return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translate")
    settings = {
        "train": write(folder / "train.tsv", 400, 0), "test": write(folder / "test.tsv", 40, 1), "config": SMALL,
        "source_column": "en", "target_column": "de", "max_length": 23, "batch_size": 20, "learning_rate": 1e-2,
        "dropout": 0.0, "epochs": 8, "verbose": 0, "save_to": str(folder / "en_de"),
    }  # fmt: skip
    return settings, Translate(**settings).run()


def test_it_learns_to_translate(trained):
    settings, model = trained
    again = plm.load(settings["save_to"])
    assert again.generate(["ten two", "five"]) == model.generate(["ten two", "five"]) == ["zehn zwei", "fünf"]
    found = evaluate(again, SEQ2SEQ.read(settings["test"], columns_of(settings["save_to"], again)))
    assert found.main == "chrf" and found.scores["bleu"] > 80 and found.scores["token_accuracy"] > 0.95
    assert found.rows[0]["found"] == again.generate([found.rows[0]["source"]])[0]
    record = json.loads((Path(settings["save_to"]) / "recipe.json").read_text())
    assert record["recipe"] == "Translate" and record["label_smoothing"] == 0.1


def test_a_student_learns_from_the_texts_of_a_teacher(trained, tmp_path, capsys):
    """Sequence-level knowledge distillation: the teacher writes the table that the student learns from."""
    settings, model = trained
    table = tmp_path / "distilled.jsonl"
    command = [
        "generate", "--model", settings["save_to"], "--data", settings["train"], "--text-column", "en",
        "--written-column", "de", "--max-new-tokens", "12", "--batch-size", "64", "--save-to", str(table),
    ]  # fmt: skip
    main(command)
    rows = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
    assert [row["en"] for row in rows] == plm.text.read_rows(settings["train"], ["en"])["en"]
    few = [0, 5, 17, 399]
    assert [rows[i]["de"] for i in few] == model.generate([rows[i]["en"] for i in few], max_new_tokens=12)
    # interrupted after some rows, and in the middle of one: it continues with the rest
    whole = table.read_text("utf-8")
    asked = []

    def write(texts):
        asked.append(len(texts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return [[rows_of[text]] for text in texts]

    odd = tmp_path / "odd.jsonl"
    write_table(odd, ["a\u2028b", "c\x85", "d\r"], lambda texts: [[f"{t}\u2029!"] for t in texts], ("x", "y"), "", 2)
    assert [json.loads(line)["x"] for line in odd.read_bytes().decode().split("\n")[:-1]] == [
        "a\u2028b",
        "c\x85",
        "d\r",
    ]
    rows_of = {row["en"]: row["de"] for row in rows}
    given = (tmp_path / "again.jsonl", [row["en"] for row in rows], write, ("en", "de"), "settings", 9)
    with pytest.raises(KeyboardInterrupt):
        write_table(*given)
    kept = tmp_path / "again.jsonl.partial"
    kept.write_text(kept.read_text("utf-8")[:-7], "utf-8")
    write_table(*given)
    assert given[0].read_text("utf-8") == whole and not kept.exists()
    assert asked == [144, 144, 112, 113] and sum(asked[:2]) + asked[3] == len(rows) + 1
    changes = {"train": str(table), "test": settings["test"], "epochs": 1, "save_to": str(tmp_path / "student")}
    capsys.readouterr()
    Translate(**settings | changes | {"verbose": 2}).run()
    said = capsys.readouterr().out
    first = plm.text.read_rows(settings["test"], ["en", "de"])
    assert f"{first['en'][0]}\n  → " in said and f"\n  = {first['de'][0]}\n" in said
    for wrong, message in (
        (["--save-to", str(table)], "exists; pass overwrite=True"),
        (["--data", "None", "--save-to", "None"], "need --data and --save-to"),
        (["--save-to", str(tmp_path / "a.tsv")], "is written as .jsonl"),
        (["--written-column", "en", "--overwrite"], "are both 'en'"),
    ):
        with pytest.raises(SystemExit):
            main([*command, *wrong])
        assert message in capsys.readouterr().err


def test_long_texts_are_split(trained, capsys):
    settings, model = trained
    limit = model.longest_row
    text = ". ".join(" ".join(["One", *["six two ten"] * 3]) for _ in range(5)) + f".\n{'five ' * 50}\n{'x' * 60}"
    with pytest.raises(ValueError, match=f"the model reads {limit}: split it, see `split_text`"):
        model.generate([text])
    for room in (None, 11):
        parts = model.split_text(text, room)
        assert "".join(parts).replace(" ", "") == text.replace(" ", "").replace("\n", "")
        lengths = [len(ids) for ids in model.source_ids(parts)]
        assert max(lengths) <= (room or limit) and len(lengths) < sum(lengths) / (room or limit) * 2.5
    assert model.split_text("") == [""] and model.split_text("two\n ten. Six") == ["two\n ten. Six"]
    with_prefix = model.split_text(text, 11, prefix="six: ")
    assert all(part.startswith("six: ") for part in with_prefix) and len(with_prefix) > len(model.split_text(text, 11))
    assert max(len(ids) for ids in model.source_ids(with_prefix)) <= 11
    with pytest.raises(ValueError, match="max_length=1 has no room for a token"):
        model.split_text(text, 1)
    with pytest.raises(ValueError, match="no room for a token after the prefix 'six six six"):
        model.split_text(text, 5, "six six six six: ")
    options = ["generate", "--model", settings["save_to"], "--max-new-tokens", "9", "--split-texts", "--prefix", "six "]
    main([*options, "--", text])
    parts = model.split_text(text, prefix="six ")
    assert capsys.readouterr().out == " ".join(model.generate(parts, max_new_tokens=9)) + "\n\n"


def test_on_a_phone(trained, tmp_path):
    _, model = trained
    artifact = export.load_artifact(export.to_tflite(model, tmp_path / "phone", "dynamic_int8"))
    texts = ["ten two", "five", "one six six"]
    assert artifact.generate(texts) == model.generate(texts)


def test_it_starts_from_a_model(trained, tmp_path):
    settings, model = trained
    more = {k: v for k, v in settings.items() if k != "config"} | {
        "start_from": settings["save_to"], "save_to": str(tmp_path / "more"), "epochs": 1, "learning_rate": 1e-4,
    }  # fmt: skip
    before = {weight.path: np.asarray(weight) for weight in model.weights}
    updated = Translate(**more, trainable="lora:2").run()
    for weight in updated.weights:
        if "lora" not in weight.path:
            np.testing.assert_array_equal(weight, before[weight.path], err_msg=weight.path)
    assert updated.generate(["ten two"]) == ["zehn zwei"]


def test_refused(trained, tmp_path):
    settings, _ = trained
    for changes, message in (
        ({"trainable": "lora:2"}, "needs a model of start_from"),
        ({"start_from": settings["save_to"]}, "leave out config"),
        ({"target_column": "en"}, "source_column and target_column"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"prune": "0.5"}, "prune is for encoders"),
    ):
        with pytest.raises(ValueError, match=message):
            Translate(**settings | changes)
    with pytest.raises(ValueError, match="'fr'"):
        Translate(**settings | {"target_column": "fr", "save_to": str(tmp_path / "x")}).run()


def test_long_texts_lose_their_end(trained):
    _, model = trained
    examples = SEQ2SEQ.read({"source": ["ten " * 40, "one"], "target": ["zehn " * 40, "eins"]}, SEQ2SEQ.columns)
    assert SEQ2SEQ.rows(model, examples, 23).num_truncated == 1
    found = evaluate(model, examples)
    assert found.rows[1]["found"] == "eins" and found.rows[0]["found"].startswith("zehn")


def test_summarize_has_its_columns(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"{word} and {word} and so on", "summary": word} for word in NUMBERS] * 2
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"train": str(path), "config": SMALL, "epochs": 1, "batch_size": 4, "max_length": 31, "verbose": 0}
    model = Summarize(**settings, save_to=str(tmp_path / "model")).run()
    assert model.longest_row == 31
    assert columns_of(str(tmp_path / "model"), model).text == "text"


def test_scores_of_texts():
    wanted = ["the cat sat on the mat .", "a dog runs"]
    found = ["the cat sat on a mat .", "the dog runs"]
    scores = text_scores(found, wanted)
    assert scores["bleu"] == sacrebleu.corpus_bleu(found, [wanted]).score
    # 6 of 7 and 2 of 3 words; without punctuation 5 of 6
    assert scores["rouge1"] == pytest.approx(100 * (5 / 6 + 2 / 3) / 2)
    assert text_scores(wanted, wanted) == pytest.approx(dict.fromkeys(scores, 100.0))
    assert text_scores(["我们 走吧。好的。"], ["我们走吧。好的。"])["bleu"] > 60  # by character


def test_learned_sentence_pieces():
    texts = [f"{a} {b}" for a in NUMBERS for b in NUMBERS.values()]
    tokenizer = learn_sentence_pieces(texts, 60)
    assert len(tokenizer) <= 60 and tokenizer.vocabulary[:3] == ["<pad>", "</s>", "<unk>"]
    assert all(tokenizer.decode(tokenizer.encode(text).token_ids) == text for text in texts)
    assert tokenizer.ids_around == ([], [1])
    assert learn_sentence_pieces(texts, 60).vocabulary == tokenizer.vocabulary
    for bad, size in (([], 60), (texts, 9), (texts, 3)):
        with pytest.raises(ValueError, match="vocabulary"):
            learn_sentence_pieces(bad, size)
