"""Packed and plain rows in the pre-training of an encoder: padding, real tokens per second, and the loss.

    python tests/bench/packing_speed.py DATA [--corpus sst2] [--seconds 60] [--config mini]

DATA is the folder of the data sets. `sst2`: each review is a document, masked tokens only. `pretrain_en`: books, with
next-sentence prediction. Both ways train in turns in one run; then they are compared after the same number of tokens.
"""

import argparse
import gzip
import itertools
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from dataclasses import replace

from keras_plm.config import SIZES
from keras_plm.models import copy_model
from keras_plm.recipes import Pretrain
from keras_plm.text import read_rows


def texts_of(data, corpus, folder):
    """Files with the texts of the training and held-out texts."""
    train, held_out = folder / "train.txt", folder / "dev.txt"
    if corpus == "sst2":
        for path, name in ((train, "train"), (held_out, "dev")):
            (source,) = (data / "sst2").glob(f"{name}.*")
            path.write_text("\n\n".join(read_rows(str(source), ["text"])["text"]))
    else:
        for path, name in ((train, "books.train"), (held_out, "books.dev")):
            content = gzip.decompress((data / "pretrain_en" / f"{name}.txt.gz").read_bytes()).decode()
            path.write_text(content[: 20 * 2**20])
    return str(train), str(held_out)


class Way:
    """One of the two ways to train."""

    def __init__(self, recipe, documents):
        self.recipe = recipe
        with recipe.session():
            tokenizer = recipe.new_tokenizer(documents)
            self.model = recipe.new_model(tokenizer)
            self.trained = recipe.trained(self.model)
            self.rows = recipe.rows(self.model, self.tokenized(documents))
            self.trained.compile(recipe.optimizer(100_000), recipe.loss(self.model), jit_compile=False)
        self.batches = iter(self.rows.training_dataset(recipe.batch_size, 100_000))
        self.tokens = self.seconds = self.steps = 0

    def tokenized(self, documents):
        from keras_plm.recipes.pretraining_texts import tokenized

        return tokenized(self.model, documents)

    def train(self, steps, timed):
        """Train for some steps."""
        for inputs, labels, weights in itertools.islice(self.batches, steps):
            begun = time.perf_counter()
            self.trained.train_on_batch(inputs, labels, weights)
            if timed:
                self.seconds += time.perf_counter() - begun
                self.steps += 1
                self.tokens += int((inputs["padding_mask"].numpy() > 0).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--corpus", choices=["sst2", "pretrain_en"], default="sst2")
    parser.add_argument("--config", default="mini")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    train, held_out = texts_of(options.data, options.corpus, options.folder)
    pairs = options.corpus != "sst2"
    shared = Pretrain(
        corpus=train, config=SIZES[options.config], vocabulary_size=8_000, batch_size=32, max_length=128, verbose=0,
        next_sentence=pairs, learning_rate=1e-3, warmup=0.001, save_to=str(options.folder / "m"),
    )  # fmt: skip
    documents, dev = list(shared.read(train)), list(shared.read(held_out))
    ways = {name: Way(replace(shared, pack=name == "packed"), documents) for name in ("plain", "packed")}
    packed = ways["packed"].rows.rows
    print(f"padding: plain {packed.share_of_padding(False):.1%}, packed {packed.share_of_padding():.1%}")
    for way in ways.values():
        way.train(5, timed=False)
    while min(way.seconds for way in ways.values()) < options.seconds:
        for way in ways.values():
            way.train(10, timed=True)
    speed = {name: way.tokens / way.seconds for name, way in ways.items()}
    for name, way in ways.items():
        print(
            f"{name:7} {speed[name]:8,.0f} real tokens/s, {way.steps / way.seconds:.2f} steps/s, {way.tokens:,} tokens"
        )
    print(f"packed / plain: {speed['packed'] / speed['plain']:.2f}")
    goal = max(way.tokens for way in ways.values())
    for name, way in ways.items():
        while way.tokens < goal:
            way.train(10, timed=True)
        plain = replace(way.recipe, pack=False)
        rows = plain.validation_rows(way.model, dev)
        scored = copy_model(way.model)
        scored.compile(loss=plain.loss(scored), jit_compile=False)
        found = scored.evaluate(plain.validation_batches(rows), return_dict=True, verbose=0)
        print(f"{name:7} held-out after {way.tokens:,} tokens and {way.steps:,} steps: {np.round(found['loss'], 3)}")


if __name__ == "__main__":
    main()
