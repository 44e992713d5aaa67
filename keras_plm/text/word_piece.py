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

# Stand-ins for the special tokens while the text is tokenized: code points that no Unicode version assigns, in a block
# whose characters BERT's rules make words of their own. In a text they are unknown, as the next one is.
_STAND_INS = {role: chr(0xFAF0 + i) for i, role in enumerate(ROLES)}
_UNKNOWN = chr(0xFAF0 + len(ROLES))
_ANY_STAND_IN = f"[{min(_STAND_INS.values())}-{max(_STAND_INS.values())}]"


class WordPieceTokenizer(Tokenizer):
    """WordPiece, BERT's tokenizer: words and punctuation marks, cut into the longest tokens of a vocabulary.

    Args:
        vocabulary: tokens, the index being the id; a token inside a word begins with ##.
        lowercase: lower-case the text, as BERT's uncased models do.
        strip_accents: strip accents; None means if `lowercase`.
        special: spelling of the special tokens.
        added: more tokens of the vocabulary that are found in texts as they are written.

    Raises:
        ValueError: a special token missing from the vocabulary, or a token twice.

    Example:
        >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "quiet", "film", "##s"])
        >>> tokenizer.encode("A quiet [MASK], films").tokens
        ['a', 'quiet', '[MASK]', '[UNK]', 'film', '##s']
        >>> tokenizer(["A film", "quiet films"]).to_list()
        [[5, 7], [6, 7, 8]]

    Source: the algorithm is `tensorflow_text.FastBertTokenizer`: Song et al. 2021,
        https://arxiv.org/abs/2012.15524
    Differs: from that class: special tokens in the text, offsets in characters instead of bytes, and lower-casing
        that leaves full-width letters alone (`Normalizer`). From Hugging Face's: a word of more than 300 bytes is
        unknown, there one of more than 100 characters; docs/log lists the texts that come out otherwise.
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
        # what makes a special token of a word in a text, for contexts of questions, is one of its words
        self.words_alone = f"{self.special_pattern}|{BERT_ALONE}"
        try:
            self._tokenizer = tensorflow_text.FastBertTokenizer(
                [self._stand_ins.get(piece, piece) for piece in self.vocabulary],
                token_out_type=tf.int32,
                max_bytes_per_word=300,
                unknown_token=self._stand_ins[self.vocabulary[self.unk_id]],
                support_detokenization=True,
            )
        except RuntimeError as error:  # of its trie, about tokens that no text can have
            raise ValueError(f"a token of the vocabulary cannot be looked up: {str(error)[:300]}") from None

    @classmethod
    def from_file(cls, path: str | Path, lowercase: bool = True, **settings: Any) -> "WordPieceTokenizer":
        """Read a `vocab.txt`: one token a line."""
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
        # not cut at special tokens as for the other kinds: in tf.data even the branch that is not taken cost as much
        # as the tokenization (28,000 documents/s became 11,000)
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
            # a mark that was stripped belongs to no token
            spans.append(
                [(i, first[position[start]], last[position[end] - 1]) for i, start, end in zip(*row, strict=True)]
            )
        return spans

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids: tokens joined, special tokens but the mask and the unknown left out.

        White space and, if `lowercase`, case are not recovered.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        words: list[str] = []
        for piece in self._pieces(token_ids):
            if piece.startswith("##") and words:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        return " ".join(words)
