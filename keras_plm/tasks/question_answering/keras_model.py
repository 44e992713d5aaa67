from typing import Any

import keras
from jaxtyping import Float

from keras_plm.config import EncoderConfig
from keras_plm.layers import ClassificationHead
from keras_plm.models import BackboneModel, Encoder, TokenInputs, given_or_new, token_inputs
from keras_plm.tensor_types import Tensor
from keras_plm.text import Tokenizer

from .text_methods import QuestionAnswererMethods


@keras.saving.register_keras_serializable("keras_plm")
class QuestionAnswerer(QuestionAnswererMethods, BackboneModel, keras.Model):
    """An encoder with a head that predicts the first and the last token of the answer.

    Args:
        config: sizes of the encoder.
        tokenizer: the tokenizer of the ids; needed by the text-level methods.
        encoder: a (pre-trained) encoder with the same config for the head; None makes a new one.
        null_threshold: no answer is given if the score of [CLS] minus the score of the best answer exceeds this value.
            None: always answer.

    Call args:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each: the question, then the
            context.

    Returns:
        dict of `start` and `end`, (B, T) float32 logits over the positions.

    Example:
        >>> from keras_plm.config import TINY
        >>> sorted(QuestionAnswerer(TINY).output)
        ['end', 'start']

    Source: Devlin et al. 2019, §4.2, https://arxiv.org/abs/1810.04805
    """

    def __init__(
        self,
        config: EncoderConfig,
        tokenizer: Tokenizer | None = None,
        encoder: Encoder | None = None,
        null_threshold: float | None = None,
        **kwargs: Any,
    ) -> None:
        # Layers
        encoder = given_or_new(encoder, config, tokenizer)
        head = ClassificationHead(2, name="head")

        # Graph
        inputs = token_inputs()
        outputs = _both_ends(head(encoder(inputs)["sequence_output"]))
        super().__init__(inputs=inputs, outputs=outputs, **{"name": "question_answerer", **kwargs})
        self.config = config
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.head = head
        self.null_threshold = null_threshold

    def from_states(self, states: dict[str, Any], inputs: TokenInputs) -> dict[str, Float[Tensor, "B T"]]:
        """Compute the outputs from the encoder's outputs (or from `encoder_states`) for these inputs."""
        return _both_ends(self.head(states["sequence_output"]))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"null_threshold": self.null_threshold}


def _both_ends(logits: Float[Tensor, "B T 2"]) -> dict[str, Float[Tensor, "B T"]]:
    return {"start": logits[:, :, 0], "end": logits[:, :, 1]}
