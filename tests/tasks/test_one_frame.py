"""A task is told apart in its own folder only, and a new one needs nothing else."""

import ast
from pathlib import Path

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import __main__ as command_line
from keras_plm import export
from keras_plm.tasks import registered, task_of

from .position_task import POSITION, FindPosition

ROOT = Path(__file__).parent.parent.parent
OWN = [task for task in registered() if task is not POSITION]
CLASSES = {kind.__name__ for task in OWN for kind in (task.model, task.methods, type(task))}
NAMES = {task.name for task in OWN} | {task.model.__name__ for task in OWN}


def told_apart(tree):
    """The places where a class or the name of a task is compared."""
    for node in ast.walk(tree):
        parts = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            parts = node.args[1:]
        elif isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue | ast.MatchClass):
            parts = [node]
        for part in (inner for whole in parts for inner in ast.walk(whole)):
            if isinstance(part, ast.Constant) and part.value in NAMES:
                yield node.lineno, part.value
            if getattr(part, "id", getattr(part, "attr", "")) in CLASSES:
                yield node.lineno, ast.unparse(part)


def test_no_file_tells_tasks_apart():
    assert list(told_apart(ast.parse("x = isinstance(m, Tagger)"))) == [(1, "Tagger")]
    assert list(told_apart(ast.parse("if task in ('tagging', 'x'): pass"))) == [(1, "tagging")]
    assert list(told_apart(ast.parse("if type(m) is tasks.Classifier: pass"))) == [(1, "tasks.Classifier")]
    sources = [p for folder in ("keras_plm", "recipes", "export") for p in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 150
    for path in sources:
        if path.parent.parent != ROOT / "keras_plm" / "tasks":
            assert not (found := list(told_apart(ast.parse(path.read_text("utf-8"))))), (path, found)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    random = np.random.default_rng(0)
    rows = []
    for _ in range(96):
        words = random.choice(["dog", "fox", "wren", "the", "mole"], 6)
        words[place := random.integers(6)] = "cat"
        rows.append(f"{' '.join(words)}\t{place + 1}")
    path = tmp_path_factory.mktemp("position") / "rows.tsv"
    path.write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    return str(path)


def test_a_new_task_in_one_module(config, tokenizer, table, tmp_path, capsys):
    plm.save(plm.Encoder(config, tokenizer), tmp_path / "encoder")
    recipe = FindPosition(
        start_from=str(tmp_path / "encoder"), train=table, test=table, epochs=12, learning_rate=3e-3, batch_size=16,
        max_length=16, dropout=0.0, save_to=str(tmp_path / "model"), precision="float32",
    )  # fmt: skip
    model = recipe.run()
    printed = capsys.readouterr().out
    assert "keras-plm predict" in printed and "test (96 examples): " in printed
    examples = POSITION.read(table, POSITION.columns)
    scores = plm.evaluate(model, examples).scores
    assert scores["pearson"] > 0.9, scores
    assert task_of(plm.load(tmp_path / "model")) is POSITION

    phone = export.to_tflite(model, tmp_path / "phone")
    served = export.to_saved_model(model, tmp_path / "served" / "1")
    wanted = model.positions(examples.first[:5])
    for path in (phone, served):
        np.testing.assert_allclose(export.load_artifact(path).positions(examples.first[:5]), wanted, atol=1e-4)
    assert export.compare(model, phone, table).artifact_score == pytest.approx(scores["pearson"], abs=1e-3)
    given = export.Artifact(served).strings(text=examples.first[:5])
    np.testing.assert_allclose(given["position"][:, 0], wanted, atol=1e-4)

    command_line.main(["predict", "--model", str(tmp_path / "model"), examples.first[0]])
    assert capsys.readouterr().out == f"{wanted[0]:.2f}\t{examples.first[0]}\n"
    command_line.main(["evaluate", str(phone), table])
    assert "pearson" in capsys.readouterr().out
    command_line.main(["export", "tflite", str(tmp_path / "model"), str(tmp_path / "again")])
    command_line.main(["compare", str(tmp_path / "model"), str(tmp_path / "again" / "model.tflite"), "--data", table])
    assert "largest / mean error" in capsys.readouterr().out
