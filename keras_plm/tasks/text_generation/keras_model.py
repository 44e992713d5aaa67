from collections.abc import Sequence
from typing import Any, ClassVar

import keras
from jaxtyping import Float, Int

from keras_plm.config import DecoderConfig
from keras_plm.layers import NextTokenHead
from keras_plm.models import BackboneModel, Caches, Decoder, check_same_config, decoder_inputs
from keras_plm.tensor_types import Tensor
from keras_plm.text import Tokenizer

from .text_methods import TextGeneratorMethods


@keras.saving.register_keras_serializable("keras_plm")
class TextGenerator(TextGeneratorMethods, BackboneModel, keras.Model):
    """A decoder that predicts the next token, and so writes texts: GPT-2, Llama and their like.

    Args:
        config: sizes.
        tokenizer: the tokenizer of the ids; None if the caller tokenizes.
        decoder: a decoder of the same config to put the head on; None makes a new one.
        end_tokens: tokens that end a text, in addition to the tokenizer's `eos`, such as "<|im_end|>".

    Call args:
        inputs: dict of `token_ids` and `padding_mask`, (B, T) int32 each, as a `Decoder` takes them.

    Returns:
        (B, T, V) logits in the compute dtype: those at position t are of the token at t + 1.

    Raises:
        ValueError: a decoder of another config, or a tokenizer with more tokens than the config.

    Example:
        >>> config = DecoderConfig(num_layers=2, num_heads=2, hidden_dim=8, intermediate_dim=16, vocabulary_size=11)
        >>> TextGenerator(config).output_shape
        (None, None, 11)

    Source: Radford et al. 2018, §3.1, https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf
    """  # noqa: E501

    backbone_class: ClassVar[Any] = Decoder
    backbone_field: ClassVar[str] = "decoder"

    def __init__(
        self,
        config: DecoderConfig,
        tokenizer: Tokenizer | None = None,
        decoder: Decoder | None = None,
        end_tokens: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        # Layers
        if decoder is None:
            decoder = Decoder(config, tokenizer)
        check_same_config(decoder, config)
        head = NextTokenHead(config.vocabulary_size, config.tied, name="head")

        # Graph
        inputs = decoder_inputs()
        logits = _logits(head, decoder, decoder(inputs))
        super().__init__(inputs=inputs, outputs=logits, **{"name": "text_generator", **kwargs})
        self.config = config
        self.tokenizer = tokenizer
        self.decoder = decoder
        self.head = head
        self.end_tokens = tuple(end_tokens)
        if tokenizer is not None:
            self.end_ids  # noqa: B018  raises an error for unknown tokens

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"end_tokens": list(self.end_tokens)}

    def from_states(self, states: dict[str, Any], inputs: dict[str, Any]) -> Float[Tensor, "B T V"]:
        """The outputs for what the decoder gives for these inputs."""
        return _logits(self.head, self.decoder, states["sequence_output"])

    def step(
        self,
        token_ids: Int[Tensor, "B T"],
        padding_mask: Int[Tensor, "B S"],
        caches: Caches,
        index: Int[Tensor, ""] | int,
        all_logits: bool = False,
    ) -> tuple[Float[Tensor, "B *T V"], Caches]:
        """Some more tokens of each row, see `Decoder.step`, and the logits of the token behind them.

        Returns:
            (B, V) float32 logits behind the last of the tokens, or (B, T, V) behind each with `all_logits`; the caches.
        """
        hidden, caches = self.decoder.step(token_ids, padding_mask, caches, index)
        if not all_logits:
            hidden = hidden[:, -1:]
        logits = keras.ops.cast(_logits(self.head, self.decoder, hidden), "float32")
        return logits if all_logits else logits[:, 0], caches


def _logits(head: NextTokenHead, decoder: Decoder, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
    return head(hidden, decoder.embedding.embedding_matrix) if head.tied else head(hidden)
