"""The command line itself: help, flags, suggestions, errors."""

import importlib
import inspect
import subprocess
import sys
import warnings
from importlib.metadata import entry_points

import pytest

import keras_plm as plm
from keras_plm import __main__ as command_line
from keras_plm.__main__ import main


@pytest.fixture
def saved(classifier, tmp_path):
    plm.save(classifier, tmp_path / "model")
    return str(tmp_path / "model")


def test_help_lists_commands_and_flags(capsys):
    for arguments, words in [
        (
            ["--help"],
            [
                "pretrain",
                "classify",
                "tag",
                "answer-questions",
                "embed",
                "distill",
                "shrink",
                "trim",
                "evaluate",
                "predict",
                "compare",
                "vocabulary",
                "export",
            ],
        ),
        (["export", "--help"], ["tflite", "onnx", "saved-model"]),
        (
            ["pretrain", "--help"],
            ["--corpus", "--config {tiny,mini,small", "--fast-dev-run", "fraction of the"],
        ),
        (["classify", "--help"], ["--second-column", "--limit-train-examples", "--trainable", "--multi-label"]),
        (["tag", "--help"], ["--crf", "--tag-column"]),
        (["distill", "--help"], ["--teacher", "recipe:classify", "recipe:pretrain"]),
        (["cross-validate", "--help"], ["--folds", "recipe:tag"]),
        (
            ["export", "tflite", "--help"],
            ["--quantization STR"],
        ),
    ]:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
        printed = capsys.readouterr().out
        for word in words:
            assert word in printed, (arguments, word)


def test_errors_are_one_line(capsys, tmp_path):
    for arguments in (
        ["predict", "x", "--model", str(tmp_path)],
        ["vocabulary", "*.none", "--save-to", "x"],
        ["predict", "x", "--model", str(tmp_path / ("long name " * 20))],
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 1
        printed = capsys.readouterr().err
        assert printed.startswith("keras-plm: ") and printed.count("\n") == 1, printed


NAMES = [name for group in command_line.COMMANDS.values() for name in group]


@pytest.mark.parametrize("name", [*NAMES, *(f"export {name}" for name in command_line.EXPORTS["Formats"])])
def test_every_command_has_its_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert stop.value.code == 0
    assert f"usage: keras-plm {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("function", "words", "wanted"),
    [
        ("exporting.to_onnx", "export onnx {model} {out} --max-length 9", {"path": "{out}", "max_length": 9}),
        (
            "exporting.to_saved_model",
            "export saved-model {model} {out} --max-length 9 --pairs --overwrite",
            {"folder": "{out}", "max_length": 9, "pairs": True, "overwrite": True},
        ),
        (
            "exporting.write_tokenizer_vectors",
            "export tokenizer-vectors {model} {out} --texts {rows} --text-column first --limit 1",
            {"path": "{out}", "texts": ["the cat"], "overwrite": False},
        ),
        (
            "exporting.to_tflite",
            "export tflite {model} {out} --quantization static_int8 --max-length 9 --calibration {rows} "
            "--text-column first --second-column second --strings",
            {
                "path": "{out}", "quantization": "static_int8", "max_length": 9, "metadata": False, "strings": "pairs",
                "calibration": [("the cat", "sees"), ("a dog", "hears")], "overwrite": False,
            },
        ),
        (
            "exporting.fit_budget",
            "fit-budget {model} {out} --data rows.tsv --max-megabytes 3 --max-loss 2 --texts {rows} "
            "--text-column first --schemes int4 float16 --metric macro_f1 --tag-column 2 --limit 7 --num-threads 2 "
            "--max-length 9",
            {
                "path": "{out}", "data": "rows.tsv", "max_megabytes": 3.0, "max_latency_ms": None, "max_loss": 2.0,
                "texts": ["the cat", "a dog"], "schemes": ("int4", "float16"), "metric": "macro_f1", "tag_column": 2,
                "limit": 7, "num_threads": 2, "max_length": 9, "text_column": "first",
            },
        ),
        (
            "preparing.cross_validate",
            "cross-validate --folds 3 recipe:classify --recipe.start-from x --recipe.train y --recipe.save-to {out}",
            {"folds": 3},
        ),
        (
            "preparing.find_learning_rate",
            "learning-rate --lowest 1e-5 --highest 1 --steps 20 recipe:tag --recipe.start-from x --recipe.train y "
            "--recipe.save-to {out}",
            {"lowest": 1e-5, "highest": 1.0, "steps": 20},
        ),
    ],
)  # fmt: skip
def test_flags_reach_the_library(function, words, wanted, saved, tmp_path, monkeypatch):
    module = importlib.import_module(f"keras_plm.commands.{function.split('.')[0]}")
    name, called = function.split(".")[1], []

    def record(*arguments, **options):
        called.append(inspect.signature(real).bind(*arguments, **options).arguments)
        raise ValueError("far enough")

    real = getattr(module, name)
    monkeypatch.setattr(module, name, record)
    (tmp_path / "rows.tsv").write_text("first\tsecond\nthe cat\tsees\na dog\thears\n")
    places = {"model": saved, "out": str(tmp_path / "out"), "rows": str(tmp_path / "rows.tsv")}
    with pytest.raises(SystemExit):
        main([word.format(**places) for word in words.split()])
    (found,) = called
    for key, value in wanted.items():
        assert found[key] == (value.format(**places) if isinstance(value, str) else value), key


def test_installed_entry_point():
    (installed,) = entry_points(group="console_scripts", name="keras-plm")
    assert installed.load() is main
    result = subprocess.run([sys.executable, "-m", "keras_plm", "--help"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0 and "pretrain" in result.stdout


def shell(*arguments, **options):
    command = [sys.executable, "-m", "keras_plm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def test_help_and_version_need_no_tensorflow():
    code = """import atexit, sys
from keras_plm.__main__ import main
atexit.register(lambda: 'tensorflow' in sys.modules and print('TensorFlow was imported', file=sys.stderr))
main(sys.argv[1:])"""
    for arguments in (["--help"], ["--version"], ["export", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert all(len(line) <= 100 for line in done.stdout.splitlines())


def test_wrong_commands_and_flags_get_a_suggestion(capsys):
    for arguments, words in (
        (["clasify"], "unknown command 'clasify'; did you mean classify?"),
        (["export", "tflit"], "did you mean tflite?"),
        (["brew"], "the commands are pretrain, pretrain-causal, pretrain-denoising,"),
        (["classify", "--epoch", "3"], "--epoch: did you mean --epochs?"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        printed = capsys.readouterr()
        assert stop.value.code == 2 and words in printed.err + printed.out, printed


def test_a_command_starts_without_a_word_of_tensorflow(saved):
    done = shell("predict", "--model", saved, "the cat")
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.endswith("\tthe cat\n")


def test_every_flag_is_one_clause():
    """Help is for people who type: a flag has a line or two, not a paragraph."""
    import tyro

    from keras_plm.__main__ import COMMANDS, EXPORTS

    for groups in (COMMANDS, EXPORTS):
        for name, command in ((n, c) for group in groups.values() for n, c in group.items()):
            assert len(command.summary) <= 80 and "\n" not in command.summary
            if command.target:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # tyro has no other way to its texts
                    parser = tyro.extras.get_parser(command.load())
                for action in parser._actions:
                    assert len(action.help or "") <= 150, (name, action.dest, action.help)


def test_ctrl_c_ends_without_a_traceback(monkeypatch, capsys):
    from keras_plm import recipes

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipes.Classify, "run", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["classify", "--start-from", "x", "--train", "y", "--save-to", "z"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "keras-plm: stopped; the same command resumes from where it was\n"
