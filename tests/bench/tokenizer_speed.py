"""One contestant: documents of 128 words per second on one core, uncased BERT WordPiece; prints JSON.

python tokenizer_speed.py keras_plm|keras_hub|tokenizers
"""

import json
import os
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {0})  # one core for all

import numpy as np  # noqa: E402

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def documents() -> tuple[list[str], list[str]]:
    """2,000 documents whose words are as frequent as in real text, and a vocabulary of about 8,000 tokens."""
    random = np.random.default_rng(0)
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = ["".join(random.choice(letters, random.integers(2, 10))) for _ in range(8_000)]
    weights = 1 / np.arange(1, len(words) + 1)
    drawn = random.choice(words, (2_000, 128), p=weights / weights.sum())
    pieces = [*SPECIAL, *letters, *(f"##{c}" for c in letters), *words[:5_000], *(f"##{w[:3]}" for w in words[:4_000])]
    return [" ".join(row) for row in drawn], list(dict.fromkeys(pieces))


def tf_data(texts: list[str], tokenize):
    """One pass in batches of 64, as a training pipeline would."""
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(64).map(tokenize)

    def run():
        for _ in dataset:
            pass

    return run


def main() -> None:
    texts, pieces = documents()
    name = sys.argv[1]
    if name == "keras_plm":
        import keras_plm as plm

        run = tf_data(texts, plm.WordPieceTokenizer(pieces))
    elif name == "keras_hub":
        import keras_hub

        run = tf_data(texts, keras_hub.models.BertTokenizer(vocabulary=pieces, lowercase=True))
    else:
        from tokenizers import BertWordPieceTokenizer

        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("\n".join(pieces))
            file.flush()
            tokenizer = BertWordPieceTokenizer(file.name, lowercase=True)

        def run():
            tokenizer.encode_batch(texts)

    run()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"documents_per_second": round(len(texts) / sorted(seconds)[2])}))


if __name__ == "__main__":
    main()
