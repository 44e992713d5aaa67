from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_plm.config import ModelConfig
from keras_plm.layers import ClassificationHead

from .encoder import Encoder, token_inputs
from .prediction import predict_texts


@keras.saving.register_keras_serializable("keras_plm")
class Classifier(keras.Model):
    """An encoder with a classification head: one label, or one number, for a text or a pair of texts.

    Args:
        config: sizes.
        labels: names of the classes, in the order of the logits; None for regression.
        tokenizer: the tokenizer of the ids; needed by the methods that take texts.
        encoder: a (pre-trained) encoder of the same config to put the head on; None makes a new one.

    Call args:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each.

    Returns:
        (B, C) float32 logits; (B, 1) scores for regression.

    Raises:
        ValueError: fewer than two labels or a label twice; an encoder of another config; no tokenizer when
            texts are given.

    Example:
        >>> from keras_plm.config import TINY
        >>> Classifier(TINY, labels=["negative", "positive"]).output_shape
        (None, 2)

    Source: Devlin et al. 2019, §4.1, https://arxiv.org/abs/1810.04805
    """

    def __init__(
        self,
        config: ModelConfig,
        labels: Sequence[str] | None,
        tokenizer: Any = None,
        encoder: Encoder | None = None,
        **kwargs: Any,
    ) -> None:
        if labels is not None and (len(labels) < 2 or len(set(labels)) != len(labels)):
            raise ValueError(f"labels={list(labels)}; a classifier needs at least two, each once")
        if encoder is not None and encoder.config != config:
            raise ValueError(f"the encoder was made with {encoder.config}, not with {config}")
        # Layers
        if encoder is None:
            encoder = Encoder(config, tokenizer)
        head = ClassificationHead(1 if labels is None else len(labels), dropout=config.dropout, name="head")

        # Graph
        inputs = token_inputs()
        logits = head(encoder(inputs)["pooled_output"])
        super().__init__(inputs=inputs, outputs=logits, **{"name": "classifier", **kwargs})
        self.config = config
        self.labels = None if labels is None else list(labels)
        self.tokenizer = tokenizer
        self.encoder = encoder

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "labels": self.labels, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Classifier":
        return cls(ModelConfig.from_dict(config.pop("config")), **config)

    def predict_logits(
        self,
        first: Sequence[str],
        second: Sequence[str] | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> np.ndarray:
        """(rows, C) float32 logits, or (rows, 1) scores, of texts or of pairs.

        Args:
            first: texts.
            second: the texts they are paired with, or None.
            max_length: longest row in tokens; longer ones lose their end. None means the model's limit.
            batch_size: rows at a time; rows of similar length go together.
        """
        return predict_texts(self, first, second, max_length, batch_size)

    def predict_probabilities(
        self, first: Sequence[str], second: Sequence[str] | None = None, **options: Any
    ) -> np.ndarray:
        """(rows, C) float32 probabilities that sum to 1; options as in `predict_logits`."""
        if self.labels is None:
            raise ValueError("a regression has no probabilities; use predict_logits")
        logits = self.predict_logits(first, second, **options)
        exponentials = np.exp(logits - logits.max(-1, keepdims=True))
        return exponentials / exponentials.sum(-1, keepdims=True)

    def predict_labels(self, first: Sequence[str], second: Sequence[str] | None = None, **options: Any) -> list[str]:
        """The most probable label of each row; options as in `predict_logits`."""
        if self.labels is None:
            raise ValueError("a regression has no labels; use predict_logits")
        best = self.predict_logits(first, second, **options).argmax(-1)
        return [self.labels[i] for i in best]
