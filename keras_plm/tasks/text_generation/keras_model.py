from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from keras_plm.config import DecoderConfig
from keras_plm.generation import GenerationSession, JoiningSession
from keras_plm.layers import NextTokenHead
from keras_plm.models import Decoder, NextTokenModel, check_same_config, decoder_inputs
from keras_plm.tasks.continuous_session import ContinuousSession
from keras_plm.tasks.keras_session import KerasSession
from keras_plm.text import Tokenizer

from .text_methods import TextGeneratorMethods


@keras.saving.register_keras_serializable("keras_plm")
class TextGenerator(TextGeneratorMethods, NextTokenModel, keras.Model):
    """A decoder with a head that predicts the next token, for text generation: GPT-2, Llama and similar models.

    Args:
        config: sizes.
        tokenizer: the tokenizer of the ids; None if the caller tokenizes.
        decoder: a decoder of the same config to put the head on; None makes a new one.
        end_tokens: tokens that end a text, in addition to the tokenizer's `eos`, such as "<|im_end|>".
        chat_template: the template of conversations, in Jinja, see `chat`; None for none.

    Call args:
        inputs: dict of `token_ids` and `padding_mask`, (B, T) int32 each, as a `Decoder` takes them.

    Returns:
        (B, T, V) logits in the compute dtype. The logits at position t predict the token at t + 1.

    Raises:
        ValueError: the decoder has another config, the tokenizer has more tokens than the config, or an end token is
            not in the vocabulary.

    Example:
        >>> config = DecoderConfig(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, vocabulary_size=11)
        >>> TextGenerator(config).output_shape
        (None, None, 11)

    Source: Radford et al. 2018, §3.1, https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
    """  # noqa: E501

    backbone_class: ClassVar[Any] = Decoder
    backbone_field: ClassVar[str] = "decoder"
    pretrained_head: ClassVar[bool] = True

    def __init__(
        self,
        config: DecoderConfig,
        tokenizer: Tokenizer | None = None,
        decoder: Decoder | None = None,
        end_tokens: Sequence[str] = (),
        chat_template: str | None = None,
        **kwargs: Any,
    ) -> None:
        lost = [token for token in end_tokens if tokenizer is not None and token not in tokenizer.vocabulary]
        if lost:
            raise ValueError(f"the end tokens {lost} are not in the vocabulary")
        # Layers
        if decoder is None:
            decoder = Decoder(config, tokenizer)
        check_same_config(decoder, config)
        head = NextTokenHead(config.vocabulary_size, config.tied, name="head")

        # Graph
        inputs = decoder_inputs()
        hidden = decoder(inputs)
        logits = head(hidden, decoder.embedding_matrix) if head.tied else head(hidden)
        super().__init__(inputs=inputs, outputs=logits, **{"name": "text_generator", **kwargs})
        self.config = config
        self.tokenizer = tokenizer
        self.decoder = decoder
        self.head = head
        self.end_tokens = tuple(end_tokens)
        self.chat_template = chat_template

    def open_session(self, max_new_tokens: int, sources: list[list[int]] | None = None) -> GenerationSession:
        """The session of this model for `keras_plm.generation`, for at most this number of new tokens."""
        return KerasSession(self, max_new_tokens, self.decoder.make_caches)

    def open_joining_session(self) -> JoiningSession:
        """The session of this model for continuous batching."""

        def read(prompts: list[list[int]]) -> tuple[KerasSession, np.ndarray]:
            session = KerasSession(self, 0, self.decoder.make_caches)
            return session, session.read(prompts)

        return ContinuousSession(read)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"end_tokens": list(self.end_tokens), "chat_template": self.chat_template}
