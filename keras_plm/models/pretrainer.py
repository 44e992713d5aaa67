from typing import Any

import keras

from keras_plm.config import ModelConfig
from keras_plm.layers import MaskedTokenHead, NextSentenceHead

from .encoder import Encoder, token_inputs


@keras.saving.register_keras_serializable("keras_plm")
class Pretrainer(keras.Model):
    """An encoder with the two heads of BERT's pre-training: masked tokens and next sentence.

    Args:
        config: sizes.
        tokenizer: the tokenizer of the ids, or None.

    Call args:
        inputs: dict of `token_ids`, `segment_ids`, `padding_mask`, (B, T) int32 each, and `mask_positions`,
            (B, P) int32: what `text.pretraining_dataset` yields.

    Returns:
        dict of `masked_tokens`, (B, P, V) logits, and `next_sentence`, (B, 2) logits (IsNext, NotNext).

    Example:
        >>> from keras_plm.config import TINY
        >>> Pretrainer(TINY).count_params()
        4433468

    Source: Devlin et al. 2019, §3.1, https://arxiv.org/abs/1810.04805
    """

    def __init__(self, config: ModelConfig, tokenizer: Any = None, **kwargs: Any) -> None:
        # Layers
        encoder = Encoder(config, tokenizer)
        masked_token_head = MaskedTokenHead(
            config.vocabulary_size,
            activation=config.activation,
            layer_norm_epsilon=config.layer_norm_epsilon,
            name="masked_tokens",
        )
        next_sentence_head = NextSentenceHead(name="next_sentence")

        # Graph
        inputs = token_inputs()
        encoded = encoder(inputs)
        inputs["mask_positions"] = keras.Input((None,), dtype="int32", name="mask_positions")
        outputs = {
            "masked_tokens": masked_token_head(
                encoded["sequence_output"], inputs["mask_positions"], encoder.embedding.table
            ),
            "next_sentence": next_sentence_head(encoded["pooled_output"]),
        }
        super().__init__(inputs=inputs, outputs=outputs, **{"name": "pretrainer", **kwargs})
        self.config = config
        self.tokenizer = tokenizer
        self.encoder = encoder

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Pretrainer":
        return cls(ModelConfig.from_dict(config.pop("config")), **config)
