from typing import Any

import keras
from keras import ops

from keras_plm.config import EncoderConfig
from keras_plm.layers import MaskedTokenHead, NextSentenceHead
from keras_plm.models import (
    BackboneModel,
    Encoder,
    TokenInputs,
    encoder_states,
    given_or_new,
    pool_first,
    states_at,
    token_inputs,
)
from keras_plm.tensor_types import Tensor
from keras_plm.text import Tokenizer


@keras.saving.register_keras_serializable("keras_plm")
class Pretrainer(BackboneModel, keras.Model):
    """An encoder with the two pre-training heads of BERT: masked tokens and next sentence.

    The last block computes only what the heads read: the first token and the masked positions. With fake quantization,
    it computes all positions.

    Args:
        config: sizes of the encoder.
        tokenizer: the tokenizer of the ids, or None.
        next_sentence: False leaves out the next-sentence head, as in RoBERTa.
        encoder: an encoder with the same config for the heads; None makes a new one.

    Call args:
        inputs: dict of `token_ids`, `segment_ids`, `padding_mask`, (B, T) int32 each, and `mask_positions`,
            (B, P) int32, as from `text.MaskedPairs`.

    Returns:
        dict of `masked_tokens`, (B, P, V) logits, and, with the next-sentence head, `next_sentence`, (B, 2) logits
        (IsNext, NotNext).

    Example:
        >>> from keras_plm.config import TINY
        >>> Pretrainer(TINY).count_params()
        4433468

    Source: Devlin et al. 2019, §3.1, https://arxiv.org/abs/1810.04805; without next sentence: Liu et al. 2019, §4.2,
        https://arxiv.org/abs/1907.11692
    """

    def __init__(
        self,
        config: EncoderConfig,
        tokenizer: Tokenizer | None = None,
        next_sentence: bool = True,
        encoder: Encoder | None = None,
        **kwargs: Any,
    ) -> None:
        if config.embedding_rank is not None:
            raise ValueError(
                f"embedding_rank={config.embedding_rank}: the masked-token head needs the whole embedding matrix; "
                "factorize the encoder only"
            )
        # Layers
        encoder = given_or_new(encoder, config, tokenizer)
        masked_token_head = MaskedTokenHead(
            config.vocabulary_size,
            activation=config.activation,
            layer_norm_epsilon=config.layer_norm_epsilon,
            name="masked_tokens",
        )

        # Graph
        inputs = token_inputs() | {"mask_positions": keras.Input((None,), dtype="int32", name="mask_positions")}
        next_head = NextSentenceHead(name="next_sentence") if next_sentence else None
        if encoder.adaptation.quantization_aware:  # the ranges of the last block come from all positions
            outputs = _predictions(masked_token_head, next_head, encoder, encoder_states(encoder, inputs), inputs)
        else:
            positions = inputs["mask_positions"]
            if next_head is not None:  # and the first token
                positions = ops.pad(positions, ((0, 0), (1, 0)))
            hidden, matrix = states_at(encoder, inputs, positions), encoder.embedding.embedding_matrix
            outputs = {"masked_tokens": masked_token_head(hidden[:, int(next_sentence) :], None, matrix)}
            if next_head is not None:
                outputs["next_sentence"] = next_head(pool_first(hidden, encoder.pooler, config))
        super().__init__(inputs=inputs, outputs=outputs, **{"name": "pretrainer", **kwargs})
        self.config = config
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.next_sentence = next_sentence
        self.masked_token_head = masked_token_head
        self.next_sentence_head = next_head

    def from_states(self, states: dict[str, Any], inputs: TokenInputs) -> dict[str, Tensor]:
        """Compute the outputs from the encoder's outputs (or from `encoder_states`) for these inputs."""
        return _predictions(self.masked_token_head, self.next_sentence_head, self.encoder, states, inputs)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"next_sentence": self.next_sentence}


def _predictions(
    masked: MaskedTokenHead,
    following: NextSentenceHead | None,
    encoder: Encoder,
    states: dict[str, Any],
    inputs: TokenInputs,
) -> dict[str, Tensor]:
    tokens = masked(states["sequence_output"], inputs["mask_positions"], encoder.embedding.embedding_matrix)
    if following is None:
        return {"masked_tokens": tokens}
    return {"masked_tokens": tokens, "next_sentence": following(states["pooled_output"])}
