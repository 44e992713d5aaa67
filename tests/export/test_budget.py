import json
from dataclasses import asdict, replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export
from keras_plm.export.budget import attempts as search_module
from keras_plm.export.budget.pareto import Attempt, Bounds, Budget
from keras_plm.export.tflite.int4_rounding import four_bits
from keras_plm.models import copy_model
from keras_plm.text import LabeledTexts, read_rows

SCHEMES = ("dynamic_int8", "int4")


@pytest.fixture
def search(reviews, review_files):
    """`fit_budget` of a small model; the names of the attempts that were made and not only remembered."""
    made = []

    def run(path, **options):
        with pytest.MonkeyPatch.context() as patch:
            real = search_module.Search._try
            patch.setattr(search_module.Search, "_try", lambda self, one: made.append(one.name) or real(self, one))
            return export.fit_budget(
                reviews, path, review_files["test"], **{"schemes": SCHEMES, "max_length": 23, "limit": 20} | options
            )

    return run, made


@pytest.mark.slow
def test_a_budget_that_can_be_met(search, review_files, reviews, tmp_path):
    run, made = search
    texts = read_rows(review_files["train"], ["text"])["text"]
    budget = run(tmp_path / "phone", max_megabytes=1.0, max_loss=6.0, texts=texts)
    names = [f"given{trim}, {scheme}" for trim in ("", ", tokens from 1", ", tokens from 2") for scheme in SCHEMES]
    assert [attempt.name for attempt in budget.attempts] == made == names
    winner, path = budget.winner, tmp_path / "phone" / "model.tflite"
    assert winner.loss <= 6 and winner.megabytes <= 1 and winner in budget.pareto
    assert path == budget.path and path.stat().st_size == winner.megabytes * 1e6
    record = json.loads((tmp_path / "phone" / "model.tflite.budget.json").read_text())
    assert record["winner"]["quantization"] == winner.quantization and len(record["attempts"]) == len(names)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "model.tflite", "model.tflite.budget.json", "model.tflite.json", "model.tflite.vocab.txt"
    ]  # fmt: skip
    labels = export.load_artifact(path).predict_labels(texts[:5])
    assert set(labels) <= {"cat", "dog"}
    assert not [attempt.problem for attempt in budget.attempts if attempt.problem]
    sizes = {attempt.name: attempt.megabytes for attempt in budget.attempts}
    assert sizes[names[1]] < sizes[names[0]] and sizes[names[2]] < sizes[names[0]]
    assert all(attempt.packed_megabytes < attempt.megabytes for attempt in budget.attempts)
    printed, table = str(budget), budget.to_markdown()
    assert f"★ {winner.name}" in printed and f"| ★ {winner.name} |" in table and "points lost" in printed
    budget.plot(tmp_path / "budget.svg")
    assert b"<svg" in (tmp_path / "budget.svg").read_bytes()
    with pytest.raises(FileExistsError, match=r"model.tflite exists; pass overwrite=True"):
        run(tmp_path / "phone", max_loss=6.0)
    export.to_tflite(reviews, tmp_path / "phone", "float16", 23, overwrite=True)
    assert not (tmp_path / "phone" / "model.tflite.budget.json").exists()  # it told of another file


@pytest.mark.slow
def test_a_killed_search_goes_on_and_a_missed_budget_says_by_how_much(search, reviews, tmp_path, monkeypatch):
    run, made = search
    real, log = export.Artifact.latency_ms, tmp_path / "model.tflite.search" / "attempts.jsonl"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def killed(self):
            if len(made) == 2:
                raise KeyboardInterrupt
            return real(self)

        patch.setattr(export.Artifact, "latency_ms", killed)
        run(tmp_path, max_megabytes=0.01)
    killed_attempt = tmp_path / "model.tflite.search" / "tmpdead"
    killed_attempt.mkdir()
    (killed_attempt / "model.tflite").write_bytes(b"half")
    with log.open("a") as file:
        file.write('{"model": "gïv')  # the kill came while it wrote
    made.clear()
    with pytest.raises(export.BudgetError, match=r"no attempt meets.*max_megabytes=0.01 fails by 0\.\d+ MB") as error:
        run(tmp_path, max_megabytes=0.01)
    # the first one is known; those of four bits are too large already, so none is tried with parts in eight
    assert made == ["given, int4"]
    assert len(error.value.budget.attempts) == 2 and "max_loss" not in str(error.value)
    assert not (tmp_path / "model.tflite").exists()
    made.clear()
    size = min(attempt.megabytes for attempt in error.value.budget.attempts)
    with pytest.raises(export.BudgetError, match="max_loss=-100 fails by"):
        run(tmp_path, max_loss=-100, max_megabytes=size * 1.001)
    # a part in eight bits is one too many for that size
    assert len(made) == 1 and made[0].startswith("given, int4+int8:") and made[0].count(",") == 1
    made.clear()
    other = {"limit": 19}
    with pytest.raises(FileExistsError, match="unfinished search for another model, other examples, other settings"):
        run(tmp_path, max_megabytes=5, **other)
    (tmp_path / "model.tflite").write_bytes(b"of somebody else")
    with pytest.raises(FileExistsError, match=r"model.tflite exists"):  # although the search began with a free path
        run(tmp_path, max_megabytes=5)
    (tmp_path / "model.tflite.search" / "chosen").touch()  # but half of our own was there when the kill came
    budget = run(tmp_path, max_megabytes=5)
    assert made == [] and budget.winner is not None and (tmp_path / "model.tflite").exists()
    assert not (tmp_path / "model.tflite.search").exists()


def measured(attempt):
    """Made-up measurements: four bits lose two points, and each part in eight bits brings half a point back."""
    parts = attempt.quantization.count(",") + 1 if "+" in attempt.quantization else 0
    megabytes, loss = {None: (3.9, 2.0), 1: (2.0, 2.1), 2: (1.9, 2.6)}[attempt.trim]
    return replace(
        attempt, megabytes=megabytes + 0.3 * parts, packed_megabytes=1.0, latency_ms=1.0, score=0.5,
        loss=loss - 0.5 * parts,
    )  # fmt: skip


@pytest.fixture
def quick_search(search, review_files, monkeypatch):
    """The same with made-up measurements; nothing is exported."""
    run, made = search

    def note(self, one):
        with (self.folder / "attempts.jsonl").open("a") as file:
            file.write(json.dumps(asdict(measured(one))) + "\n")
        return measured(one)

    monkeypatch.setattr(search_module.Search, "_try", note)
    texts = read_rows(review_files["train"], ["text"])["text"][:20]
    return lambda path, **options: run(path, **{"schemes": ["int4"], "texts": np.array(texts)} | options), made


def test_the_next_best_of_four_bits_has_its_turn_too(quick_search, tmp_path, monkeypatch):
    run, made = quick_search
    monkeypatch.setattr(search_module.Search, "make", lambda self, one, path, overwrite: path)
    budget = run(tmp_path, max_megabytes=4.0, max_loss=1.5)
    assert (budget.winner.trim, budget.winner.megabytes) == (1, pytest.approx(2.6))
    tried = [name.split("+")[0] for name in made if "+" in name]  # one part is one too many for the whole vocabulary
    assert tried == ["given, int4", "given, tokens from 1, int4", "given, tokens from 1, int4"]


def test_what_is_left_of_a_search_is_not_taken_for_another(quick_search, tmp_path, monkeypatch):
    run, made = quick_search
    with pytest.raises(export.BudgetError, match="fails by"):
        run(tmp_path, max_megabytes=0.1)
    assert len(made) == 3
    with monkeypatch.context() as patch, pytest.raises(FileExistsError, match="or by another version"):
        patch.setattr(search_module, "_version", lambda package: "99")
        run(tmp_path, max_megabytes=0.1)
    (tmp_path / "model.tflite.search" / "search.json").unlink()  # as a kill in the middle of its removal leaves it
    made.clear()

    def no_room(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(search_module, "to_tflite", no_room)
    with pytest.raises(OSError, match="no space left"):
        run(tmp_path, max_megabytes=5)
    assert len(made) == 3
    (tmp_path / "model.tflite.search" / "notes.txt").write_text("mine")
    (tmp_path / "model.tflite").write_bytes(b"of somebody else")
    with pytest.raises(FileExistsError, match=r"model.tflite exists"):
        run(tmp_path, max_megabytes=5)
    (tmp_path / "model.tflite").unlink()
    monkeypatch.setattr(search_module.Search, "make", lambda self, one, path, overwrite: path)
    run(tmp_path, max_megabytes=5)
    left = [path.name for path in (tmp_path / "model.tflite.search").iterdir()]
    assert len(made) == 3 and left == ["notes.txt"]  # of its own it leaves nothing


@pytest.mark.slow
def test_of_an_error_less_is_better(config, tokenizer, tmp_path):
    model = plm.Classifier(replace(config, hidden_dim=96, intermediate_dim=160), None, tokenizer)
    texts = [f"the cat {'sees ' * i}" for i in range(9)]
    scores = model.predict_logits(texts)[:, 0]
    rows = LabeledTexts("rows", texts, None, [str(score) for score in scores])
    budget = export.fit_budget(
        model, tmp_path, rows, max_megabytes=5, metric="rmse", schemes=["dynamic_int8", "float16"], max_length=23
    )
    exact, rounded = sorted(budget.attempts, key=lambda attempt: attempt.score)
    assert (exact.quantization, rounded.quantization) == ("float16", "dynamic_int8")
    assert budget.winner == exact and rounded.loss > exact.loss >= 0


def test_which_attempt_wins():
    def attempt(name, megabytes, latency, loss):
        return Attempt(
            model=name, trim=None, quantization="int4", megabytes=megabytes, packed_megabytes=megabytes,
            latency_ms=latency, score=0.9 - loss / 100, loss=loss,
        )  # fmt: skip

    small, good, slow = attempt("small", 1, 5, 3.0), attempt("good", 4, 6, 0.1), attempt("slow", 4, 9, 0.05)
    beaten, broken = attempt("beaten", 5, 9, 3.0), Attempt(model="broken", trim=1, quantization="int4", problem="x")
    every = [broken, beaten, slow, good, small]
    assert Bounds(max_megabytes=4).best(every) == slow
    assert Bounds(max_megabytes=4, max_latency_ms=8).best(every) == good
    assert Bounds(max_loss=1).best(every) == good  # the smaller and then the faster of those
    assert Bounds(max_loss=5).best(every) == small
    missed = Bounds(max_megabytes=3, max_loss=2)
    assert missed.best(every) is None and missed.nearest(every) == slow
    assert missed.excess(good) == {"max_megabytes": 1}
    budget = Budget("accuracy", 0.9, missed, every)
    assert [one.model for one in budget.pareto] == ["small", "slow", "good"]
    assert "refused" in str(budget)
    odd = Budget("accuracy", 0.9, missed, [attempt("models/[v2]", 1, 5, 3.0), attempt("a[/b]", 2, 5, 1.0)])
    assert "models/[v2], int4" in str(odd) and "a[/b], int4" in str(odd)
    with pytest.raises(ValueError, match=r"budget.txt: a plot cannot be a .txt"):
        budget.plot("budget.txt")
    assert "every attempt was refused, the first one with: x" in str(
        export.BudgetError(replace(budget, attempts=[broken]), None)
    )


def test_bad_input(search, reviews, classifier, tmp_path):
    run, _ = search
    several = plm.Classifier(reviews.config, reviews.labels, reviews.tokenizer, multi_label=True)
    for options, words in [
        ({"max_loss": 1, "alternatives": {"several": several}}, "alternative 'several' is for another task"),
        ({"max_loss": 1, "num_threads": 0}, "num_threads=0; it must be at least 1"),
        ({"max_loss": 1, "schemes": ["int4+int8:block_9"]}, r"the model has no \['block_9'\]"),
        ({"max_loss": 1, "texts": "the cat"}, "texts is one text or path"),
        ({"max_loss": 1, "texts": ["a", ("b", "c")]}, "texts has texts and pairs"),
        ({}, "a budget needs a bound"),
        ({"max_megabytes": 0}, "max_megabytes=0; it must be above 0"),
        ({"max_loss": 1, "metric": "bleu"}, "metric='bleu'; choose one of"),
        ({"max_loss": 1, "alternatives": {"other": classifier}}, "alternative 'other' is for another task"),
        ({"max_loss": 1, "alternatives": {"given": reviews}}, "'given' is the name of the model itself"),
        ({"max_loss": 1, "schemes": ["int8"]}, "quantization='int8'; choose one of"),
        ({"max_loss": 1, "schemes": ["static_int8"]}, "needs texts to calibrate"),
        ({"max_loss": 1, "max_length": 999}, "max_length=999; the model takes"),
    ]:
        with pytest.raises(ValueError, match=words):
            run(tmp_path / "x", **options)
        assert not (tmp_path / "x" / "model.tflite.search").exists()  # and the next call is not refused
    with pytest.raises(ValueError, match="needs examples with answers"):
        export.fit_budget(reviews, tmp_path, ["a text"], max_loss=1)
    with pytest.raises(ValueError, match="no texts to measure on"):
        export.sensitivity(reviews, [])


@pytest.mark.slow
def test_sensitivity(reviews, review_files):
    texts = read_rows(review_files["test"], ["text"])["text"]
    found = export.sensitivity(reviews, texts)
    assert sorted(found) == ["block_0", "block_1", "embedding", "head"]
    assert list(found.values()) == sorted(found.values(), reverse=True) and min(found.values()) > 0
    changed = copy_model(reviews)
    block = changed.encoder.blocks[1]
    kernel = block.feed_forward.contract.kernel
    kernel.assign(np.round(kernel) * 0.1)  # what four bits hold exactly costs nothing
    for layer in ("query", "key", "value", "output_projection"):
        kernel = getattr(block.attention, layer).kernel
        kernel.assign(np.zeros(kernel.shape))
    block.feed_forward.expand.kernel.assign(np.zeros((96, 160)))
    assert list(export.sensitivity(changed, texts))[-1] == "block_1"
    kernel = np.random.default_rng(0).normal(size=(31, 7)).astype("f")
    rounded = four_bits(kernel, "block_0/x/kernel")
    assert all(len(np.unique(column)) <= 15 for column in rounded.T) and np.abs(rounded - kernel).mean() < 0.15
