"""A corpus that is larger than the memory: how fast it is prepared, and what a training on it needs.

    python tests/bench/large_corpus.py CORPUS FOLDER [--gigabytes 2] [--workers 2] [--config mini]

CORPUS has .txt.gz files. Their text is repeated with other words until it has the size. Then it is prepared, trained on
for some steps, and the training is resumed. Peak memory is that of a process (VmHWM), for workers the largest.
"""

import argparse
import gzip
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

TRAIN = """
import sys, time
begun = time.monotonic()
import keras
from keras_plm.recipes import Pretrain
from keras_plm.config import SIZES

class First(keras.callbacks.Callback):
    batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == 1:
            print("FIRST", time.monotonic() - begun, flush=True)
        if self.batches == int(sys.argv[4]):
            raise SystemExit("STOPPED")

Pretrain(
    corpus=sys.argv[1], config=SIZES[sys.argv[2]], steps=int(sys.argv[5]), checkpoint_every=50, save_to=sys.argv[3],
    verbose=0, overwrite=True, callbacks=[First()],
).run()
"""


def write_corpus(sources, path, size):
    """The texts again and again; each time, other words have another ending."""
    texts = [gzip.decompress(source.read_bytes()).decode() for source in sources]
    words = sorted({word for text in texts for word in re.findall(r"\b[a-z]{5,}\b", text)})
    with path.open("w", encoding="utf-8") as file:
        for turn in range(10_000):
            draw = random.Random(turn)
            changed = {word: f"{word[:-1]}{draw.choice('aeiou')}" for word in draw.sample(words, len(words) // 3)}
            pattern = re.compile(r"\b[a-z]{5,}\b")
            for text in texts:
                file.write(pattern.sub(lambda match, changed=changed: changed.get(match[0], match[0]), text) + "\n\n")
                if file.tell() >= size:
                    return


def peak(children):
    """Megabytes of the largest process so far: this one, or a child that has ended."""
    who = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    return resource.getrusage(who).ru_maxrss / 1024


def train(corpus, config, folder, stop_after, steps):
    """Seconds until the first batch has ended, and peak memory in megabytes."""
    command = [sys.executable, "-c", TRAIN, str(corpus), config, str(folder), str(stop_after), str(steps)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    most, first = 0, None
    for line in process.stdout:
        if line.startswith("FIRST"):
            first = float(line.split()[1])
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max(most, int(status.split("VmHWM:")[1].split()[0]) // 1024)
    _, _, usage = os.wait4(process.pid, 0)
    return first, max(most, usage.ru_maxrss // 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--config", default="mini")
    parser.add_argument("--deduplicate", default="exact")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path, prepared = options.folder / "corpus.txt", options.folder / "prepared"
    if not path.exists():
        write_corpus(sorted(options.corpus.glob("*.train.txt.gz")), path, options.gigabytes * 1e9)
    if not prepared.exists():
        flags = ["--vocabulary-size", "8000", "--workers", str(options.workers), "--deduplicate", options.deduplicate]
        command = [sys.executable, "-m", "keras_plm", "prepare", "--corpus", str(path), "--save-to", str(prepared)]
        begun = time.monotonic()
        subprocess.run([*command, *flags], check=True, cwd=Path(__file__).parents[2])
        seconds = time.monotonic() - begun
        size = path.stat().st_size / 1e6
        print(f"prepared {size:,.0f} MB in {seconds:.0f} s: {size / seconds:.1f} MB/s, peak {peak(True):,.0f} MB")
    described = json.loads((prepared / "corpus.json").read_text())
    print(f"{described['tokens']:,} tokens, {described['documents']:,} documents, {len(described['shards'])} shards")
    for name in ("first", "resumed"):
        batches = 60 if name == "first" else 20
        first, memory = train(prepared, options.config, options.folder / "model", batches, 1_000)
        print(f"{name} start: {first:.1f} s to the first step, peak {memory:,} MB", flush=True)


if __name__ == "__main__":
    main()
