"""What packing saves: the same short texts in packed rows, and one text per row, padded to the longest of its batch.

    python tests/bench/packing.py TEXT_FILE        (a text per line)

Both trainings see every target once, in batches of about as many targets, with the same decoder and seed. Prints the
time per target, its ratio, and the mean loss of each over the last quarter of the training.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

import keras_plm as plm
from keras_plm.text import PackedTexts, learn_byte_pairs
from keras_plm.training import AdamW, CrossEntropy, LinearWarmupDecay

LENGTH, ROWS, TEXTS, SEED = 128, 8, 3_000, 0
SIZES = replace(plm.GPT_MINI, vocabulary_size=2_048, num_layers=4, hidden_dim=256, num_heads=4, intermediate_dim=1_024)


def padded_batches(texts: list[list[int]], targets_per_batch: float) -> list[tuple]:
    """One text per row, in random order."""
    order = np.random.default_rng(SEED).permutation(len(texts)).tolist()
    mean = np.mean([len(text) - 1 for text in texts])
    size = max(1, round(targets_per_batch / mean))
    batches = []
    for start in range(0, len(order), size):
        rows = [texts[i][: LENGTH + 1] for i in order[start : start + size]]
        width = max(map(len, rows)) - 1
        ids, targets = np.zeros((len(rows), width), "int32"), np.zeros((len(rows), width), "int32")
        mask = np.zeros((len(rows), width), "int32")
        for i, row in enumerate(rows):
            n = len(row) - 1
            ids[i, :n], targets[i, :n], mask[i, :n] = row[:-1], row[1:], 1
        weights = mask * (mask.size / mask.sum())
        batches.append(({"token_ids": ids, "padding_mask": mask}, targets, weights.astype("float32")))
    return batches


def train(batches: list[tuple], tokenizer: plm.Tokenizer) -> tuple[float, float]:
    """Seconds of all steps after compilation, and the mean loss of the last quarter."""
    keras.utils.set_random_seed(SEED)
    model = plm.TextGenerator(replace(SIZES, vocabulary_size=len(tokenizer)), tokenizer)
    model.compile(AdamW(LinearWarmupDecay(1e-3, len(batches) // 10, len(batches))), CrossEntropy(), jit_compile=False)
    model.train_on_batch(*batches[0])  # compiles
    start, losses = time.perf_counter(), []
    for inputs, targets, weights in batches:
        losses.append(float(model.train_on_batch(inputs, targets, sample_weight=weights)))
        model.reset_metrics()
    return time.perf_counter() - start, float(np.mean(losses[-len(losses) // 4 :]))


def main() -> None:
    lines = [line.strip() for line in Path(sys.argv[1]).read_text("utf-8").splitlines() if line.strip()][:TEXTS]
    tokenizer = learn_byte_pairs(lines, SIZES.vocabulary_size)
    model = plm.TextGenerator(replace(SIZES, vocabulary_size=len(tokenizer)), tokenizer)
    texts = model.texts_to_ids(lines, ends=True)
    packed = PackedTexts([text[: LENGTH + 1] for text in texts], LENGTH)
    steps = packed.num_steps(ROWS)
    in_rows = [(x, np.asarray(y), np.asarray(w)) for x, y, w in packed.training_dataset(ROWS, steps, seed=SEED)]
    in_rows = [({name: np.asarray(value) for name, value in x.items()}, y, w) for x, y, w in in_rows]
    alone = padded_batches(texts, packed.num_targets / steps)
    (fast, loss), (slow, other) = train(in_rows, tokenizer), train(alone, tokenizer)
    print(f"{len(lines):,} texts of {np.mean([len(t) for t in texts]):.1f} tokens, {packed.num_targets:,} targets")
    print(f"packed: {steps} steps, {1e6 * fast / packed.num_targets:.1f} µs a target, loss {loss:.3f}")
    print(f"padded: {len(alone)} steps, {1e6 * slow / packed.num_targets:.1f} µs a target, loss {other:.3f}")
    print(f"packing saves {1 - fast / slow:.0%} of the time")


if __name__ == "__main__":
    main()
