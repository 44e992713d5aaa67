from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from keras_plm.config import EncoderDecoderConfig
from keras_plm.generation import GenerationSession, JoiningSession
from keras_plm.layers import NextTokenHead
from keras_plm.models import Caches, EncoderDecoder, NextTokenModel, check_same_config, encoder_decoder_inputs
from keras_plm.tasks.continuous_session import ContinuousSession
from keras_plm.tasks.keras_session import KerasSession, kept_function
from keras_plm.text import Tokenizer

from .text_methods import Seq2SeqMethods

_ROUND = 32  # the lengths of sources are multiples of this, because XLA compiles each length separately


@keras.saving.register_keras_serializable("keras_plm")
class Seq2Seq(Seq2SeqMethods, NextTokenModel, keras.Model):
    """An encoder-decoder with a head that predicts the next token: T5, BART, Marian and similar models.

    Args:
        config: sizes.
        tokenizer: the tokenizer of both texts; None if the caller tokenizes.
        encoder_decoder: an encoder-decoder of the same config to put the head on; None makes a new one.
        start_tokens: tokens that the decoder reads before it writes, such as ("<pad>",) for T5. None means the
            tokenizer's `bos`, or `pad` if it has no `bos`.
        end_tokens: tokens that end a text, in addition to the tokenizer's `eos`.

    Call args:
        inputs: dict of int32 tensors, as an `EncoderDecoder` takes them.

    Returns:
        (B, T, V) logits in the compute dtype. The logits at position t predict the token at t + 1 of the decoder.

    Raises:
        ValueError: the encoder-decoder has another config, the tokenizer has more tokens than the config, or a start or
            end token is not in the vocabulary.

    Example:
        >>> config = EncoderDecoderConfig(
        ...     num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, vocabulary_size=11
        ... )
        >>> Seq2Seq(config).output_shape
        (None, None, 11)

    Source: Sutskever et al. 2014, https://arxiv.org/abs/1409.3215; Vaswani et al. 2017, §3,
        https://arxiv.org/abs/1706.03762
    """

    backbone_class: ClassVar[Any] = EncoderDecoder
    backbone_field: ClassVar[str] = "encoder_decoder"
    pretrained_head: ClassVar[bool] = True

    def __init__(
        self,
        config: EncoderDecoderConfig,
        tokenizer: Tokenizer | None = None,
        encoder_decoder: EncoderDecoder | None = None,
        start_tokens: Sequence[str] | None = None,
        end_tokens: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        named = [*(start_tokens or ()), *end_tokens]
        lost = [token for token in named if tokenizer is not None and token not in tokenizer.vocabulary]
        if lost:
            raise ValueError(f"the start or end tokens {lost} are not in the vocabulary")
        if start_tokens is None and tokenizer is not None:
            special = tokenizer.special.by_role
            start_tokens = [special[role] for role in ("bos", "pad") if role in special][:1]
        # Layers
        if encoder_decoder is None:
            encoder_decoder = EncoderDecoder(config, tokenizer)
        check_same_config(encoder_decoder, config)
        head = NextTokenHead(config.output_size, config.tied, config.head_bias, config.scaled_head, name="head")

        # Graph
        inputs = encoder_decoder_inputs()
        hidden = encoder_decoder(inputs)
        logits = head(hidden, encoder_decoder.embedding_matrix) if head.tied else head(hidden)
        super().__init__(inputs=inputs, outputs=logits, **{"name": "seq2seq", **kwargs})
        self.config = config
        self.tokenizer = tokenizer
        self.encoder_decoder = encoder_decoder
        self.head = head
        self.start_tokens = tuple(start_tokens or ())
        self.end_tokens = tuple(end_tokens)

    def open_session(self, max_new_tokens: int, sources: list[list[int]] | None = None) -> GenerationSession:
        """The session of this model for `keras_plm.generation`.

        Args:
            max_new_tokens: maximum number of new tokens.
            sources: token ids of the texts that the encoder reads, one for each prompt of the decoder.
        """
        rows = sources or []
        return KerasSession(self, max_new_tokens, lambda _, length: self._read_sources(rows, length))

    def open_joining_session(self) -> JoiningSession:
        """The session of this model for continuous batching. What joins are sources."""

        def read(sources: list[list[int]]) -> tuple[KerasSession, np.ndarray]:
            # few lengths, because the step is compiled for each
            room = min(1 << (max(_ROUND, *map(len, sources)) - 1).bit_length(), self.longest_row)
            session = KerasSession(self, 0, lambda _, length: self._read_sources(sources, length, room))
            return session, session.read([self.start_ids] * len(sources))

        return ContinuousSession(read)

    def _read_sources(self, rows: list[list[int]], length: int, room: int = 0) -> Caches:
        """The caches after the encoder has read these rows, for `length` tokens of the decoder and `room` of rows."""
        longest = max(map(len, rows))
        longest = max(longest, min(-(-longest // _ROUND) * _ROUND, self.longest_row), room)
        token_ids = np.zeros((len(rows), longest), "int32")
        mask = np.zeros_like(token_ids)
        for row, ids in enumerate(rows):
            token_ids[row, : len(ids)], mask[row, : len(ids)] = ids, 1
        read = kept_function(self, "read_sources", self.encoder_decoder.make_caches, reduce_retracing=True)
        return read(tf.constant(token_ids), tf.constant(mask), tf.constant(length))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"start_tokens": list(self.start_tokens), "end_tokens": list(self.end_tokens)}
