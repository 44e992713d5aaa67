"""Peak memory and time of a training step with and without rematerialization, each in a process of its own, in turns.

python tests/bench/rematerialization.py [--config base] [--batch-size 8] [--max-length 512] [--rounds 2]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
STEPS = 4


def peak() -> int:
    """Megabytes of memory that this process has had at most."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def one(config: str, rows: int, length: int, again: bool) -> dict[str, float]:
    """Seconds of a step of masked-token and next-sentence training, and megabytes."""
    import keras

    import keras_plm as plm
    from keras_plm.layers import rematerialize
    from keras_plm.training import AdamW, CrossEntropy
    from tests.bench.pretraining_step import data

    keras.config.set_dtype_policy("mixed_bfloat16")
    model = plm.Pretrainer(plm.SIZES[config])
    rematerialize(model, again)
    losses = {"masked_tokens": CrossEntropy(), "next_sentence": CrossEntropy()}
    model.compile(AdamW(1e-4), losses, jit_compile=False)
    drawn = data(rows, length)
    inputs = {name: drawn[name] for name in ("token_ids", "segment_ids", "padding_mask", "mask_positions")}
    labels = {"masked_tokens": drawn["labels"], "next_sentence": drawn["next_sentence"]}
    before = peak()
    model.train_on_batch(inputs, labels)
    seconds = []
    for _ in range(STEPS):
        begun = time.perf_counter()
        model.train_on_batch(inputs, labels)
        seconds.append(time.perf_counter() - begun)
    return {"seconds": statistics.median(seconds), "peak_mb": peak(), "before_mb": before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="base")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--one", choices=("plain", "again"), help="measure one of the two in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.config, options.batch_size, options.max_length, options.one == "again")))
        return
    sizes = ["--config", options.config, "--batch-size", str(options.batch_size)]
    command = [sys.executable, __file__, *sizes, "--max-length", str(options.max_length), "--one"]
    found: dict[str, list[dict[str, float]]] = {"plain": [], "again": []}
    for _ in range(options.rounds):
        for name, results in found.items():
            environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
            done = subprocess.run([*command, name], capture_output=True, text=True, check=True, env=environment)
            results.append(json.loads(done.stdout.splitlines()[-1]))
            print(name, results[-1], flush=True)
    middle = {n: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for n, rs in found.items()}
    time_ratio = middle["again"]["seconds"] / middle["plain"]["seconds"]
    step = {name: values["peak_mb"] - values["before_mb"] for name, values in middle.items()}
    print(f"time {time_ratio:.2f} ×; peak {middle['plain']['peak_mb']:,.0f} → {middle['again']['peak_mb']:,.0f} MB; "
          f"of the training itself {step['plain']:,.0f} → {step['again']:,.0f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
