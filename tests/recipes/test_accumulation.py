"""Four batches of two rows train as one batch of eight."""

import json
from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.recipes import FineTuneCausal, Pretrain, PretrainCausal, PretrainDenoising
from tests.tasks.test_text_generation import make

SIZES = {"num_layers": 1, "hidden_dim": 16, "intermediate_dim": 24, "num_heads": 2, "max_sequence_length": 64}
NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}
KINDS = {
    "encoder": (Pretrain, replace(plm.TINY, **SIZES, **NO_DROPOUT), {}),
    "packed": (Pretrain, replace(plm.TINY, **SIZES, **NO_DROPOUT), {"pack": True, "max_length": 64}),
    "decoder": (PretrainCausal, replace(plm.GPT_MINI, **SIZES, **NO_DROPOUT), {}),
    "encoder-decoder": (PretrainDenoising, replace(plm.TRANSFORMER_TINY, **SIZES, **NO_DROPOUT), {}),
}


def assert_equal(first, second):
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)  # sums in another order, amplified by the first steps of AdamW


@pytest.mark.parametrize("kind", KINDS)
def test_pre_training(kind, corpus_file, tmp_path):
    recipe, config, more = KINDS[kind]
    shared = {
        "corpus": corpus_file, "config": config, "vocabulary_size": 300, "learning_rate": 1e-3, "precision": "float32",
        "verbose": 0, "max_length": 32, "clip_norm": 0.1,
    }  # fmt: skip
    large = recipe(**shared | more, batch_size=8, steps=4, checkpoint_every=2, save_to=str(tmp_path / "large")).run()
    small = recipe(
        **shared | more, batch_size=2, steps=14, checkpoint_every=7, gradient_accumulation_steps=4,
        save_to=str(tmp_path / "small"),
    ).run()  # fmt: skip  # 7 batches are rounded up to 8
    assert_equal(small, large)
    apart = recipe(**shared | more, batch_size=2, steps=16, save_to=str(tmp_path / "apart")).run()
    assert max(np.abs(a - b).max() for a, b in zip(apart.get_weights(), large.get_weights(), strict=True)) > 1e-4


def test_completions(tmp_path):
    plm.save(make("llama"), tmp_path / "start")
    draw = np.random.default_rng(0)
    rows = [{"prompt": "red", "completion": " blue" * int(draw.integers(1, 9))} for _ in range(64)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def train(name, **options):
        return FineTuneCausal(
            start_from=str(tmp_path / "start"), train=str(tmp_path / "train.jsonl"), max_length=24, dropout=0.0,
            learning_rate=1e-3, precision="float32", verbose=0, save_to=str(tmp_path / name), epochs=2, **options,
        ).run()  # fmt: skip

    packed = plm.tasks.TEXT_GENERATION.rows(
        plm.load(tmp_path / "start"), plm.tasks.TEXT_GENERATION.read(rows, plm.tasks.TEXT_GENERATION.columns), 24
    )
    large, small = train("large", batch_size=8), train("small", batch_size=2, gradient_accumulation_steps=4)
    if packed.num_steps(2) % 4 == 0:
        assert_equal(small, large)
    else:
        pytest.fail(f"{packed.num_steps(2)} batches are no whole steps: change the data")
