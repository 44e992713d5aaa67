from typing import Any

import keras

from keras_plm.config import ModelConfig
from keras_plm.layers import ClassificationHead

from .encoder import Encoder, token_inputs


@keras.saving.register_keras_serializable("keras_plm")
class QuestionAnswerer(keras.Model):
    """An encoder that points at the first and the last token of the answer.

    Args:
        config: sizes.
        tokenizer: the tokenizer of the ids, or None.

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

    def __init__(self, config: ModelConfig, tokenizer: Any = None, **kwargs: Any) -> None:
        # Layers
        encoder = Encoder(config, tokenizer)
        head = ClassificationHead(2, name="head")

        # Graph
        inputs = token_inputs()
        logits = head(encoder(inputs)["sequence_output"])
        outputs = {"start": logits[:, :, 0], "end": logits[:, :, 1]}
        super().__init__(inputs=inputs, outputs=outputs, **{"name": "question_answerer", **kwargs})
        self.config = config
        self.tokenizer = tokenizer
        self.encoder = encoder

    def get_config(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "QuestionAnswerer":
        return cls(ModelConfig.from_dict(config.pop("config")), **config)
