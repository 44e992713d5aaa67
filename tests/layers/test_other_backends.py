"""The layers are written with keras.ops: the same weights give the same numbers on another backend."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import sys
import keras, numpy as np
import keras_plm as plm
given = np.load(sys.argv[1])
embedding, block = plm.TokenEmbedding(17, 33, max_sequence_length=7, dropout=0.5), plm.EncoderBlock(3, 53, dropout=0.5)
ids, mask = given["ids"], given["mask"]
block(embedding(ids), padding_mask=mask)
if "weight_0" in given:
    weights = [given[f"weight_{i}"] for i in range(len(given) - 2)]
    embedding.set_weights(weights[:5]), block.set_weights(weights[5:])
output = block(embedding(ids), padding_mask=mask)
trained = block(embedding(ids, training=True), padding_mask=mask, training=True)  # dropout's hash runs there too
weights = {f"weight_{i}": w for i, w in enumerate(embedding.get_weights() + block.get_weights())}
np.savez(sys.argv[2], output=np.asarray(output), trained=np.asarray(trained), **weights)
"""


def run(backend, given, result):
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", PROGRAM, str(given), str(result)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(result)


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
@pytest.mark.slow
def test_jax_equals_tensorflow(tmp_path):
    ids = np.random.default_rng(0).integers(0, 17, (2, 5)).astype("int32")
    mask = np.array([[1] * 5, [1] * 3 + [0] * 2], "int32")
    np.savez(tmp_path / "inputs.npz", ids=ids, mask=mask)
    first = run("tensorflow", tmp_path / "inputs.npz", tmp_path / "tensorflow.npz")
    weights = {name: first[name] for name in first if name.startswith("weight")}
    np.savez(tmp_path / "weights.npz", ids=ids, mask=mask, **weights)
    second = run("jax", tmp_path / "weights.npz", tmp_path / "jax.npz")
    np.testing.assert_allclose(second["output"], first["output"], atol=1e-5)
    assert np.abs(second["trained"] - second["output"]).max() > 0.1
