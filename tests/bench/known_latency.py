"""Latency of the shapes of the known checkpoints, for the table of `plm.choose`.

    python tests/bench/known_latency.py      (several minutes; nothing else should run)

Weights are random and the vocabulary is small: neither changes the time. TFLite, one row of 128 tokens, one thread, the
median of 30 calls; the shapes are run in turns, so that a slow minute of the machine hits all of them.
"""

import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

import keras_plm as plm  # noqa: E402
from keras_plm import export  # noqa: E402

TABLE = Path(plm.checkpoints.__file__).with_name("known.json")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FIELDS = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")


def artifact(shape: tuple[int, ...], quantization: str, folder: Path) -> export.Artifact:
    config = plm.EncoderConfig(
        vocabulary_size=1_000, max_sequence_length=128, activation="gelu", **dict(zip(FIELDS, shape, strict=True))
    )
    tokenizer = plm.WordPieceTokenizer([*SPECIAL, *(f"word{i}" for i in range(995))])
    model = plm.Classifier(config, ["a", "b"], tokenizer)
    name = f"{'x'.join(map(str, shape))}_{quantization}"
    return export.Artifact(export.to_tflite(model, folder / f"{name}.tflite", quantization), num_threads=1)


def main() -> None:
    table = json.loads(TABLE.read_text("utf-8"))
    shapes = sorted({tuple(entry[field] for field in FIELDS) for entry in table["checkpoints"]})
    row = {name: np.ones((1, 128), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}
    row["segment_ids"] *= 0
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {(s, q): artifact(s, q, Path(folder)) for s in shapes for q in ("float32", "dynamic_int8")}
        times: dict = {key: [] for key in artifacts}
        for _ in range(3):
            for key, opened in artifacts.items():
                opened(row)
                for _ in range(10):
                    start = time.perf_counter()
                    opened(row)
                    times[key].append(1e3 * (time.perf_counter() - start))
    found = {key: round(float(np.median(values)), 1) for key, values in times.items()}
    for entry in table["checkpoints"]:
        shape = tuple(entry[field] for field in FIELDS)
        entry["latency_ms"] = {q: found[shape, q] for q in ("float32", "dynamic_int8")}
    TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for (shape, quantization), value in found.items():
        print(shape, quantization, value)


if __name__ == "__main__":
    main()
