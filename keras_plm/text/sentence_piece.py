import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text

from .normalization import Normalizer
from .sentence_piece_model import BytePairs, Unigram, read_model
from .template import BERT_TEMPLATE, SpecialTokens, Template
from .tokenizer import KEYBOARD, AddedToken, Tokenizer, character_positions, string_tensor

ALBERT_TOKENS = SpecialTokens(pad="<pad>", unk="<unk>", cls="[CLS]", sep="[SEP]", mask="[MASK]")


def _lasting(tokenizer: Any) -> Any:
    """Store the tokenizer's model under a shared name, and return the tokenizer.

    In TensorFlow Text, the kernel that created the model owns it. `keras.utils.set_random_seed` deletes all kernels,
    and the next call would fail. A model with a shared name is not owned by a kernel. Equal models share one name.
    """
    from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer

    resource = tokenizer._model_resource
    name = f"keras_plm_{hashlib.sha256(resource._model).hexdigest()}"
    with tf.init_scope():
        make = gen_sentencepiece_tokenizer.sentencepiece_op
        resource._resource_handle = make(model=resource._model, shared_name=name)
    return tokenizer


class SentencePieceTokenizer(Tokenizer):
    """SentencePiece's models: Unigram (ALBERT, XLM-RoBERTa, T5) and byte pairs (Llama 1 and 2, Mistral).

    Unigram finds the most probable tokens. Byte pairs are merged; a character without a token becomes its bytes.

    Args:
        model: tokens with their scores, and the table of character replacements.
        special: spelling of the special tokens.
        lowercase: first lower-case the text.
        strip_accents: first strip accents.
        quotes: first replace `` and '' by a double quote. ALBERT uses all three of these options.
        template: how texts become rows of tokens.
        added: additional tokens of the vocabulary that are recognized in texts literally.

    Raises:
        ValueError: a special token is missing from the vocabulary, or a token occurs twice.

    Source: Kudo 2018, §3.2, https://arxiv.org/abs/1804.10959; `tensorflow_text.SentencepieceTokenizer`
    Differs: from that class: it recognizes special tokens in a text, its offsets are in characters, and the offsets of
        a token exclude the space before the word.
    """

    filenames = ("spiece.model",)

    def __init__(
        self,
        model: Unigram,
        special: SpecialTokens = ALBERT_TOKENS,
        lowercase: bool = False,
        strip_accents: bool = False,
        quotes: bool = False,
        template: Template = BERT_TEMPLATE,
        added: Sequence[AddedToken] = (),
    ) -> None:
        super().__init__(model.pieces, special, template, added)
        self.model = model
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.quotes = quotes
        self._normalizer = Normalizer(lowercase, strip_accents, quotes=quotes, form="NFKD")
        self._content = model.to_bytes(special, self.added)
        self._tokenizer = _lasting(tensorflow_text.SentencepieceTokenizer(self._content, out_type=tf.int32))

    @classmethod
    def from_files(cls, paths: dict[str, Path], **settings: Any) -> "SentencePieceTokenizer":
        """Read a `spiece.model`."""
        model = read_model(paths["spiece.model"].read_bytes(), str(paths["spiece.model"]))
        return cls(model, **cls._from_common(settings))

    def files(self) -> dict[str, bytes]:
        return {"spiece.model": self._content}

    def settings(self) -> dict[str, Any]:
        return {
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "quotes": self.quotes,
            **self._common_settings,
        }

    def resources(self) -> Any:
        return self._tokenizer

    def subset(self, token_ids: Sequence[int]) -> "SentencePieceTokenizer":
        model = self.model
        if isinstance(model, BytePairs):
            raise ValueError("the tokens of a byte-pair model depend on each other: none of them can be left out")
        return SentencePieceTokenizer(
            Unigram([model.pieces[i] for i in token_ids], [model.scores[i] for i in token_ids], model.charsmap),
            self.special,
            self.lowercase,
            self.strip_accents,
            self.quotes,
            self.template,
            self.added,
        )

    def _indispensable(self, often: set[str], seen: set[str]) -> set[str]:
        return {"▁", *KEYBOARD, *"".join(seen - set(self._literals))}

    @cached_property
    def continues_word(self) -> np.ndarray:
        return np.array([not piece.startswith("▁") for piece in self.vocabulary])

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._tokenizer.tokenize(self._normalizer(texts))

    def _spans(self, texts: list[str]) -> list[list[tuple[int, int, int]]]:
        aligned = [self._normalizer.aligned(text) for text in texts]
        ids, starts, ends = self._tokenizer.tokenize_with_offsets(string_tensor([text for text, _, _ in aligned]))
        rows = zip(aligned, ids.to_list(), starts.to_list(), ends.to_list(), strict=True)
        return [self._characters(*row) for row in rows]

    def _characters(
        self, aligned: tuple, ids: list[int], starts: list[int], ends: list[int]
    ) -> list[tuple[int, int, int]]:
        """Convert bytes of the normalized text to characters of the text, without the space before a word."""
        normalized, first, last = aligned
        position = character_positions(normalized)
        spans: list[tuple[int, int, int]] = []
        for token_id, byte_start, byte_end in zip(ids, starts, ends, strict=True):
            start, end = int(position[byte_start]), int(position[byte_end])
            if start == end < len(first) and self.vocabulary[token_id] != "▁":
                end += 1  # a part of a character that was decomposed: ½ becomes 1, ⁄ and 2
            while start < end and normalized[start].isspace():
                start += 1
            begin = first[start] if start < len(first) else last[-1]
            spans.append((token_id, begin, last[end - 1] if end > start else begin))
        return spans

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids: joined tokens. Special tokens are left out, except the mask and the unknown token.

        White space is not restored unless the model has byte pairs, and neither is case if `lowercase`. Bytes that do
        not form a character become the replacement character.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        return self.continuation(token_ids).removeprefix(" ")

    def continuation(self, token_ids: Sequence[int]) -> str:
        return b"".join(map(self._bytes_of, self._pieces(token_ids))).decode(errors="replace")

    def token_bytes(self) -> list[bytes]:
        return list(map(self._bytes_of, self.vocabulary))

    def _bytes_of(self, piece: str) -> bytes:
        if isinstance(self.model, BytePairs):
            return self.model.bytes_of(piece)
        is_word = piece in (self.special.mask, self.special.unk)
        return f"{'▁' * is_word}{piece}".replace("▁", " ").encode()
