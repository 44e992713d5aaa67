"""What each command does."""

import importlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export
from keras_plm.__main__ import main


@pytest.fixture
def saved(classifier, tmp_path):
    plm.save(classifier, tmp_path / "model")
    return str(tmp_path / "model")


def test_predict(saved, classifier, capsys, tmp_path):
    texts = ["the cat sees", "a heron"]
    main(["predict", "--model", saved, *texts])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == classifier.predict_labels(texts)
    assert [line[2] for line in lines] == texts
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    main(["predict", "--model", saved, "--data", str(tmp_path / "rows.jsonl")])
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == lines


def test_export_and_compare(saved, capsys, tmp_path):
    main(
        [
            "export",
            "tflite",
            saved,
            str(tmp_path / "phone"),
            "--quantization",
            "dynamic_int8",
            "--max-length",
            "16",
        ]
    )
    assert "matches the Keras model" in capsys.readouterr().out
    (tmp_path / "test.tsv").write_text("label\ttext\ncat\tthe cat\ndog\ta dog\n")
    main(
        [
            "compare",
            saved,
            str(tmp_path / "phone" / "model.tflite"),
            "--data",
            str(tmp_path / "test.tsv"),
        ]
    )
    assert "labels agree" in capsys.readouterr().out


def test_evaluate_and_predict_of_every_task(saved, config, tokenizer, review_files, capsys, tmp_path):
    written = [str(tmp_path / name) for name in ("found.jsonl", "errors.md")]
    (tmp_path / "rows.tsv").write_text("label\ttext\ncat\tthe cat\ndog\tthe dog\n")
    saved = str(shutil.copytree(saved, tmp_path / "[v2] [/x]"))  # brackets are not markup here
    main(["evaluate", saved, str(tmp_path / "rows.tsv"), "--predictions", written[0], "--errors", written[1]])
    printed = "".join(capsys.readouterr().out.split())  # the path of the model may make its line too long
    assert "accuracy" in printed and "macro_f1" in printed and "on2examples" in printed and "[v2][/x]" in printed
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert [row["wanted"] for row in rows] == ["cat", "dog"] and "# Errors" in (tmp_path / "errors.md").read_text()
    with pytest.raises(SystemExit):
        main(["evaluate", saved, str(tmp_path / "rows.tsv"), "--errors", written[1]])
    assert "exists; pass overwrite=True" in capsys.readouterr().err

    plm.save(plm.Tagger(config, ["NOUN", "VERB"], tokenizer), tmp_path / "tagger")
    main(["predict", "--model", str(tmp_path / "tagger"), "The cat"])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[2], row[4]) for row in lines] == [("1", "0-3", "The"), ("1", "4-7", "cat")]
    (tmp_path / "a.conllu").write_text("1\tthe\tthe\tNOUN\n2\tcat\tcat\tVERB\n")
    main(["evaluate", str(tmp_path / "tagger"), str(tmp_path / "a.conllu"), "--tag-column", "3"])
    assert "accuracy" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path / "tagger"), str(tmp_path / "a.conllu"), "--tag-column", "1"])
    assert "a.conllu, sentence 1: unknown label" in capsys.readouterr().err
    for wrong, words in (
        (["The cat", "--question", "who ?"], "--question is for a question answerer"),
        (["The cat", "--data", "x.tsv"], "texts and --data exclude each other"),
        (["The cat", "--second-column", "b"], "--second-column needs --data"),
    ):
        with pytest.raises(SystemExit):
            main(["predict", "--model", str(tmp_path / "tagger"), *wrong])
        assert words in capsys.readouterr().err

    plm.save(plm.QuestionAnswerer(config, tokenizer), tmp_path / "reader")
    main(["predict", "--model", str(tmp_path / "reader"), "the cat sees", "--question", "who ?"])
    answer, score, place = capsys.readouterr().out.strip().split("\t")
    start, end = map(int, place.split("-"))
    assert "the cat sees"[start:end] == answer and 0 < float(score) <= 1
    with pytest.raises(SystemExit):
        main(["predict", "--model", str(tmp_path / "reader"), "the cat"])
    assert "the question is missing: give it with --question" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", "--model", str(tmp_path / "reader"), "x", "--question", "?", "--save-to", f"{tmp_path}/x.npy"])
    assert "are not a table of numbers" in capsys.readouterr().err


def test_shrink(config, tokenizer, capsys, tmp_path):
    plm.save(plm.Encoder(replace(config, num_layers=3), tokenizer), tmp_path / "large")
    arguments = ["shrink", str(tmp_path / "large"), "--save-to", str(tmp_path / "small"), "--num-layers", "2"]
    main([*arguments, "--hidden-dim", "22"])
    small = plm.load(tmp_path / "small")
    assert (small.config.num_layers, small.config.num_heads, small.config.intermediate_dim) == (2, 2, 35)
    assert f"{small.count_params():,} weights of" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*arguments, "--hidden-dim", "20", "--overwrite"])
    assert "each head must keep its width: 11" in capsys.readouterr().err


def test_trim(saved, classifier, capsys, tmp_path):
    texts = ["the cat sees", "a heron"]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    main(["trim", saved, "--data", str(tmp_path / "rows.jsonl"), "--save-to", str(tmp_path / "small")])
    small = plm.load(tmp_path / "small")
    assert f"{len(small.tokenizer)} tokens of {len(classifier.tokenizer)}" in capsys.readouterr().out
    np.testing.assert_allclose(small.predict_logits(texts), classifier.predict_logits(texts), atol=1e-6)


def test_vocabulary(corpus_file, capsys, tmp_path):
    main(["vocabulary", corpus_file, "--save-to", str(tmp_path / "vocab.txt"), "--size", "71"])
    assert len(plm.WordPieceTokenizer.from_file(tmp_path / "vocab.txt")) == 71
    assert [p.name for p in tmp_path.iterdir()] == ["vocab.txt"]


def test_pretrain_and_classify(corpus_file, review_files, tmp_path):
    (tmp_path / "sizes.json").write_text(
        json.dumps({"hidden_dim": 32, "num_heads": 2, "num_layers": 1, "intermediate_dim": 40})
    )
    main(
        f"pretrain --corpus {corpus_file} --config {tmp_path}/sizes.json --vocabulary-size 89 --steps 4 "
        f"--checkpoint-every 2 --max-length 32 --save-to {tmp_path}/encoder --verbose 0".split()
    )
    assert plm.load(tmp_path / "encoder").config.num_layers == 1
    main(
        f"classify --start-from {tmp_path}/encoder --train {review_files['train']} --epochs 1 --max-length 16 "
        f"--save-to {tmp_path}/reviews --verbose 0".split()
    )
    assert plm.load(tmp_path / "reviews").labels == ["cat", "dog"]


def test_the_plot_of_a_budget(saved, tmp_path, monkeypatch, capsys):
    module = importlib.import_module("keras_plm.commands.exporting")
    one = export.Attempt(
        model="given", trim=None, quantization="int4", megabytes=3.0, packed_megabytes=2.0, latency_ms=1.0, score=0.5,
        loss=1.0,
    )  # fmt: skip
    missed = export.Budget("accuracy", 0.5, export.Bounds(max_megabytes=2), [one])
    plot, search = tmp_path / "plot.svg", tmp_path / "out" / "model.tflite.search"

    def problem(plot):
        with pytest.raises(SystemExit):
            main(
                ["fit-budget", saved, str(tmp_path / "out"), "--data", "x", "--max-megabytes", "2", "--plot", str(plot)]
            )
        return capsys.readouterr().err

    def miss(*_, **__):
        raise export.BudgetError(missed, search)

    monkeypatch.setattr(module, "fit_budget", miss)
    assert "a plot cannot be a .txt" in problem(tmp_path / "plot.txt")
    assert "max_megabytes=2 fails by 1.00 MB" in problem(plot) and "<svg" in plot.read_text("utf-8")
    assert "plot.svg exists" in problem(plot)  # it may be somebody's
    search.mkdir(parents=True)
    assert "fails by" in problem(plot)  # now it is known to be of this search

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(export.Budget, "plot", full)
    assert "fails by 1.00 MB" in problem(plot)


def test_choose_and_vectors(capsys, config, tmp_path, monkeypatch):
    from checkpoints.small_folders import word_piece

    main(["choose", "--task", "similarity", "--max-megabytes", "30"])
    assert "all-MiniLM-L6-v2" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["choose", "--max-megabytes", "1"])
    assert "no known checkpoint for classification in en fits" in capsys.readouterr().err
    tokenizer = word_piece()
    sizes = replace(config, vocabulary_size=len(tokenizer))
    plm.save(plm.Embedder(sizes, tokenizer), tmp_path / "embedder")
    command = ["predict", "--model", str(tmp_path / "embedder")]
    main([*command, "the quiet film", "the quiet film", "a cafe"])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[-1] for line in lines] == ["the quiet film", "the quiet film", "a cafe"]
    assert lines[0][:2] == ["1.000", "1.000"] and float(lines[0][2]) < 1
    main([*command, "film", "--save-to", str(tmp_path / "vectors.npy")])
    assert np.load(tmp_path / "vectors.npy").shape == (1, sizes.hidden_dim)
    with pytest.raises(SystemExit):
        main([*command, "film", "--save-to", str(tmp_path / "vectors.npy")])
    assert "pass overwrite=True" in capsys.readouterr().err


def test_a_recipe_from_its_record(encoder_folder, review_files, tmp_path, capsys):
    settings = f"--start-from {encoder_folder} --train {review_files['train']} --epochs 1 --max-length 16 --verbose 0"
    main(f"classify {settings} --seed 3 --save-to {tmp_path}/a".split())
    main(f"classify --from {tmp_path}/a/recipe.json --save-to {tmp_path}/b --verbose 1".split())
    printed = capsys.readouterr().out
    assert f"saved in {tmp_path}/b" in printed and f"keras-plm predict --model {tmp_path}/b" in printed
    first, second = (json.loads((tmp_path / name / "recipe.json").read_text()) for name in "ab")
    assert second == first | {"save_to": f"{tmp_path}/b", "verbose": 1}
    for wrong, words in ((["tag"], "is the record of a recipe Classify, not Tag"), (["classify"], "is not empty")):
        with pytest.raises(SystemExit):
            main([*wrong, "--from", f"{tmp_path}/a/recipe.json"])
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["classify", "--from"])
    assert "--from needs the path of a recipe.json" in capsys.readouterr().err


@pytest.fixture
def encoder_folder(config, tokenizer, tmp_path):
    plm.save(plm.Encoder(config, tokenizer), tmp_path / "encoder")
    return str(tmp_path / "encoder")


def test_columns_are_those_of_the_training(encoder_folder, tmp_path, capsys):
    rows = "id\tsentence\tmood\n" + "".join(f"{i}\tthe {a}\t{a}\n" for i, a in enumerate(["cat", "dog"] * 4))
    (tmp_path / "rows.tsv").write_text(rows)
    main(
        f"classify --start-from {encoder_folder} --train {tmp_path}/rows.tsv --text-column sentence "
        f"--label-column mood --epochs 1 --max-length 16 --verbose 0 --save-to {tmp_path}/m".split()
    )
    capsys.readouterr()
    main(["evaluate", f"{tmp_path}/m", f"{tmp_path}/rows.tsv"])
    assert "accuracy" in capsys.readouterr().out
    main(["predict", "--model", f"{tmp_path}/m", "--data", f"{tmp_path}/rows.tsv"])
    assert len(capsys.readouterr().out.splitlines()) == 8
    (tmp_path / "bad.tsv").write_text(rows + "9\t\tcat\n9\tthe newt\tnewt\n")
    with pytest.raises(SystemExit):
        main(["evaluate", f"{tmp_path}/m", f"{tmp_path}/bad.tsv"])
    assert "bad.tsv, line 10: 'sentence' is empty" in capsys.readouterr().err
    main(["evaluate", f"{tmp_path}/m", f"{tmp_path}/bad.tsv", "--on-bad-row", "skip"])
    assert "2 rows were skipped" in capsys.readouterr().out


def test_generate(capsys, tmp_path, monkeypatch):
    from tests.tasks.test_text_generation import allowed, make

    model = make("gpt2", num_layers=1)
    plm.save(model, tmp_path / "model")
    bias = [str(part) for item in allowed(model).items() for part in item]
    flags = ["generate", "--model", str(tmp_path / "model"), "--max-new-tokens", "5", "--logit-bias", *bias]
    wanted = model.generate(["a cat", "the"], max_new_tokens=5, logit_bias=allowed(model))
    main([*flags, "--", "a cat"])
    assert capsys.readouterr().out == f"a cat{wanted[0]}\n"
    main([*flags, "--num-beams", "1", "--", "a cat", "the"])
    assert capsys.readouterr().out == f"a cat{wanted[0]}\n\nthe{wanted[1]}\n\n"
    monkeypatch.setattr("sys.stdin", iter(["the\n"]))
    main([*flags, "--do-sample", "--seed", "3", "--num-return-sequences", "2"])
    assert capsys.readouterr().out.count("the") >= 2

    main(["export", "tflite", str(tmp_path / "model"), str(tmp_path / "phone"), "--max-length", "48"])
    assert "matches the Keras model" in capsys.readouterr().out
    main([*["generate", "--model", str(tmp_path / "phone" / "model.tflite")], *flags[3:], "--", "a cat"])
    assert capsys.readouterr().out == f"a cat{wanted[0]}\n"
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    for name in ("model", "phone/model.tflite"):
        main(["evaluate", str(tmp_path / name), str(tmp_path / "rows.jsonl")])
        assert "token_accuracy" in capsys.readouterr().out


def test_generate_needs_a_decoder(saved, capsys):
    with pytest.raises(SystemExit):
        main(["generate", "--model", saved, "a cat"])
    assert "is a Classifier, which does not generate text" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["generate", "--model", saved, "--top-m", "3", "a cat"])
    assert "--top-m: did you mean --top-" in capsys.readouterr().err
