from dataclasses import replace

import pytest

import keras_plm as plm
from keras_plm.recipes import Pretrain


@pytest.fixture(scope="session")
def encoder(corpus_file, tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("encoder") / "model")
    # one block: most of the time of these tests goes into tracing, a third of it for each block
    sizes = replace(
        plm.TINY, vocabulary_size=97, num_layers=1, hidden_dim=32, intermediate_dim=48, max_sequence_length=64
    )
    Pretrain(
        corpus=corpus_file, config=sizes, steps=2, checkpoint_every=2, max_length=32, save_to=folder, verbose=0
    ).run()
    return folder


@pytest.fixture(scope="session")
def settings(encoder):
    return {
        "start_from": encoder, "batch_size": 8, "max_length": 24, "learning_rate": 3e-3, "dropout": 0.0, "verbose": 0,
        "precision": "float32",
    }  # fmt: skip
