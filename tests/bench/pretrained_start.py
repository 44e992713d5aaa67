"""What a pre-trained start is worth: the same fine-tuning from it and from a random one; prints a Markdown table.

    python tests/bench/pretrained_start.py saved_models/mini [--sets rte trec] [--seeds 0 1] [--rates 3e-4]

The data sets are those of KERAS_PLM_DATA. Both starts get the same epochs and the same choice of learning rates: the
best on the dev file (or every tenth training row, where there is none) decides, with the first seed. Test scores are
those of that rate. Each fine-tuning runs on one core, as many at a time as there are cores.
"""

import argparse
import csv
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

DATA = Path(os.environ.get("KERAS_PLM_DATA", "../shared")) / "data"


@dataclass(frozen=True)
class DataSet:
    """Columns and settings of one data set, the same for both starts."""

    name: str
    epochs: int
    max_length: int
    text: str = "text"
    second: str | None = None
    label: str = "label"


SETS = (
    DataSet("sst2", epochs=4, max_length=64),
    DataSet("trec", epochs=6, max_length=32, label="coarse"),
    DataSet("agnews_small", epochs=4, max_length=96, text="title", second="description"),
    DataSet("rte", epochs=6, max_length=128, text="premise", second="hypothesis"),
)


def rows(path: Path) -> list[list[str]]:
    """Header and rows of a table, gzipped or not."""
    path = path if path.exists() else path.with_name(path.name + ".gz")
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def write(path: Path, header: list[str], body: list[list[str]]) -> None:
    """A table without quoting."""
    path.write_text("\n".join("\t".join(row) for row in [header, *body]) + "\n", "utf-8")


def prepare(folder: Path, data: DataSet) -> None:
    """train.tsv, dev.tsv and test.tsv in the folder; without a dev file, every tenth training row is held out."""
    folder.mkdir()
    header, *train = rows(DATA / data.name / "train.tsv")
    if any((DATA / data.name).glob("dev.tsv*")):
        dev = rows(DATA / data.name / "dev.tsv")[1:]
    else:
        dev, train = train[::10], [row for i, row in enumerate(train) if i % 10]
    write(folder / "dev.tsv", header, dev)
    write(folder / "train.tsv", header, train)
    write(folder / "test.tsv", header, rows(DATA / data.name / "test.tsv")[1:])


def fine_tune(folder: Path, data: DataSet, encoder: Path, rate: float, seed: int) -> dict[str, float]:
    """Accuracy on the dev and the test file of one fine-tuning, in a process of its own."""
    command = [sys.executable, __file__, "--case", str(encoder), str(folder), data.name, str(rate), str(seed)]
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr[-2000:])
    scores = json.loads(result.stdout.splitlines()[-1])
    print(f"  {data.name} {encoder.name} {rate:g} seed {seed}: {scores}", file=sys.stderr, flush=True)
    return scores


def case(encoder: str, folder: str, name: str, rate: str, seed: str) -> None:
    """Fine-tune once; print the accuracies."""
    from keras_plm.recipes import Classify
    from keras_plm.text import read_rows

    data = next(d for d in SETS if d.name == name)
    with tempfile.TemporaryDirectory() as save_to:
        model = Classify(
            start_from=encoder,
            train=f"{folder}/train.tsv",
            text_column=data.text,
            second_column=data.second,
            label_column=data.label,
            epochs=data.epochs,
            learning_rate=float(rate),
            max_length=data.max_length,
            seed=int(seed),
            save_to=f"{save_to}/model",
            verbose=0,
        ).run()
    columns = [data.text, data.label] if data.second is None else [data.text, data.label, data.second]
    scores = {}
    for part in ("dev", "test"):
        table = read_rows(f"{folder}/{part}.tsv", columns)
        found = model.predict_labels(table[data.text], None if data.second is None else table[data.second])
        scores[part] = sum(a == b for a, b in zip(found, table[data.label], strict=True)) / len(found)
    print(json.dumps(scores))


def random_start(encoder: Path, path: Path) -> None:
    """The same architecture and vocabulary, without the training."""
    import keras

    import keras_plm as plm

    keras.utils.set_random_seed(0)
    model = plm.load(encoder)
    plm.save(plm.Encoder(model.config, model.tokenizer), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--sets", nargs="+", default=[d.name for d in SETS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--rates", nargs="+", type=float, default=[3e-4, 1e-3])
    options = parser.parse_args()
    print("| data | start | learning rate | dev | test, each seed | mean |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        folder = Path(name)
        random_start(options.encoder, folder / "random")
        starts = {"pre-trained": options.encoder, "random": folder / "random"}
        for data in [d for d in SETS if d.name in options.sets]:
            prepare(folder / data.name, data)

            def run(settings: list, data: DataSet = data) -> dict:
                jobs = [pool.submit(fine_tune, folder / data.name, data, *setting) for setting in settings]
                return dict(zip(settings, [job.result() for job in jobs], strict=True))

            first, *other_seeds = options.seeds
            found = run([(start, rate, first) for start in starts.values() for rate in options.rates])
            best = {start: max(options.rates, key=lambda r: found[start, r, first]["dev"]) for start in starts.values()}
            found |= run([(start, best[start], seed) for start in starts.values() for seed in other_seeds])
            for label, start in starts.items():
                rate = best[start]
                dev, *tests = [100 * found[start, rate, first]["dev"]] + [
                    100 * found[start, rate, seed]["test"] for seed in options.seeds
                ]
                each = ", ".join(f"{test:.1f}" for test in tests)
                cells = (data.name, label, f"{rate:g}", f"{dev:.1f}", each, f"{statistics.mean(tests):.1f}")
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        case(*sys.argv[2:])
    else:
        main()
