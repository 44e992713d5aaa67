import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text

from .normalization import Normalizer
from .template import BERT_TEMPLATE, ROLES, SpecialTokens, Template
from .tokenizer import KEYBOARD, AddedToken, Tokenizer, character_positions, string_tensor
from .vocabulary_learning import read_vocabulary
from .words import BERT_ALONE

# Placeholders for the special tokens during tokenization. They are unassigned Unicode code points in a block in which
# BERT's rules treat each character as a separate word. If a text contains one, it becomes the unknown token.
_STAND_INS = {role: chr(0xFAF0 + i) for i, role in enumerate(ROLES)}
_UNKNOWN = chr(0xFAF0 + len(ROLES))
_ANY_STAND_IN = f"[{min(_STAND_INS.values())}-{max(_STAND_INS.values())}]"


class WordPieceTokenizer(Tokenizer):
    """WordPiece, BERT's tokenizer: it splits words and punctuation marks into the longest tokens of a vocabulary.

    Args:
        vocabulary: tokens; the index is the id. A token that continues a word begins with ##.
        lowercase: lower-case the text, as in BERT's uncased models.
        strip_accents: strip accents; None means the same as `lowercase`.
        special: spelling of the special tokens.
        added: additional tokens of the vocabulary that are recognized in texts literally.

    Raises:
        ValueError: a special token is missing from the vocabulary, or a token occurs twice.

    Example:
        >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "quiet", "film", "##s"])
        >>> tokenizer.encode("A quiet [MASK], films").tokens
        ['a', 'quiet', '[MASK]', '[UNK]', 'film', '##s']
        >>> tokenizer(["A film", "quiet films"]).to_list()
        [[5, 7], [6, 7, 8]]

    Source: the algorithm is `tensorflow_text.FastBertTokenizer`: Song et al. 2021,
        https://arxiv.org/abs/2012.15524
    Differs: from that class: it recognizes special tokens in a text, its offsets are in characters instead of bytes,
        and its lower-casing does not change full-width letters (`Normalizer`). From Hugging Face's tokenizer: a word of
        more than 300 bytes is unknown (there: 100 characters). docs/log lists texts with different tokens.
    """

    filenames = ("vocab.txt",)
    strips_before_mask = False

    def __init__(
        self,
        vocabulary: Sequence[str],
        lowercase: bool = True,
        strip_accents: bool | None = None,
        special: SpecialTokens = SpecialTokens(),  # noqa: B008  (frozen)
        template: Template = BERT_TEMPLATE,
        added: Sequence[AddedToken] = (),
    ) -> None:
        super().__init__(vocabulary, special, template, added)
        self.lowercase = lowercase
        self.strip_accents = lowercase if strip_accents is None else strip_accents
        self._normalizer = Normalizer(self.lowercase, self.strip_accents, clean=True)
        self._stand_ins = {token: _STAND_INS[role] for role, token in special.by_role.items()}
        # in the context of a question, a special token is a separate word
        self.words_alone = f"{self.special_pattern}|{BERT_ALONE}"
        try:
            self._tokenizer = tensorflow_text.FastBertTokenizer(
                [self._stand_ins.get(piece, piece) for piece in self.vocabulary],
                token_out_type=tf.int32,
                max_bytes_per_word=300,
                unknown_token=self._stand_ins[self.vocabulary[self.unk_id]],
                support_detokenization=True,
            )
        except RuntimeError as error:  # from building the trie, about tokens that cannot occur in a text
            raise ValueError(f"a token of the vocabulary cannot be looked up: {str(error)[:300]}") from None

    @classmethod
    def from_file(cls, path: str | Path, lowercase: bool = True, **settings: Any) -> "WordPieceTokenizer":
        """Read a `vocab.txt`: one token per line."""
        try:
            return cls(read_vocabulary(path), lowercase, **settings)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_files(cls, paths: dict[str, Path], **settings: Any) -> "WordPieceTokenizer":
        return cls.from_file(paths["vocab.txt"], **cls._from_common(settings))

    def files(self) -> dict[str, bytes]:
        return {"vocab.txt": ("\n".join(self.vocabulary) + "\n").encode()}

    def settings(self) -> dict[str, Any]:
        return {
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            **self._common_settings,
        }

    def resources(self) -> Any:
        return self._tokenizer

    def subset(self, token_ids: Sequence[int]) -> "WordPieceTokenizer":
        pieces = [self.vocabulary[i] for i in token_ids]
        return WordPieceTokenizer(pieces, self.lowercase, self.strip_accents, self.special, self.template, self.added)

    def _indispensable(self, often: set[str], seen: set[str]) -> set[str]:
        characters = {*KEYBOARD, *"".join(piece.removeprefix("##") for piece in seen - set(self._literals))}
        return characters | {f"##{character}" for character in characters}

    @cached_property
    def continues_word(self) -> np.ndarray:
        return np.array([piece.startswith("##") for piece in self.vocabulary])

    def __call__(self, texts: Any) -> Any:
        # Unlike other tokenizers, this one does not split texts at special tokens. In tf.data, even the branch that is
        # not taken cost as much as the tokenization (28,000 documents/s became 11,000).
        if self.added:
            return super().__call__(texts)
        texts = string_tensor(texts)
        marked = tf.reduce_any(
            tf.strings.regex_full_match(texts, f"(?s).*(?:{self.special_pattern}|{_ANY_STAND_IN}).*")
        )
        texts = tf.cond(marked, lambda: self._with_stand_ins(texts), lambda: texts)
        return self._tokenizer.tokenize(self._normalizer(texts))

    def _with_stand_ins(self, texts: tf.Tensor) -> tf.Tensor:
        texts = tf.strings.regex_replace(texts, _ANY_STAND_IN, _UNKNOWN)
        for token, stand_in in self._stand_ins.items():
            texts = tf.strings.regex_replace(texts, re.escape(token), stand_in)
        return texts

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        texts = tf.strings.regex_replace(texts, _ANY_STAND_IN, _UNKNOWN)
        return self._tokenizer.tokenize(self._normalizer(texts))

    def _spans(self, texts: list[str]) -> list[list[tuple[int, int, int]]]:
        aligned = [self._normalizer.aligned(re.sub(_ANY_STAND_IN, _UNKNOWN, text)) for text in texts]
        ids, starts, ends = self._tokenizer.tokenize_with_offsets(string_tensor([text for text, _, _ in aligned]))
        spans = []
        for (normalized, first, last), *row in zip(
            aligned, ids.to_list(), starts.to_list(), ends.to_list(), strict=True
        ):
            position = character_positions(normalized)
            # a stripped mark belongs to no token
            spans.append(
                [(i, first[position[start]], last[position[end] - 1]) for i, start, end in zip(*row, strict=True)]
            )
        return spans

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids: joined tokens. Special tokens are left out, except the mask and the unknown token.

        White space is not restored, and neither is case if `lowercase`.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        words: list[str] = []
        for piece in self._pieces(token_ids):
            if piece.startswith("##") and words:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        return " ".join(words)
