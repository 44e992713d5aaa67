from typing import Any, ClassVar

import keras
from jaxtyping import Float, Int

from keras_plm.config import Adaptation, EncoderDecoderConfig
from keras_plm.layers import (
    CausalContext,
    DecoderBlock,
    EncoderBlock,
    RelativePositionBias,
    ResidualNorm,
    RMSNorm,
    TokenEmbedding,
)
from keras_plm.layers.causal_context import Context
from keras_plm.tensor_types import Tensor
from keras_plm.text import Tokenizer

from .decoder import Caches
from .encoder import TokenInputs, check_vocabulary_size
from .tokenizer_assets import KeepsTokenizer

ENCODER_DECODER_INPUTS = ("token_ids", "padding_mask", "decoder_token_ids", "decoder_padding_mask")


def encoder_decoder_inputs() -> TokenInputs:
    """The symbolic inputs of every encoder-decoder model."""
    return {name: keras.Input((None,), dtype="int32", name=name) for name in ENCODER_DECODER_INPUTS}


@keras.saving.register_keras_serializable("keras_plm")
class EncoderDecoder(KeepsTokenizer, keras.Model):
    """The original Transformer: an encoder reads a text, a decoder writes another one and attends to the first.

    Args:
        config: sizes.
        tokenizer: the tokenizer of the ids of both texts; None if you tokenize yourself.
        adaptation: LoRA, adapters or fake quantization in the layers; None for none.

    Call args:
        inputs: dict of int32 tensors: `token_ids` and `padding_mask` (B, S) of the encoder, `decoder_token_ids` and
            `decoder_padding_mask` (B, T) of the decoder. The masks are 1 for tokens and 0 for padding. The decoder's
            padding may also come before its tokens.

    Returns:
        (B, T, D) hidden states of the last block of the decoder, normalized. Each depends on the whole first text, and
        on this token and earlier tokens of the second.

    Example:
        >>> config = EncoderDecoderConfig(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> ids = keras.ops.ones((2, 5), "int32")
        >>> EncoderDecoder(config)({name: ids for name in ENCODER_DECODER_INPUTS}).shape
        TensorShape([2, 5, 8])

    Source: Vaswani et al. 2017, §3, https://arxiv.org/abs/1706.03762
    """

    config_class: ClassVar[type[EncoderDecoderConfig]] = EncoderDecoderConfig

    def __init__(
        self,
        config: EncoderDecoderConfig,
        tokenizer: Tokenizer | None = None,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        adaptation = Adaptation.get(adaptation)
        check_vocabulary_size(config, tokenizer)
        # Layers
        embedding = _embedding(config, config.vocabulary_size, adaptation, "embedding")
        decoder_embedding, tied = embedding, config.target_vocabulary_size is None
        if not tied or config.positions == "learned" or config.normalized_embedding:
            decoder_embedding = _embedding(config, config.output_size, adaptation, "decoder_embedding", tied)
        encoder_bias, decoder_bias = (_position_bias(config, encoder) for encoder in (True, False))
        context = CausalContext(name="context")
        blocks: dict[str, Any] = {
            "num_heads": config.num_heads,
            "intermediate_dim": config.intermediate_dim,
            "activation": config.activation,
            "dropout": config.dropout,
            "attention_dropout": config.attention_dropout,
            "layer_norm_epsilon": config.layer_norm_epsilon,
            "normalize_first": config.normalize_first,
            "head_dim": config.head_dim,
            "norm": config.norm,
            "gated": config.gated,
            "attention_bias": config.attention_bias,
            "feed_forward_bias": config.feed_forward_bias,
            "attention_scale": None if config.scaled_attention else 1.0,
            "adaptation": adaptation,
        }
        encoder_blocks = [EncoderBlock(**blocks, name=f"encoder_block_{i}") for i in range(config.num_layers)]
        decoder_blocks = [
            DecoderBlock(**blocks, cross_attention=True, name=f"decoder_block_{i}")
            for i in range(config.decoder_layers)
        ]
        encoder_norm, decoder_norm = (_final_norm(config, name) for name in ("encoder_norm", "decoder_norm"))

        # Graph
        inputs = encoder_decoder_inputs()
        hidden = embedding(inputs["token_ids"])
        bias = _bias(encoder_bias, inputs["token_ids"])
        for block in encoder_blocks:
            hidden = block(hidden, padding_mask=inputs["padding_mask"], position_bias=bias)
        encoded = hidden if encoder_norm is None else encoder_norm(hidden)
        seen = context(inputs["decoder_padding_mask"])
        options = {"embedding_matrix": embedding.embedding_matrix} if decoder_embedding.tied else {}
        hidden = decoder_embedding(inputs["decoder_token_ids"], position_ids=seen["position_ids"], **options)
        bias = _bias(decoder_bias, inputs["decoder_token_ids"])
        for block in decoder_blocks:
            hidden = block(
                hidden,
                encoded,
                attention_mask=seen["visible"],
                position_bias=bias,
                encoder_padding_mask=inputs["padding_mask"],
            )
        hidden = hidden if decoder_norm is None else decoder_norm(hidden)
        super().__init__(inputs=inputs, outputs=hidden, **{"name": "encoder_decoder", **kwargs})
        self.config = config
        self.adaptation = adaptation
        self.tokenizer = tokenizer
        self.embedding = embedding
        self.decoder_embedding = decoder_embedding
        self.context = context
        self.encoder_bias = encoder_bias
        self.decoder_bias = decoder_bias
        self.encoder_blocks = encoder_blocks
        self.decoder_blocks = decoder_blocks
        self.encoder_norm = encoder_norm
        self.decoder_norm = decoder_norm

    @property
    def embedding_matrix(self) -> Float[Tensor, "V D"]:
        """The embedding matrix of the decoder, which a tied head uses."""
        layer = self.embedding if self.decoder_embedding.tied else self.decoder_embedding
        return layer.embedding_matrix

    def encode(self, token_ids: Int[Tensor, "B S"], padding_mask: Int[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """(B, S, D) hidden states of the encoder."""
        hidden = self.embedding(token_ids)
        bias = _bias(self.encoder_bias, token_ids)
        for block in self.encoder_blocks:
            hidden = block(hidden, padding_mask=padding_mask, position_bias=bias)
        return hidden if self.encoder_norm is None else self.encoder_norm(hidden)

    @property
    def cache_names(self) -> Caches:
        """The structure of the caches: the name that each tensor has in an artifact."""
        blocks = [
            {
                "self": {"key": f"kv_cache_k_{block}", "value": f"kv_cache_v_{block}"},
                "cross": {"key": f"encoder_k_{block}", "value": f"encoder_v_{block}"},
            }
            for block in range(len(self.decoder_blocks))
        ]
        return {"blocks": blocks, "encoder_padding_mask": "encoder_padding_mask"}

    def make_caches(
        self, token_ids: Int[Tensor, "B S"], padding_mask: Int[Tensor, "B S"], length: Int[Tensor, ""] | int
    ) -> Caches:
        """Read the text of the encoder, and make caches for `length` tokens of the decoder.

        The caches hold the keys and values of the encoder's hidden states, and the encoder's padding mask.
        """
        encoded, rows = self.encode(token_ids, padding_mask), keras.ops.shape(token_ids)[0]
        blocks = [block.make_cache(rows, length, encoded) for block in self.decoder_blocks]
        return {"blocks": blocks, "encoder_padding_mask": padding_mask}

    def step(
        self,
        token_ids: Int[Tensor, "B T"],
        padding_mask: Int[Tensor, "B L"],
        caches: Caches,
        index: Int[Tensor, ""] | int,
    ) -> tuple[Float[Tensor, "B T D"], Caches]:
        """Process further tokens of the decoder, with the keys and values of earlier tokens in caches.

        Args:
            token_ids: (B, T) int32, the tokens at the positions index … index + T - 1.
            padding_mask: (B, L) int32, 1 for the earlier tokens and for these, otherwise 0.
            caches: from `make_caches` or from the previous step.
            index: int scalar, number of positions that are already in the caches.

        Returns:
            (B, T, D) hidden states, equal to those of a call, and the caches including these tokens.
        """
        seen = self.context(padding_mask, first_position=index, num_queries=keras.ops.shape(token_ids)[1])
        return self.step_in_context(token_ids, seen, caches, index)

    def step_in_context(
        self, token_ids: Int[Tensor, "B T"], seen: Context, caches: Caches, index: Int[Tensor, ""] | int
    ) -> tuple[Float[Tensor, "B T D"], Caches]:
        """Like `step`, with masks and position ids of these tokens instead of a padding mask; see `CausalContext`."""
        options = {"embedding_matrix": self.embedding_matrix} if self.decoder_embedding.tied else {}
        hidden = self.decoder_embedding(token_ids, position_ids=seen["position_ids"], **options)
        bias = None
        if self.decoder_bias is not None:
            bias = self.decoder_bias(token_ids, seen["visible"][:, 0], first_position=index)
        encoder_padding_mask, new = caches["encoder_padding_mask"], []
        for block, cache in zip(self.decoder_blocks, caches["blocks"], strict=True):
            hidden, cache = block(
                hidden,
                attention_mask=seen["visible"],
                position_bias=bias,
                encoder_padding_mask=encoder_padding_mask,
                cache=cache,
                cache_index=index,
            )
            new.append(cache)
        hidden = hidden if self.decoder_norm is None else self.decoder_norm(hidden)
        return hidden, {"blocks": new, "encoder_padding_mask": encoder_padding_mask}

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "adaptation": self.adaptation.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "EncoderDecoder":
        shape = EncoderDecoderConfig.from_dict(config["config"])
        return cls(shape, **{k: v for k, v in config.items() if k != "config"})


def _embedding(
    config: EncoderDecoderConfig, size: int, adaptation: Adaptation, name: str, tied: bool = False
) -> TokenEmbedding:
    return TokenEmbedding(
        vocabulary_size=size,
        hidden_dim=config.hidden_dim,
        max_sequence_length=config.max_sequence_length,
        positions="none" if config.positions == "relative" else config.positions,
        num_segments=0,
        dropout=config.dropout,
        layer_norm_epsilon=config.layer_norm_epsilon if config.normalized_embedding else None,
        scaled=config.scaled_embedding,
        tied=tied,
        adaptation=adaptation,
        name=name,
    )


def _position_bias(config: EncoderDecoderConfig, encoder: bool) -> RelativePositionBias | None:
    if config.positions != "relative":
        return None
    name = f"{'encoder' if encoder else 'decoder'}_bias"
    sizes = (config.num_heads, config.relative_buckets, config.relative_distance)
    return RelativePositionBias(*sizes, bidirectional=encoder, name=name)


def _final_norm(config: EncoderDecoderConfig, name: str) -> Any:
    if not config.normalize_first:  # otherwise the last residual has not been normalized yet
        return None
    return (RMSNorm if config.norm == "rms" else ResidualNorm)(config.layer_norm_epsilon, name=name)


def _bias(layer: RelativePositionBias | None, token_ids: Int[Tensor, "B T"]) -> Float[Tensor, "1 N T T"] | None:
    return None if layer is None else layer(token_ids, token_ids)
