from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from keras_plm import export
from keras_plm.compression.activation_capture import text_rows
from keras_plm.export.signature import example_rows
from keras_plm.export.tflite.activation_ranges import with_ranges
from keras_plm.models import copy_model, encoder_states, weight_arrays
from tests.tflite_operators import operands

from .conftest import LENGTH, TEXTS


def test_ranges_are_those_of_the_tokens(classifier):
    """Of batches of 16, the shortest texts first, without padding."""
    rows = example_rows(classifier, TEXTS * 3, LENGTH)
    found = weight_arrays(with_ranges(copy_model(classifier), text_rows(classifier, TEXTS * 3, LENGTH)))
    rows = sorted(rows, key=lambda row: int(row["padding_mask"].sum()))
    wanted = []
    for some in (rows[:16], rows[16:]):
        batch = {name: np.concatenate([row[name] for row in some]) for name in some[0]}
        states = np.asarray(encoder_states(classifier.encoder, batch)["hidden"][0])[batch["padding_mask"] == 1]
        wanted.append([states.min(), states.max()])
    for name in ("query", "key", "value"):
        np.testing.assert_allclose(
            found[f"block_1/attention/{name}/round_input/range"], np.mean(wanted, axis=0), rtol=1e-5
        )
    there = weight_arrays(classifier)
    assert all((found[path] == weight).all() for path, weight in there.items())
    assert len(found) - len(there) == 2 * 6 * classifier.config.num_layers


@pytest.mark.parametrize(
    "fields", [{}, {"shared_layers": True}, {"adapter_dim": 5}, {"embedding_dim": 7}, {"normalize_first": True}]
)
def test_every_range_is_found_and_little_changes(config, tokenizer, fields):
    fields = dict(fields)
    adaptation = plm.Adaptation(adapter_dim=fields.pop("adapter_dim", 0))
    config = replace(config, **fields)
    model = plm.Tagger(config, ["A", "B", "C"], tokenizer, plm.Encoder(config, tokenizer, adaptation))
    rows = example_rows(model, TEXTS, LENGTH)
    twin = with_ranges(model, text_rows(model, TEXTS, LENGTH))
    assert twin.config == config and twin.adaptation == replace(adaptation, quantization_aware=True)
    ranges = {path: weight for path, weight in weight_arrays(twin).items() if path.endswith("/range")}
    assert ranges and all(low <= 0 <= high and high - low > 1e-3 for low, high in ranges.values())
    batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    wanted, found = (np.asarray(one(batch)) for one in (model, twin))
    tokens = batch["padding_mask"] == 1
    error = np.abs(found - wanted)[tokens].max()
    assert 0 < error < 0.05 * np.abs(wanted)[tokens].max(), error


def test_artifact_computes_in_integers_and_answers_the_same(reviews, review_files, tmp_path):
    texts = plm.text.read_rows(review_files["train"], ["text"])["text"][:50]
    path = export.to_tflite(reviews, tmp_path, "static_int8", LENGTH, calibration=texts)
    found = export.compare(reviews, path, review_files["test"])
    assert found.keras_score > 0.9 and found.agreement > 0.98
    products = operands(path, "FULLY_CONNECTED")
    assert sum(kinds[:2] == ("int8", "int8") for kinds in products) == 6 * reviews.config.num_layers, products


@pytest.mark.slow
def test_a_published_model_keeps_its_meaning(minilm_classifier, review_files, tmp_path):
    """It has outputs 200 times as large as the others, and kernels with weights of 175 times the root mean square."""
    encoder = minilm_classifier.encoder
    model = plm.Embedder(encoder.config, encoder.tokenizer, encoder=encoder)
    texts = plm.text.read_rows(review_files["train"], ["text"])["text"][:50]
    path = export.to_tflite(model, tmp_path, "static_int8", LENGTH, calibration=texts + TEXTS)
    short = [TEXTS[0], TEXTS[2], *TEXTS[4:]]  # than LENGTH
    wanted, found = (np.asarray(one.embed(short)) for one in (model, export.load_artifact(path)))
    cosines = (wanted * found).sum(-1) / np.linalg.norm(wanted, axis=-1) / np.linalg.norm(found, axis=-1)
    assert cosines.min() > 0.97, cosines
