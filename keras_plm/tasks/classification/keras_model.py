from collections.abc import Sequence
from typing import Any

import keras
from jaxtyping import Float

from keras_plm.config import EncoderConfig
from keras_plm.layers import ClassificationHead
from keras_plm.models import BackboneModel, Encoder, TokenInputs, given_or_new, token_inputs
from keras_plm.tasks.checks import check_labels
from keras_plm.tasks.pooling import Pooling, check_pooling, pooled_tokens
from keras_plm.tensor_types import Tensor
from keras_plm.text import Tokenizer

from .text_methods import ClassifierMethods


@keras.saving.register_keras_serializable("keras_plm")
class Classifier(ClassifierMethods, BackboneModel, keras.Model):
    """An encoder with a classification head. It predicts one label, several labels or a score for a text or a pair.

    Args:
        config: sizes of the encoder.
        labels: names of the classes, in the order of the logits; None for regression.
        tokenizer: the tokenizer of the ids; needed by the text-level methods.
        encoder: a (pre-trained) encoder with the same config for the head; None makes a new one.
        pooling: the vector of a text: "cls" is the pooled first token, "mean" the mean of all tokens (sentence encoders
            were trained for it), "max" their maximum in each dimension.
        multi_label: a text may have several labels, or none; each label has its own probability.
        pairs: whether it was trained on pairs of texts (True) or on single texts (False). Its artifacts take the same.
            None if this is unknown.

    Call args:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each.

    Returns:
        (B, C) float32 logits; (B, 1) scores for regression.

    Raises:
        ValueError: there are fewer than two labels, a label occurs twice, the encoder has another config, or texts are
            given without a tokenizer.

    Example:
        >>> from keras_plm.config import TINY
        >>> Classifier(TINY, labels=["negative", "positive"]).output_shape
        (None, 2)

    Source: Devlin et al. 2019, §4.1, https://arxiv.org/abs/1810.04805
    """

    def __init__(
        self,
        config: EncoderConfig,
        labels: Sequence[str] | None,
        tokenizer: Tokenizer | None = None,
        encoder: Encoder | None = None,
        pooling: Pooling = "cls",
        multi_label: bool = False,
        pairs: bool | None = None,
        **kwargs: Any,
    ) -> None:
        check_labels(labels)
        if labels is not None and (len(labels) < 2 - multi_label or len(set(labels)) != len(labels)):
            raise ValueError(f"labels={list(labels)}; a classifier needs at least two labels, and none twice")
        if multi_label and labels is None:
            raise ValueError("multi_label=True needs labels")
        check_pooling(pooling)
        # Layers
        encoder = given_or_new(encoder, config, tokenizer)
        head = ClassificationHead(1 if labels is None else len(labels), dropout=config.dropout, name="head")

        # Graph
        inputs = token_inputs()
        logits = head(_text_vector(encoder(inputs), inputs, pooling))
        super().__init__(inputs=inputs, outputs=logits, **{"name": "classifier", **kwargs})
        self.config = config
        self.labels = None if labels is None else list(labels)
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.head = head
        self.pooling = pooling
        self.multi_label = multi_label
        self.pairs = pairs

    def from_states(self, states: dict[str, Any], inputs: TokenInputs) -> Float[Tensor, "B C"]:
        """Compute the outputs from the encoder's outputs (or from `encoder_states`) for these inputs."""
        return self.head(_text_vector(states, inputs, self.pooling))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "labels": self.labels,
            "pooling": self.pooling,
            "multi_label": self.multi_label,
            "pairs": self.pairs,
        }


def _text_vector(states: dict[str, Any], inputs: TokenInputs, pooling: Pooling) -> Float[Tensor, "B D"]:
    if pooling == "cls":  # through the pooler, if there is one
        return states["pooled_output"]
    return pooled_tokens(states["sequence_output"], inputs["padding_mask"], pooling)
