"""Every scheme and compression of a fine-tuned MiniLM: bytes, bytes under gzip, and scores in LiteRT.

    python -m tests.bench.phone_table sst2 MODEL FOLDER [--trim] [--limit 400]
    python -m tests.bench.phone_table sst2 STUDENT FOLDER --teacher MODEL --copies 4 --epochs 1

MODEL is what `task_scores.py --keep` made, STUDENT what `student.py` did. The trainings that make zeros, few values and
int8 cheap start from it and learn from it, or with `--copies` from the teacher's labels of altered copies alone; they
are kept in FOLDER. What is there already is not made again, nor is a row: take another FOLDER for other code.
Calibrated, and pruned at once, on 400 training rows, evenly taken. A table in Markdown grows; points are lost against
MODEL in Keras.
"""

import argparse
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_plm as plm  # noqa: E402
from keras_plm import export, recipes  # noqa: E402
from keras_plm.export.evaluation_data import read_data  # noqa: E402
from keras_plm.export.tflite.schemes import parts_of  # noqa: E402
from keras_plm.tasks import Columns
from keras_plm.text import Examples  # noqa: E402
from tests.bench.task_scores import DATA, SETS  # noqa: E402

AT_ONCE: dict[str, Callable[[Any, list], Any]] = {  # with texts, without training
    "2:4 at once": lambda model, texts: plm.prune(model, "2:4", texts),
    **dict.fromkeys(  # the first of zeros at once, the second of trained ones
        ("2:4, 16 values at once", "2:4, then 16 values at once"),
        lambda model, texts: plm.cluster(model, 16, texts),
    ),
}
# What copies its teacher needs no dropout: docs/log, "Without dropout"
HEALED = {"dropout": 0.0, "ema_momentum": 0.99}
TRAINED: dict[str, dict[str, Any]] = {
    "2:4": {"prune": "2:4", "learning_rate": 1.5e-4, **HEALED},
    "2:4, 16 values": {"clusters": 16, "learning_rate": 5e-5, **HEALED},
    "roundings": {"quantization_aware": True, "learning_rate": 5e-5},
}
STARTS = {
    "2:4": "2:4 at once", "2:4, 16 values at once": "2:4 at once", "2:4, then 16 values at once": "2:4",
    "2:4, 16 values": "2:4, then 16 values at once",
}  # fmt: skip
EPOCHS = {"sst2": 2, "wikigold": 6, "squad1": 1}
CALIBRATION = 400
TABLE_ALONE = "dynamic_int8, table int4"
# With texts four bits compensate for their roundings, and static int8 finds its ranges.
SCHEMES = {
    "given": [
        ("float16", False), ("dynamic_int8", False), ("int4", False), ("int4", True), ("int4_block32", False),
        ("int4_block32", True), ("static_int8", True), (TABLE_ALONE, False),
    ],
    "2:4 at once": [("dynamic_int8", False), (TABLE_ALONE, False)],
    "2:4": [("dynamic_int8", False), (TABLE_ALONE, False), ("int4", True), ("int4_block32", True)],
    "2:4, 16 values at once": [("dynamic_int8", False), (TABLE_ALONE, False)],
    "2:4, then 16 values at once": [("dynamic_int8", False), (TABLE_ALONE, False)],
    "2:4, 16 values": [("dynamic_int8", False), (TABLE_ALONE, False)],
    "roundings": [("static_int8", False)],
}  # fmt: skip


def train(stage: str, start: Path, save_to: Path, arguments: argparse.Namespace) -> None:
    """One compression, from a model that can do the task already."""
    data, task = DATA / arguments.set, SETS[arguments.set]
    files = {split: str(next(data.glob(f"{split}.*"))) for split in ("train", "test")}
    fields = {key: value for key, value in task.settings.items() if key in ("max_length", "pooling", "crf")}
    fields |= TRAINED[stage] | {"epochs": arguments.epochs or EPOCHS[arguments.set]}
    if stage == "2:4":  # those after it begin with its table
        fields["embedding_rank"] = arguments.embedding_rank
    for name in ("learning_rate", "ema_momentum"):
        if (value := getattr(arguments, name)) is not None:
            fields[name] = value
    recipe = getattr(recipes, task.recipe)(start_from=str(start), save_to=str(save_to), verbose=2, **files, **fields)
    losses: dict[str, Any] = {"hard": 0.0, "soft": 1.0, "hidden": 1.0}
    if arguments.copies:
        losses = {"hard": 0.0, "soft": 1.0, "augmentations_per_text": arguments.copies}
    elif stage == "roundings":  # measured with half of the loss its labels'
        losses = {"hard": 0.5, "soft": 0.5}
    recipes.Distill(teacher=str(arguments.teacher or arguments.model), recipe=recipe, **losses).run()


def weights_of(folder: Path) -> str:
    """What tells the weights of a model from those of another."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def attempts(stages: list[str], trimmed: bool) -> Iterator[tuple[str, str, bool, bool]]:
    """The rows of the table: model, scheme, whether texts are given, whether the vocabulary is trimmed."""
    if "given" not in stages:
        yield "given", "dynamic_int8", False, False
    for trim in (False, True) if trimmed else (False,):
        for model in stages:
            for scheme, with_texts in SCHEMES[model]:
                yield model, scheme, with_texts, trim


def attempt(model: Any, scheme: str, texts: list | None, test: Examples, score: str) -> dict[str, float | str]:
    """One artifact."""
    if scheme == TABLE_ALONE:
        scheme = f"int4+int8:{','.join(part for part in parts_of(model.config) if part != 'embedding')}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            artifact = export.Artifact(export.to_tflite(model, folder, scheme, calibration=texts), num_threads=2)
        except export.ExportError as error:
            return {"problem": str(error).replace(folder, "")}
        found = plm.evaluate(export.load_artifact(artifact), test).scores[score]
        packed = len(gzip.compress(artifact.path.read_bytes(), 9, mtime=0))
        return {"megabytes": artifact.size_bytes / 1e6, "packed": packed / 1e6, "score": 100 * found}


def main() -> None:
    """Train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=EPOCHS)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trim", action="store_true", help="the vocabulary too, to the tokens of the training texts")
    parser.add_argument("--stages", nargs="*", choices=SCHEMES, default=list(SCHEMES), help="all by default")
    parser.add_argument("--epochs", type=int, help="of each training; by default that of the set")
    parser.add_argument("--learning-rate", type=float, help="of each training; by default its own")
    parser.add_argument("--ema-momentum", type=float, help="of the weights, in each training")
    parser.add_argument(
        "--embedding-rank", type=int, help="with the zeros of the training the table becomes a product too"
    )
    parser.add_argument("--teacher", type=Path, help="of the trainings; MODEL by default")
    parser.add_argument("--copies", type=int, default=0, help="altered copies of each text, for the teacher to label")
    parser.add_argument("--limit", type=int, help="test rows")
    arguments = parser.parse_args()
    name, folder, given = arguments.set, arguments.folder, arguments.model
    models: dict[str, Any] = {"given": plm.load(given)}
    columns = Columns("text", None, "label")
    _, test = read_data(models["given"], next((DATA / name).glob("test.*")), columns, arguments.limit)
    texts, _ = read_data(models["given"], next((DATA / name).glob("train.*")), columns, None)
    assert test is not None
    some = texts[:: max(len(texts) // CALIBRATION, 1)][:CALIBRATION]

    def made(stage: str) -> Path:
        if stage == "given":
            return given
        start, path = made(STARTS.get(stage, "given")), folder / stage
        if not path.exists() and stage in AT_ONCE:
            plm.save(AT_ONCE[stage](plm.load(start), some), path)
        elif not path.exists():
            train(stage, start, path, arguments)
        return path

    models |= {stage: plm.load(made(stage)) for stage in arguments.stages}
    pieces = [part for text in texts for part in ([text] if isinstance(text, str) else text)]
    score = SETS[name].score
    scores = {stage: 100 * plm.evaluate(model, test).scores[score] for stage, model in models.items()}
    print("in Keras:", ", ".join(f"{stage} {value:.2f}" for stage, value in scores.items()))
    print("| model | scheme | MB | gzipped | of dense int8 gzipped | test | points lost |\n|" + "---|" * 7, flush=True)
    record = folder / f"rows{arguments.limit or ''}.jsonl"
    lines = record.read_text("utf-8").splitlines() if record.exists() else []
    known = {tuple(key): value for key, value in map(json.loads, lines)}
    marks = {stage: weights_of(given if stage == "given" else folder / stage) for stage in models}
    dense = None
    for stage, scheme, with_texts, trim in attempts(arguments.stages, arguments.trim):
        key = stage, scheme, with_texts, trim, marks[stage]
        if key not in known:
            model = plm.trim_vocabulary(models[stage], pieces) if trim else models[stage]
            known[key] = attempt(model, scheme, some if with_texts else None, test, score)
            with record.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, known[key]]) + "\n")
        found = known[key]
        label = f"| {stage}{', trimmed' if trim else ''} | {scheme}{', texts' if with_texts else ''} | "
        if "problem" in found:
            print(f"{label}refused: {found['problem']} |", flush=True)
            continue
        if key[:4] == ("given", "dynamic_int8", False, False):
            dense = found["packed"]
        share = f"{found['packed'] / dense:.2f}×" if dense else ""
        cells = [f"{found['megabytes']:.2f}", f"{found['packed']:.2f}", share, f"{found['score']:.2f}"]
        print(label + " | ".join([*cells, f"{scores['given'] - found['score']:.2f}"]) + " |", flush=True)


if __name__ == "__main__":
    main()
