from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_text

from .vocabulary import SPECIAL_TOKENS, check_vocabulary, read_vocabulary

# Stand-ins for the special tokens while the text is tokenized: code points that no Unicode version assigns,
# in a block whose characters BERT's rules make words of their own. With spaces a stand-in fills exactly the bytes of
# the token it stands for, so that offsets stay true.
_STAND_INS = {token: chr(0xFAF0 + i) for i, token in enumerate(SPECIAL_TOKENS)}


@dataclass(frozen=True)
class Encoding:
    """One tokenized text.

    Attributes:
        token_ids: ids.
        tokens: pieces of the vocabulary.
        starts: index of each token's first character in the text.
        ends: index after its last character.
    """

    token_ids: list[int]
    tokens: list[str]
    starts: list[int]
    ends: list[int]


class Tokenizer:
    """WordPiece: text ↔ token ids, for one string, a batch, inside `tf.data` and inside a graph.

    Special tokens written in the text (`[MASK]`, `[SEP]`, …) become their ids.

    Args:
        vocabulary: pieces, the index being the id.
        lowercase: lower-case the text and strip its accents, as BERT's uncased models do.

    Raises:
        ValueError: a special token missing from the vocabulary, or a piece twice.

    Example:
        >>> tokenizer = Tokenizer([*SPECIAL_TOKENS, "a", "quiet", "film", "##s"])
        >>> tokenizer.encode("A quiet [MASK], films").tokens
        ['a', 'quiet', '[MASK]', '[UNK]', 'film', '##s']
        >>> tokenizer(["A film", "quiet films"]).to_list()
        [[5, 7], [6, 7, 8]]

    Source: the algorithm is `tensorflow_text.FastBertTokenizer`: Song et al. 2021,
        https://arxiv.org/abs/2012.15524
    Differs: from that class: special tokens in the text, offsets in characters instead of bytes. From BERT's own code
        and Hugging Face's, as that class does: lower-casing is NFKC case folding, so that full-width letters and
        punctuation (，) become half-width ones (,).
    """

    def __init__(self, vocabulary: Sequence[str], lowercase: bool = True) -> None:
        self.vocabulary = list(vocabulary)
        self.lowercase = lowercase
        check_vocabulary(self.vocabulary, "the vocabulary")
        self._ids = {piece: index for index, piece in enumerate(self.vocabulary)}
        self._tokenizer = tensorflow_text.FastBertTokenizer(
            [_STAND_INS.get(piece, piece) for piece in self.vocabulary],
            token_out_type=tf.int32,
            unknown_token=_STAND_INS["[UNK]"],
            support_detokenization=True,
            lower_case_nfd_strip_accents=lowercase,
        )

    @classmethod
    def from_file(cls, path: str | Path, lowercase: bool = True) -> "Tokenizer":
        """Read a `vocab.txt`."""
        return cls(read_vocabulary(path), lowercase)

    def save(self, path: str | Path) -> None:
        """Write a `vocab.txt`: one piece a line."""
        Path(path).write_text(self.to_text(), encoding="utf-8")

    def to_text(self) -> str:
        """The content of a `vocab.txt`: one piece a line."""
        return "\n".join(self.vocabulary) + "\n"

    def __len__(self) -> int:
        return len(self.vocabulary)

    def id(self, piece: str) -> int:
        """The id of a piece; KeyError if the vocabulary has none."""
        return self._ids[piece]

    @property
    def pad_id(self) -> int:
        """Id of [PAD]."""
        return self._ids["[PAD]"]

    @property
    def cls_id(self) -> int:
        """Id of [CLS]."""
        return self._ids["[CLS]"]

    @property
    def sep_id(self) -> int:
        """Id of [SEP]."""
        return self._ids["[SEP]"]

    @property
    def mask_id(self) -> int:
        """Id of [MASK]."""
        return self._ids["[MASK]"]

    @cached_property
    def special_ids(self) -> list[int]:
        """Ids of the special tokens, in the order of `SPECIAL_TOKENS`."""
        return [self._ids[token] for token in SPECIAL_TOKENS]

    @cached_property
    def continues_word(self) -> np.ndarray:
        """(V,) bool, True for the pieces that begin with ##."""
        return np.array([piece.startswith("##") for piece in self.vocabulary])

    def __call__(self, texts: Any) -> Any:
        """Token ids of a batch of texts.

        Args:
            texts: (B,) strings: a list, an array, or a string tensor, eager or symbolic.

        Returns:
            RaggedTensor (B, None) int32, without [CLS] and [SEP].
        """
        return self._tokenizer.tokenize(self._with_stand_ins(tf.convert_to_tensor(texts, tf.string)))

    def _with_stand_ins(self, texts: tf.Tensor) -> tf.Tensor:
        """Special tokens replaced by their stand-ins, if any text has a bracket at all."""

        def replace() -> tf.Tensor:
            replaced = texts
            for token, stand_in in _STAND_INS.items():
                filled = stand_in + " " * (len(token) - len(stand_in.encode()))
                pattern = token.replace("[", r"\[").replace("]", r"\]")
                replaced = tf.strings.regex_replace(replaced, pattern, filled)
            return replaced

        # five searches cost as much as a third of the tokenization, one much less
        marked = tf.reduce_any(tf.strings.regex_full_match(texts, r"(?s).*\[[A-Z].*"))
        return tf.cond(marked, replace, lambda: texts)

    def encode(self, text: str) -> Encoding:
        """Ids, tokens and character offsets of one text."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """Ids, tokens and character offsets of each text."""
        ids, starts, ends = self._tokenizer.tokenize_with_offsets(
            self._with_stand_ins(tf.convert_to_tensor(list(texts), tf.string))
        )
        rows = zip(texts, ids.to_list(), starts.to_list(), ends.to_list(), strict=True)
        return [self._encoding(*row) for row in rows]

    def _encoding(self, text: str, ids: list[int], starts: list[int], ends: list[int]) -> Encoding:
        tokens = [self.vocabulary[i] for i in ids]
        if text.isascii():
            position = np.arange(len(text) + 1)
        else:  # byte offset → character offset
            lengths = [len(character.encode()) for character in text]
            position = np.append(np.repeat(np.arange(len(text)), lengths), len(text))
        # a stand-in covers the first bytes of the special token: its end is moved to the closing bracket
        literal = [
            token in _STAND_INS and text[position[start] :].startswith(token)
            for token, start in zip(tokens, starts, strict=True)
        ]
        ends = [
            start + len(token) if is_literal else end
            for token, start, end, is_literal in zip(tokens, starts, ends, literal, strict=True)
        ]
        return Encoding(ids, tokens, position[starts].tolist(), position[ends].tolist())

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids: pieces joined, special tokens but [MASK] and [UNK] left out.

        White space and, if `lowercase`, case are not recovered.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        words: list[str] = []
        for token_id in token_ids:
            if not 0 <= token_id < len(self):
                raise ValueError(f"token id {token_id} is outside the vocabulary of {len(self)} pieces")
            piece = self.vocabulary[token_id]
            if piece in ("[PAD]", "[CLS]", "[SEP]"):
                continue
            if piece.startswith("##") and words:
                words[-1] += piece[2:]
            else:
                words.append(piece)
        return " ".join(words)
