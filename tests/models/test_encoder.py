from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_plm as plm
from conftest import token_batch
from keras_plm.models import encoder_like, encoder_states

ROUNDING = plm.Adaptation(quantization_aware=True)


def keras_hub_twin(encoder, config):
    """A keras-hub BertBackbone of the same sizes and with the same weights."""
    import keras_hub

    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=config.vocabulary_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        hidden_dim=config.hidden_dim,
        intermediate_dim=config.intermediate_dim,
        max_sequence_length=config.max_sequence_length,
    )
    own = {v.path: np.asarray(v) for v in encoder.weights}
    table = {
        "token_embedding/embeddings": "embedding/tokens",
        "position_embedding/embeddings": "embedding/positions",
        "segment_embedding/embeddings": "embedding/segments",
        "embeddings_layer_norm/gamma": "embedding/norm/gamma",
        "embeddings_layer_norm/beta": "embedding/norm/beta",
        "pooled_dense/kernel": "pooler/kernel",
        "pooled_dense/bias": "pooler/bias",
    }
    inside = {
        **{
            f"self_attention_layer/{theirs}/{kind}": f"attention/{ours}/{kind}"
            for theirs, ours in (
                ("query", "query"),
                ("key", "key"),
                ("value", "value"),
                ("attention_output", "output"),
            )
            for kind in ("kernel", "bias")
        },
        "self_attention_layer_norm/gamma": "attention_norm/gamma",
        "self_attention_layer_norm/beta": "attention_norm/beta",
        "feedforward_intermediate_dense/kernel": "feed_forward/expand/kernel",
        "feedforward_intermediate_dense/bias": "feed_forward/expand_bias",
        "feedforward_output_dense/kernel": "feed_forward/contract/kernel",
        "feedforward_output_dense/bias": "feed_forward/contract/bias",
        "feedforward_layer_norm/gamma": "feed_forward_norm/gamma",
        "feedforward_layer_norm/beta": "feed_forward_norm/beta",
    }
    for i in range(config.num_layers):
        table |= {f"transformer_layer_{i}/{a}": f"block_{i}/{b}" for a, b in inside.items()}
    used = set()
    for variable in backbone.weights:
        path = next(ours for theirs, ours in table.items() if variable.path.endswith(theirs))
        variable.assign(own[path].reshape(variable.shape))
        used.add(path)
    assert used == set(own)
    return backbone


@pytest.mark.parametrize("heads,width", [(3, 33), (4, 256)])
def test_equals_keras_hub_with_copied_weights(config, heads, width):
    config = replace(config, num_heads=heads, hidden_dim=width, intermediate_dim=2 * width)
    encoder = plm.Encoder(config)
    for variable in encoder.trainable_variables:  # biases and norms too, so that none is forgotten
        noise = np.random.default_rng(len(variable.path)).normal(size=variable.shape)
        variable.assign_add(0.05 * noise)
    backbone = keras_hub_twin(encoder, config)
    batch = token_batch(config)
    ours, theirs = encoder(batch), backbone(batch)
    np.testing.assert_allclose(ours["sequence_output"], theirs["sequence_output"], atol=1e-5)
    np.testing.assert_allclose(ours["pooled_output"], theirs["pooled_output"], atol=1e-5)


@pytest.mark.parametrize("change", [{}, {"normalize_first": True}, {"positions": "sinusoidal"}, {"activation": "gelu"}])
def test_padding_changes_nothing(config, change):
    encoder = plm.Encoder(replace(config, **change))
    batch = token_batch(config)
    alone = {name: value[-1:, :7] for name, value in batch.items()}
    np.testing.assert_allclose(encoder(batch)["sequence_output"][-1:, :7], encoder(alone)["sequence_output"], atol=1e-5)


@pytest.mark.parametrize("rounded", [False, True])
def test_the_first_token_alone_costs_less_than_all(config, rounded):
    """Of the last block's way for all tokens nothing is computed where only `pooled_output` is read."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.profiler import model_analyzer, option_builder

    encoder = plm.Encoder(config, adaptation=plm.Adaptation(quantization_aware=rounded))
    batch = {name: tf.constant(value) for name, value in token_batch(config).items()}

    def operations(output):
        frozen = convert_variables_to_constants_v2(
            tf.function(lambda: encoder(batch)[output], autograph=False).get_concrete_function()
        )
        options = option_builder.ProfileOptionBuilder(option_builder.ProfileOptionBuilder.float_operation())
        return model_analyzer.profile(frozen.graph, options=options.with_empty_output().build()).total_float_ops

    assert operations("pooled_output") < 0.8 * operations("sequence_output")


def test_keras_file_round_trip(config, tmp_path):
    batch = token_batch(config) | {"mask_positions": np.array([[1, 2]] * 3, "int32")}
    for model in (plm.Encoder(config), plm.Pretrainer(config), plm.Classifier(config, ["a", "b"])):
        inputs = {name: batch[name] for name in (i.name for i in model.inputs)}
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        before, after = (keras.tree.flatten(m(inputs)) for m in (model, loaded))
        for a, b in zip(before, after, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_layers_share_one_table(config):
    """The masked-token head is tied to the embedding: no second matrix of V rows."""
    large = [v for v in plm.Pretrainer(config).weights if config.vocabulary_size in v.shape]
    assert sorted(v.path for v in large) == ["embedding/tokens", "masked_tokens/bias"]


def test_config_errors(config, tokenizer):
    for fields, message in [
        ({"num_heads": 5}, "num_heads=5 does not divide hidden_dim=33; choose one of"),
        ({"dropout": 1.0}, "dropout=1.0; it is a fraction"),
        ({"num_layers": 0}, "num_layers=0; it must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(config, **fields)
    with pytest.raises(ValueError, match="unknown EncoderConfig fields"):
        plm.EncoderConfig.from_dict({"hidden_size": 3})
    with pytest.raises(ValueError, match="the tokenizer has 97 tokens, but vocabulary_size=50"):
        plm.Encoder(replace(config, vocabulary_size=50), tokenizer)


def test_named_sizes():
    """Weights of the published models: google-research/bert lists 4.4, 11.3, 29.1, 41.7, 110.1 and 340 million."""
    assert [(c.num_layers, c.hidden_dim) for c in plm.SIZES.values()] == [
        (2, 128), (4, 256), (4, 512), (8, 512), (12, 768), (24, 1024)
    ]  # fmt: skip
    assert plm.Encoder(plm.TINY).count_params() == 4_385_920


def test_ranges_of_roundings_are_those_of_all_tokens(config):
    """The first token's own way through the last block would set them too, and narrow them."""
    encoder = plm.Encoder(replace(config, dropout=0.0, attention_dropout=0.0), None, ROUNDING)
    inputs = {name: tf.constant(value) for name, value in token_batch(config).items()}
    step = tf.function(lambda: encoder(inputs, training=True), autograph=False)
    for _ in range(400):
        step()
    last = encoder.blocks[-1]
    before = encoder_states(encoder, inputs)["hidden"][-2]
    wanted = [float(keras.ops.min(before)), float(keras.ops.max(before))]
    np.testing.assert_allclose(last.attention.query.round_input.range, wanted, rtol=0.05)


@pytest.mark.parametrize("change", [{}, {"normalize_first": True}, {"shared_layers": True, "positions": "sinusoidal"}])
def test_the_first_token_alone_answers_as_among_all_with_roundings(config, change):
    """In inference it goes through the last block alone, in training with the others, whose gradients it has."""
    encoder = plm.Encoder(replace(config, has_pooler=False, dropout=0.1, **change), None, ROUNDING)
    inputs = {name: tf.constant(value) for name, value in token_batch(config).items()}
    outputs = encoder(inputs)
    np.testing.assert_allclose(outputs["pooled_output"], outputs["sequence_output"][:, 0], atol=1e-5)
    first = keras.Model(encoder.inputs, encoder.output["pooled_output"])
    step = tf.function(first, autograph=False)
    ranges = encoder.blocks[-1].feed_forward.contract.round_scaled.range
    before = np.asarray(ranges)
    training = step(inputs, training=True)
    assert np.abs(ranges - before).max() > 0
    assert np.abs(training - step(inputs, training=False)).max() > 1e-3  # dropout holds


@pytest.mark.parametrize("added", [{"adapter_dim": 3}, {"lora_rank": 2, "lora_alpha": 4.0}])
def test_what_is_added_begins_as_nothing(config, tokenizer, added):
    base = plm.Encoder(config, tokenizer)
    larger = encoder_like(base, config, plm.Adaptation(**added))
    assert larger.count_params() > base.count_params()
    batch = token_batch(config)
    wanted, found = base(batch), larger(batch)
    for name in wanted:
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-6)


@pytest.mark.parametrize("next_sentence", [True, False])
@pytest.mark.parametrize("changes", [{}, {"normalize_first": True}, {"shared_layers": True}])
def test_a_pretrainer_equals_its_heads_on_all_states(config, next_sentence, changes):
    """It does not compute the last block at positions that no head reads."""
    model = plm.Pretrainer(replace(config, **changes), next_sentence=next_sentence)
    batch = token_batch(config) | {"mask_positions": np.array([[1, 2], [3, 0], [4, 4]], "int32")}
    whole = model.from_states(encoder_states(model.encoder, batch), batch)
    for name, value in model(batch).items():
        np.testing.assert_allclose(value, whole[name], atol=1e-5)
