from collections.abc import Sequence
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from keras_plm.config import ModelConfig

from .encoder import Encoder, token_inputs
from .prediction import predict_texts

Pooling = Literal["mean", "cls"]


@keras.saving.register_keras_serializable("keras_plm")
class Embedder(keras.Model):
    """An encoder whose hidden states become one vector for the text: texts of like meaning, vectors of like direction.

    Args:
        config: sizes.
        tokenizer: the tokenizer of the ids; needed by `embed`.
        pooling: "mean" of the tokens that are not padding, or "cls", the first token.
        normalize: scale the vectors to length 1, so that their dot product is the cosine.
        max_length: longest text in tokens that `embed` reads; None means the model's limit.

    Call args:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask`, (B, T) int32 each.

    Returns:
        (B, D) float32 vectors.

    Raises:
        ValueError: another name for `pooling`.

    Example:
        >>> from keras_plm.config import TINY
        >>> Embedder(TINY).output_shape
        (None, 128)

    Source: Reimers & Gurevych 2019, §3, https://arxiv.org/abs/1908.10084
    """

    def __init__(
        self,
        config: ModelConfig,
        tokenizer: Any = None,
        pooling: Pooling = "mean",
        normalize: bool = True,
        max_length: int | None = None,
        **kwargs: Any,
    ) -> None:
        if pooling not in ("mean", "cls"):
            raise ValueError(f"pooling={pooling!r}; choose 'mean' or 'cls'")
        # Layers
        encoder = Encoder(config, tokenizer)

        # Graph
        inputs = token_inputs()
        hidden = ops.cast(encoder(inputs)["sequence_output"], "float32")
        if pooling == "mean":
            mask = ops.expand_dims(ops.cast(inputs["padding_mask"], "float32"), -1)
            vectors = ops.sum(hidden * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)
        else:
            vectors = hidden[:, 0, :]
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

    def get_config(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "pooling": self.pooling,
            "normalize": self.normalize,
            "max_length": self.max_length,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Embedder":
        return cls(ModelConfig.from_dict(config.pop("config")), **config)

    def embed(self, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
        """(rows, D) float32 vectors of texts.

        Args:
            texts: texts; longer ones than `max_length` lose their end.
            batch_size: rows at a time; rows of similar length go together.

        Example:
            >>> vectors = embedder.embed(["A quiet film.", "A calm movie."])  # doctest: +SKIP
            >>> vectors @ vectors.T  # cosines  # doctest: +SKIP
        """
        return predict_texts(self, texts, max_length=self.max_length, batch_size=batch_size)
