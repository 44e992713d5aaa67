from dataclasses import replace

import numpy as np
import pytest

import keras_plm as plm
from conftest import token_batch
from keras_plm import export
from keras_plm.compression import factorize_embedding
from keras_plm.models import named_weights


def test_it_is_the_nearest_product(config):
    model = plm.Encoder(config)
    table = named_weights(model)["embedding/tokens"].numpy()
    weights = named_weights(factorize_embedding(model, 7))
    product = weights["embedding/tokens"].numpy() @ weights["embedding/widen"].numpy()
    sizes = np.linalg.svd(table, compute_uv=False)
    assert np.square(product - table).sum() == pytest.approx(np.square(sizes[7:]).sum(), rel=1e-3)


def test_a_table_of_low_rank_loses_nothing(config, tokenizer, tmp_path):
    model = plm.Classifier(config, ["a", "b"], tokenizer)
    random = np.random.default_rng(0)
    table = random.normal(size=(config.vocabulary_size, 5)) @ random.normal(size=(5, config.hidden_dim))
    named_weights(model)["embedding/tokens"].assign(table)
    small = factorize_embedding(model, 5)
    batch = token_batch(config)
    np.testing.assert_allclose(small(batch), model(batch), atol=1e-4)
    plm.save(small, tmp_path / "small")
    np.testing.assert_allclose(plm.load(tmp_path / "small")(batch), small(batch), atol=1e-6)
    assert small.count_params() == model.count_params() - 33 * 97 + 5 * (33 + 97)
    path = export.to_tflite(small, tmp_path, max_length=11)
    np.testing.assert_allclose(
        export.Artifact(path)(batch), export.verify.expected(small, batch)["probabilities"], atol=1e-5
    )


@pytest.mark.slow
def test_both_parts_learn(config):
    small = factorize_embedding(plm.Classifier(config, None), 6)
    before = {path: weight.numpy() for path, weight in named_weights(small).items()}
    small.compile("adam", "mse")
    small.fit(token_batch(config), np.ones((3, 1), "float32"), epochs=2, verbose=0)
    for path in ("embedding/tokens", "embedding/widen"):
        assert np.abs(named_weights(small)[path].numpy() - before[path]).max() > 1e-4


def test_errors(config, tmp_path):
    for rank in (0, 33, 40):
        with pytest.raises(ValueError, match=f"embedding_rank={rank}; it must be at least 1 and below the width 33"):
            factorize_embedding(plm.Encoder(config), rank)
    with pytest.raises(ValueError, match="rank=23 is more than the 19 tokens"):
        factorize_embedding(plm.Encoder(replace(config, vocabulary_size=19)), 23)
    with pytest.raises(ValueError, match="already factorized, with rank 5"):
        factorize_embedding(factorize_embedding(plm.Encoder(config), 5), 3)
    with pytest.raises(ValueError, match="embedding_rank=5: the masked-token head needs the whole embedding matrix"):
        plm.Pretrainer(replace(config, embedding_rank=5))
