from typing import Any, ClassVar

import keras
from jaxtyping import Float, Int

from keras_plm.config import Adaptation, DecoderConfig
from keras_plm.layers import CausalContext, DecoderBlock, ResidualNorm, RMSNorm, TokenEmbedding
from keras_plm.layers.causal_context import Context
from keras_plm.tensor_types import Tensor
from keras_plm.text import Tokenizer

from .encoder import TokenInputs, check_vocabulary_size
from .tokenizer_assets import KeepsTokenizer

DECODER_INPUTS = ("token_ids", "padding_mask")
Caches = Any  # a nested structure of tensors, as `make_caches` returns it


def decoder_inputs() -> TokenInputs:
    """The symbolic inputs of every decoder model."""
    return {name: keras.Input((None,), dtype="int32", name=name) for name in DECODER_INPUTS}


@keras.saving.register_keras_serializable("keras_plm")
class Decoder(KeepsTokenizer, keras.Model):
    """A causal Transformer: token ids → a vector for each token, which depends on this token and earlier tokens.

    Args:
        config: sizes.
        tokenizer: the tokenizer of the ids, for the text-level methods of task models and for `plm.save`; None if you
            tokenize yourself.
        adaptation: LoRA, adapters or fake quantization in the layers; None for none.

    Call args:
        inputs: dict of `token_ids` and `padding_mask`, (B, T) int32 each. The mask is 0 for padding, which may also
            come before the tokens. If a row has several texts, the mask is 1 for the first text, 2 for the second, and
            so on: no text sees another, and the positions of each text start at 0.

    Returns:
        (B, T, D) hidden states of the last block, normalized.

    Example:
        >>> config = DecoderConfig(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16)
        >>> ids = keras.ops.ones((2, 5), "int32")
        >>> Decoder(config)({"token_ids": ids, "padding_mask": ids}).shape
        TensorShape([2, 5, 8])

    Source: Radford et al. 2019, https://openai.com/index/better-language-models; Brown et al. 2020, §2.1,
        https://arxiv.org/abs/2005.14165
    """

    config_class: ClassVar[type[DecoderConfig]] = DecoderConfig

    def __init__(
        self,
        config: DecoderConfig,
        tokenizer: Tokenizer | None = None,
        adaptation: Adaptation | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        adaptation = Adaptation.get(adaptation)
        check_vocabulary_size(config, tokenizer)
        # Layers
        rotary = config.positions == "rotary"
        embedding = TokenEmbedding(
            vocabulary_size=config.vocabulary_size,
            hidden_dim=config.hidden_dim,
            max_sequence_length=config.max_sequence_length,
            positions="none" if rotary else config.positions,
            num_segments=0,
            dropout=config.dropout,
            layer_norm_epsilon=None if config.normalize_first else config.layer_norm_epsilon,
            adaptation=adaptation,
            name="embedding",
        )
        context = CausalContext(
            config.window,
            config.width_per_head if rotary else None,
            config.rotary_base,
            config.rotary_scaling,
            name="context",
        )
        blocks = [
            DecoderBlock(
                num_heads=config.num_heads,
                intermediate_dim=config.intermediate_dim,
                activation=config.activation,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                layer_norm_epsilon=config.layer_norm_epsilon,
                normalize_first=config.normalize_first,
                num_key_value_heads=config.num_key_value_heads,
                head_dim=config.head_dim,
                norm=config.norm,
                gated=config.gated,
                attention_bias=config.attention_bias,
                feed_forward_bias=config.feed_forward_bias,
                window=config.window_of(i),
                adaptation=adaptation,
                name=f"block_{i}",
            )
            for i in range(config.num_layers)
        ]
        final_norm = None
        if config.normalize_first:  # the last residual has not been normalized yet
            kind = RMSNorm if config.norm == "rms" else ResidualNorm
            final_norm = kind(config.layer_norm_epsilon, name="final_norm")

        # Graph
        inputs = decoder_inputs()
        seen = context(inputs["padding_mask"])
        hidden = embedding(inputs["token_ids"], position_ids=seen["position_ids"])
        for block in blocks:
            hidden = block(hidden, **_read_by(block, seen))
        hidden = hidden if final_norm is None else final_norm(hidden)
        super().__init__(inputs=inputs, outputs=hidden, **{"name": "decoder", **kwargs})
        self.config = config
        self.adaptation = adaptation
        self.tokenizer = tokenizer
        self.embedding = embedding
        self.context = context
        self.blocks = blocks
        self.final_norm = final_norm

    @property
    def embedding_matrix(self) -> Float[Tensor, "V D"]:
        """The embedding matrix, which a tied head uses."""
        return self.embedding.embedding_matrix

    @property
    def cache_names(self) -> Caches:
        """The structure of the caches: the name that each tensor has in an artifact."""
        return [
            {"self": {"key": f"kv_cache_k_{block}", "value": f"kv_cache_v_{block}"}}
            for block in range(len(self.blocks))
        ]

    def make_caches(self, batch_size: int, length: int) -> Caches:
        """Empty key/value caches, one per block, for rows of `length` tokens."""
        return [block.make_cache(batch_size, length) for block in self.blocks]

    def step(
        self,
        token_ids: Int[Tensor, "B T"],
        padding_mask: Int[Tensor, "B S"],
        caches: Caches,
        index: Int[Tensor, ""] | int,
    ) -> tuple[Float[Tensor, "B T D"], Caches]:
        """Process further tokens of each row, with the keys and values of earlier tokens in caches.

        Args:
            token_ids: (B, T) int32, the tokens at the positions index … index + T - 1 of the rows.
            padding_mask: (B, S) int32, the mask of the whole rows as in a call: 1 for the earlier tokens and for these.
            caches: key/value caches from `make_caches(B, S)` or from the previous step.
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
        hidden = self.embedding(token_ids, position_ids=seen["position_ids"])
        new = []
        for block, cache in zip(self.blocks, caches, strict=True):
            hidden, cache = block(hidden, **_read_by(block, seen), cache=cache, cache_index=index)
            new.append(cache)
        return hidden if self.final_norm is None else self.final_norm(hidden), new

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "adaptation": self.adaptation.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Decoder":
        return cls(DecoderConfig.from_dict(config["config"]), **{k: v for k, v in config.items() if k != "config"})


def _read_by(block: DecoderBlock, seen: dict[str, Tensor]) -> dict[str, Any]:
    rotary = (seen["cosines"], seen["sines"]) if "cosines" in seen else None
    return {"attention_mask": seen["visible" if block.window is None else "in_window"], "rotary": rotary}
