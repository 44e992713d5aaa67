from typing import Any

import keras
from keras import ops

from keras_plm.config import EncoderConfig
from keras_plm.models import BackboneModel, Encoder, given_or_new, token_inputs
from keras_plm.tasks.pooling import Pooling, check_pooling, pooled_tokens
from keras_plm.text import Tokenizer

from .text_methods import EmbedderMethods


@keras.saving.register_keras_serializable("keras_plm")
class Embedder(EmbedderMethods, BackboneModel, keras.Model):
    """An encoder with pooling: one vector per text. Texts with a similar meaning have similar vectors.

    Args:
        config: sizes of the encoder.
        tokenizer: the tokenizer of the ids; needed by `embed`.
        pooling: "mean" or "max" of the tokens that are not padding, or "cls", the first token.
        normalize: scale the vectors to length 1, so that their dot product is the cosine.
        max_length: maximum number of tokens that `embed` reads of a text; None means the model's limit.
        prompt: a prefix for every text, such as "query: "; artifacts that take strings add it, too.
        encoder: a (pre-trained) encoder with the same config; None makes a new one.

    Call args:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each.

    Returns:
        (B, D) float32 vectors.

    Raises:
        ValueError: `pooling` is unknown, or the encoder has another config.

    Example:
        >>> from keras_plm.config import TINY
        >>> Embedder(TINY).output_shape
        (None, 128)

    Source: Reimers & Gurevych 2019, §3, https://arxiv.org/abs/1908.10084
    """

    def __init__(
        self,
        config: EncoderConfig,
        tokenizer: Tokenizer | None = None,
        pooling: Pooling = "mean",
        normalize: bool = True,
        max_length: int | None = None,
        prompt: str = "",
        encoder: Encoder | None = None,
        **kwargs: Any,
    ) -> None:
        check_pooling(pooling)
        # Layers
        encoder = given_or_new(encoder, config, tokenizer)

        # Graph
        inputs = token_inputs()
        vectors = pooled_tokens(encoder(inputs)["sequence_output"], inputs["padding_mask"], pooling)
        if normalize:
            length = ops.sqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True))
            vectors = vectors / ops.maximum(length, 1e-12)
        super().__init__(inputs=inputs, outputs=vectors, **{"name": "embedder", **kwargs})
        self.config = config
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.pooling = pooling
        self.normalize = normalize
        self.max_length = max_length
        self.prompt = prompt

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "pooling": self.pooling,
            "normalize": self.normalize,
            "max_length": self.max_length,
            "prompt": self.prompt,
        }
