"""A student of 4 × 256 of a fine-tuned MiniLM on sst2: what each stage of its training brings.

    python -m tests.bench.student FOLDER [--steps 1200] [--copies 8] [--epochs 3]

The data sets are those of KERAS_PLM_DATA, the start is the MiniLM of `make test-all`. Everything is kept in FOLDER, and
what is there already is not made again. At last the vocabulary goes down to the tokens that occur twice, for a file of
3 MB in four bits. Prints a table in Markdown; minutes are of processor time.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_plm as plm
from keras_plm import export, recipes
from keras_plm.text import LabeledTexts, read_rows
from tests.bench.task_scores import DATA, MINILM, scores

START = f"hf:{MINILM}"


def timed(name: str, folder: Path, work: Callable[[], Any]) -> None:
    """Do a stage unless it is done, and print its row."""
    begin = time.process_time()
    if not folder.exists():
        work()
    score = scores(folder / "README.md").get("accuracy")
    minutes = (time.process_time() - begin) / 60
    print(f"| {name} | {'–' if score is None else f'{score:.2f}'} | {minutes:.1f} |", flush=True)


def main() -> None:
    """Teacher, student alone, student in two stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=1200, help="of the first stage")
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=3, help="of the second stage")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    data = DATA / "sst2"
    task = {
        **{
            name: str(data / f"{split}.tsv")
            for name, split in (("train", "train"), ("validation", "dev"), ("test", "test"))
        },
        "max_length": 64,
        "pooling": "mean",
        "verbose": 2,
    }
    teacher, start, general = (folder / name for name in ("teacher", "start", "general"))
    print("| model | sst2 test | CPU minutes |\n|---|---|---|")
    timed("teacher", teacher, lambda: recipes.Classify(
        start_from=START, epochs=5, learning_rate=1e-4, layer_decay=0.9, save_to=str(teacher), **task
    ).run())  # fmt: skip
    if not start.exists():
        large = plm.load(START)
        sizes = {"num_layers": 4, "hidden_dim": 256, "num_heads": 8, "intermediate_dim": 1024}
        plm.save(plm.shrink(large, dataclasses.replace(large.config, **sizes)), start)
    timed("student alone", folder / "alone", lambda: recipes.Classify(
        start_from=str(start), epochs=5, learning_rate=2e-4, save_to=str(folder / "alone"), **task
    ).run())  # fmt: skip
    texts = folder / "sst2.txt"
    texts.write_text("\n\n".join(read_rows(task["train"], ["text"])["text"]), "utf-8")
    timed("first stage", general, lambda: recipes.Distill(
        teacher=START, hard=0.0, soft=0.0, hidden=1.0,
        recipe=recipes.Pretrain(
            start_from=str(start), corpus=(str(DATA / "pretrain_en" / "*.train.txt.gz"), str(texts)),
            steps=arguments.steps, checkpoint_every=200, max_length=64, batch_size=64, learning_rate=7e-4,
            mask_rate=0.02, verbose=2, save_to=str(general),
        ),
    ).run())  # fmt: skip
    timed("student", folder / "student", lambda: recipes.Distill(
        teacher=str(teacher), hard=0.0, soft=1.0, hidden=0.3, augmentations_per_text=arguments.copies,
        recipe=recipes.Classify(
            start_from=str(general), epochs=arguments.epochs, learning_rate=3e-4, ema_momentum=0.998,
            save_to=str(folder / "student"), **task
        ),
    ).run())  # fmt: skip
    rows = read_rows(task["train"], ["text"])["text"]
    for name in ("teacher", "student"):
        if not (folder / f"{name}_trimmed").exists():
            plm.save(plm.trim_vocabulary(plm.load(folder / name), rows, 2), folder / f"{name}_trimmed")
    timed("fewer tokens", folder / "small", lambda: recipes.Distill(
        teacher=str(folder / "teacher_trimmed"), hard=0.0, soft=1.0, hidden=0.3, augmentations_per_text=4,
        recipe=recipes.Classify(
            start_from=str(folder / "student_trimmed"), epochs=1, learning_rate=2e-4, ema_momentum=0.998,
            save_to=str(folder / "small"), **task
        ),
    ).run())  # fmt: skip
    some = rows[:: max(len(rows) // 200, 1)][:200]
    path = export.to_tflite(plm.load(folder / "small"), folder, "int4", 64, some, overwrite=True)
    found = plm.evaluate(export.load_artifact(path), LabeledTexts.read(task["test"], "text", None, "label"))
    print(f"| int4 with texts, {path.stat().st_size / 1e6:.2f} MB | {100 * found.scores['accuracy']:.2f} | – |")


if __name__ == "__main__":
    main()
