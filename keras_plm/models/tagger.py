from collections.abc import Sequence
from typing import Any

import keras

from keras_plm.config import ModelConfig
from keras_plm.layers import ClassificationHead

from .encoder import Encoder, token_inputs


@keras.saving.register_keras_serializable("keras_plm")
class Tagger(keras.Model):
    """An encoder with a classification head on every token: entities, parts of speech, corrections.

    Args:
        config: sizes.
        labels: names of the tags, in the order of the logits.
        tokenizer: the tokenizer of the ids, or None.

    Call args:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each.

    Returns:
        (B, T, C) float32 logits.

    Raises:
        ValueError: no label, or a label twice.

    Example:
        >>> from keras_plm.config import TINY
        >>> Tagger(TINY, labels=["O", "B-PER", "I-PER"]).output_shape
        (None, None, 3)

    Source: Devlin et al. 2019, §5.3, https://arxiv.org/abs/1810.04805
    """

    def __init__(self, config: ModelConfig, labels: Sequence[str], tokenizer: Any = None, **kwargs: Any) -> None:
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"labels={list(labels)}; a tagger needs at least one, each once")
        # Layers
        encoder = Encoder(config, tokenizer)
        head = ClassificationHead(len(labels), dropout=config.dropout, name="head")

        # Graph
        inputs = token_inputs()
        logits = head(encoder(inputs)["sequence_output"])
        super().__init__(inputs=inputs, outputs=logits, **{"name": "tagger", **kwargs})
        self.config = config
        self.labels = list(labels)
        self.tokenizer = tokenizer
        self.encoder = encoder

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "labels": self.labels, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Tagger":
        return cls(ModelConfig.from_dict(config.pop("config")), **config)
