from collections.abc import Sequence
from typing import Any

import keras
from jaxtyping import Float

from keras_plm.config import EncoderConfig
from keras_plm.layers import ClassificationHead, ConditionalRandomField
from keras_plm.models import BackboneModel, Encoder, TokenInputs, given_or_new, token_inputs
from keras_plm.tasks.checks import check_labels
from keras_plm.tensor_types import Tensor
from keras_plm.text import Tokenizer, canonical_labels

from .text_methods import TaggerMethods


@keras.saving.register_keras_serializable("keras_plm")
class Tagger(TaggerMethods, BackboneModel, keras.Model):
    """An encoder with a classification head on every token: entities, parts of speech, corrections.

    Args:
        config: sizes of the encoder.
        labels: names of the tags, in the order of the logits; BILOU and BMES become BIOES.
        tokenizer: the tokenizer of the ids; needed by the methods that take texts or words.
        encoder: a (pre-trained) encoder with the same config for the head; None makes a new one.
        crf: whether a conditional random field learns which tags follow each other.
        i_begins: whether an I tag may begin an entity, as in IOB1. The labels of a downloaded model do not say this, so
            `plm.load` sets it for every model with B and I labels. The predicted tags are IOB2 in any case.
        splits_words: whether `tag` splits a text at all punctuation, as in training on character spans; see
            `TaggerMethods`.

    Call args:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each.

    Returns:
        (B, T, C) float32 logits. The tag of a word is predicted at its first token.

    Raises:
        ValueError: there is no label, a label occurs twice, or the encoder has another config.

    Example:
        >>> from keras_plm.config import TINY
        >>> Tagger(TINY, labels=["O", "B-PER", "I-PER"]).output_shape
        (None, None, 3)

    Source: Devlin et al. 2019, §5.3, https://arxiv.org/abs/1810.04805; conditional random field: Lample et al. 2016,
        §2.2, https://arxiv.org/abs/1603.01360
    """

    def __init__(
        self,
        config: EncoderConfig,
        labels: Sequence[str],
        tokenizer: Tokenizer | None = None,
        encoder: Encoder | None = None,
        crf: bool = False,
        i_begins: bool = False,
        splits_words: bool = False,
        **kwargs: Any,
    ) -> None:
        check_labels(labels)
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"labels={list(labels)}; a tagger needs at least one label, and none twice")
        # Layers
        encoder = given_or_new(encoder, config, tokenizer)
        head = ClassificationHead(len(labels), dropout=config.dropout, name="head")
        field = ConditionalRandomField(len(labels), dtype="float32", name="crf") if crf else None

        # Graph
        inputs = token_inputs()
        logits = head(encoder(inputs)["sequence_output"])
        if field is not None:
            logits = field(logits)
        super().__init__(inputs=inputs, outputs=logits, **{"name": "tagger", **kwargs})
        self.config = config
        self.labels = canonical_labels(labels)
        self.i_begins = i_begins
        self.splits_words = splits_words
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.head = head
        self.crf = field

    def from_states(self, states: dict[str, Any], inputs: TokenInputs) -> Float[Tensor, "B T C"]:
        """Compute the outputs from the encoder's outputs (or from `encoder_states`) for these inputs."""
        return self.head(states["sequence_output"])

    @property
    def transitions(self) -> Any:
        """The scores of the conditional random field: `begin`, `follow` and `end`; None if there is no such field."""
        return None if self.crf is None else self.crf.transitions()

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "labels": self.labels,
            "crf": self.crf is not None,
            "i_begins": self.i_begins,
            "splits_words": self.splits_words,
        }
