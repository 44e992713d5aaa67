import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# short tests spend their time on compiling; those of what XLA compiles have the fixture `xla`, and `make test-all` all
os.environ.setdefault("KERAS_PLM_XLA", "0")

import gc  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

import keras  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

import keras_plm as plm  # noqa: E402
from keras_plm.text import learn_vocabulary, read_documents  # noqa: E402

HERE = Path(__file__).parent
settings.register_profile("keras_plm", deadline=None)  # the first call traces graphs, and the machine may be busy
settings.load_profile("keras_plm")
# graphs are millions of small objects that stay: to go through them less often takes a twelfth off the whole run
gc.set_threshold(100_000, 50, 100)
# scripts that tests start as processes of their own
collect_ignore = [
    "run_notebooks.py",
    "recipes/run_killed.py",
    "recipes/run_two_replicas.py",
    "recipes/run_under_strategy.py",
    "training/run_strategy.py",
    "training/run_loss_scale.py",
    "bench",
    "checkpoints/smollm2_peer.py",
    "checkpoints/transformers_peer.py",
    "export/clients",
    "serve/openai_client.py",
]


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture
def xla(monkeypatch):
    """XLA switched on, as users have it."""
    monkeypatch.setenv("KERAS_PLM_XLA", "1")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that want it are skipped where there is none."""
    folder = Path(os.environ.get("KERAS_PLM_DATA", HERE.parent.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set KERAS_PLM_DATA")
    return folder


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory) -> str:
    """40 documents in which each sentence says what the one before did: easy to pre-train on."""
    random = np.random.default_rng(0)
    animals = ["cat", "dog", "heron", "fox", "otter", "wren", "mole", "newt"]
    verbs = ["sees", "hears", "follows", "loses"]
    lines = []
    for _ in range(40):
        animal, other = random.choice(animals, 2, replace=False)
        for _ in range(random.integers(3, 9)):
            lines.append(f"The {animal} {random.choice(verbs)} the {other}, unafraid.")
        lines.append("")
    path = tmp_path_factory.mktemp("corpus") / "animals.txt"
    path.write_text("\n".join(lines), "utf-8")
    return str(path)


@pytest.fixture(scope="session")
def tokenizer(corpus_file) -> plm.Tokenizer:
    sentences = [s for document in read_documents(corpus_file) for s in document]
    extra = ["A quiet film with a naïve café. 中国 很 大。 0123456789 it is what you say bxjkqzp"] * 2
    return plm.WordPieceTokenizer(learn_vocabulary(sentences + extra, size=97))


@pytest.fixture(scope="session")
def config(tokenizer) -> plm.EncoderConfig:
    return replace(
        plm.TINY,
        vocabulary_size=len(tokenizer),
        num_heads=3,
        hidden_dim=33,
        intermediate_dim=53,
        max_sequence_length=47,
    )


@pytest.fixture(scope="session")
def review_files(tmp_path_factory) -> dict[str, str]:
    """Texts whose label is the animal in them."""
    folder = tmp_path_factory.mktemp("reviews")
    random = np.random.default_rng(1)
    files = {}
    for name, rows in {"train": 96, "test": 41}.items():
        lines = ["label\ttext"]
        for _ in range(rows):
            label = random.choice(["cat", "dog"])
            padding = " ".join(random.choice(["the", "sees", "hears", ","], random.integers(1, 9)))
            lines.append(f"{label}\t{padding} {label} {padding}")
        path = folder / f"{name}.tsv"
        path.write_text("\n".join(lines) + "\n", "utf-8")
        files[name] = str(path)
    return files


@pytest.fixture(scope="session")
def classifier(config, tokenizer) -> plm.Classifier:
    """A classifier with weights large enough that its answers differ from text to text."""
    keras.utils.set_random_seed(3)
    model = plm.Classifier(config, ["cat", "dog", "heron"], tokenizer)
    for variable in model.trainable_variables:
        if variable.path.endswith("kernel") or "embedding" in variable.path:
            variable.assign(variable * (2.5 if "norm" not in variable.path else 1.0))
    return model


def token_batch(config, rows=3, length=11, seed=0) -> dict[str, np.ndarray]:
    """Random inputs of a model; the last row is padded from position 7."""
    random = np.random.default_rng(seed)
    mask = np.ones((rows, length), "int32")
    mask[-1, 7:] = 0
    return {
        "token_ids": random.integers(5, config.vocabulary_size, (rows, length)).astype("int32") * mask,
        "segment_ids": (np.arange(length) > 4).astype("int32") * mask,
        "padding_mask": mask,
    }
