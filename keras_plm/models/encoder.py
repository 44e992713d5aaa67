from typing import Any, ClassVar

import keras
from jaxtyping import Float, Int

from keras_plm.config import Adaptation, BackboneConfig, EncoderConfig
from keras_plm.layers import EncoderBlock, ResidualNorm, TokenEmbedding, activate
from keras_plm.layers.initialization import scaled_normal
from keras_plm.tensor_types import Tensor
from keras_plm.text import Tokenizer

from .tokenizer_assets import KeepsTokenizer

INPUTS = ("token_ids", "segment_ids", "padding_mask")
TokenInputs = dict[str, Int[Tensor, "B T"]]


def token_inputs() -> TokenInputs:
    """The symbolic inputs of every encoder model."""
    return {name: keras.Input((None,), dtype="int32", name=name) for name in INPUTS}


@keras.saving.register_keras_serializable("keras_plm")
class Encoder(KeepsTokenizer, keras.Model):
    """A bidirectional Transformer: token ids → a vector for each token and one for the text.

    Args:
        config: sizes.
        tokenizer: the tokenizer of the ids, for the text-level methods of task models and for `plm.save`; None if you
            tokenize yourself.
        adaptation: LoRA, adapters or fake quantization in the layers; None for none.

    Call args:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each.

    Returns:
        dict of `sequence_output`, (B, T, D) hidden states of the last block, and `pooled_output`, (B, D): the
        first token's state after the pooler (a dense layer and an activation), or without it if `config.has_pooler` is
        False.

    Example:
        >>> from keras_plm.config import TINY
        >>> ids = keras.ops.ones((2, 5), "int32")
        >>> Encoder(TINY)({"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids}).keys()
        dict_keys(['sequence_output', 'pooled_output'])

    Source: Devlin et al. 2019, §3, https://arxiv.org/abs/1810.04805; shared layers: Lan et al. 2020, §3.1,
        https://arxiv.org/abs/1909.11942
    """

    config_class: ClassVar[type[EncoderConfig]] = EncoderConfig

    def __init__(
        self,
        config: EncoderConfig,
        tokenizer: Tokenizer | None = None,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        adaptation = Adaptation.get(adaptation)
        check_vocabulary_size(config, tokenizer)
        # Layers
        embedding = TokenEmbedding(
            vocabulary_size=config.vocabulary_size,
            hidden_dim=config.hidden_dim,
            max_sequence_length=config.max_sequence_length,
            positions=config.positions,
            num_segments=config.num_segments,
            dropout=config.dropout,
            layer_norm_epsilon=config.layer_norm_epsilon,
            embedding_dim=config.embedding_dim,
            embedding_rank=config.embedding_rank,
            adaptation=adaptation,
            name="embedding",
        )
        blocks = [
            EncoderBlock(
                num_heads=config.num_heads,
                intermediate_dim=config.intermediate_dim,
                activation=config.activation,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                layer_norm_epsilon=config.layer_norm_epsilon,
                normalize_first=config.normalize_first,
                adaptation=adaptation,
                name=f"block_{i}",
            )
            for i in range(1 if config.shared_layers else config.num_layers)
        ]
        if config.shared_layers:
            blocks *= config.num_layers
        pooler, final_norm = None, None
        if config.has_pooler:
            initializer = scaled_normal(config.hidden_dim)
            pooler = keras.layers.Dense(config.hidden_dim, kernel_initializer=initializer, name="pooler")
        if config.normalize_first:  # the last residual has not been normalized yet
            final_norm = ResidualNorm(config.layer_norm_epsilon, name="final_norm")

        # Graph
        inputs = token_inputs()
        mask = inputs["padding_mask"]
        hidden = embedding(inputs["token_ids"], inputs["segment_ids"])
        for block in blocks[:-1]:
            hidden = block(hidden, padding_mask=mask)
        # Two paths through the last block. A graph does not compute an unused path: if only the first token is used,
        # this saves most of the block
        sequence = blocks[-1](hidden, padding_mask=mask)
        first = blocks[-1](hidden, padding_mask=mask, num_queries=1)
        if adaptation.quantization_aware:
            first = _FirstToken(name="first_token")(sequence, first)
        if final_norm is not None:
            sequence, first = final_norm(sequence), final_norm(first)
        outputs = {"sequence_output": sequence, "pooled_output": pool_first(first, pooler, config)}
        super().__init__(inputs=inputs, outputs=outputs, **{"name": "encoder", **kwargs})
        self.config = config
        self.adaptation = adaptation
        self.tokenizer = tokenizer
        self.embedding = embedding
        self.blocks = blocks
        self.final_norm = final_norm
        self.pooler = pooler

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "adaptation": self.adaptation.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Encoder":
        return cls(EncoderConfig.from_dict(config["config"]), **{k: v for k, v in config.items() if k != "config"})


class _FirstToken(keras.layers.Layer):
    """The first token's state, (B, 1, D). In training, it comes from all tokens, which set the activation ranges."""

    def call(
        self, sequence: Float[Tensor, "B T D"], alone: Float[Tensor, "B 1 D"], training: bool | None = None
    ) -> Float[Tensor, "B 1 D"]:
        return sequence[:, :1] if training else alone


def pool_first(
    hidden: Float[Tensor, "B T D"], pooler: keras.layers.Layer | None, config: EncoderConfig
) -> Float[Tensor, "B D"]:
    """The vector of the text: the first hidden state, after the pooler if there is one."""
    pooled = hidden[:, 0, :]
    return pooled if pooler is None else activate(pooler(pooled), config.pooler_activation)


def given_or_new(encoder: Encoder | None, config: EncoderConfig, tokenizer: Tokenizer | None) -> Encoder:
    """The given encoder of a task model, or a new one.

    Raises:
        ValueError: the encoder has another config.
    """
    if encoder is None:
        return Encoder(config, tokenizer)
    check_same_config(encoder, config)
    return encoder


def check_same_config(backbone: Any, config: BackboneConfig) -> None:
    """Raise ValueError unless the backbone has this config."""
    if backbone.config != config:
        raise ValueError(f"the {backbone.name} was made with {backbone.config}, not with {config}")


def check_vocabulary_size(config: BackboneConfig, tokenizer: Tokenizer | None) -> None:
    """Raise ValueError if the tokenizer can produce ids that are not in the embedding matrix."""
    if tokenizer is not None and len(tokenizer) > config.vocabulary_size:
        raise ValueError(
            f"the tokenizer has {len(tokenizer)} tokens, but vocabulary_size={config.vocabulary_size}; "
            f"use dataclasses.replace(config, vocabulary_size=len(tokenizer))"
        )
