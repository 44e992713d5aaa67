import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf
import tensorflow_text

from .template import BERT_TEMPLATE, ROLES, SpecialTokens, Template

# TensorFlow Text loses what follows a NUL, or never comes back; another control character says as little
_NUL, _NOT_NUL = "\0", "\1"

# the characters of a keyboard: whoever types will type these
KEYBOARD = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in texts as it is written, before what is between is cut into tokens.

    Attributes:
        text: as the vocabulary spells it.
        ignore_case: it is found in other cases too.
        strips_left, strips_right: the white space before it, and behind it, belongs to it.
    """

    text: str
    ignore_case: bool = False
    strips_left: bool = False
    strips_right: bool = False

    def __post_init__(self) -> None:
        if not self.text.strip() or self.text != self.text.strip():
            raise ValueError(f"an added token is {self.text!r}; it must not be empty, begin or end with white space")

    @property
    def pattern(self) -> str:
        """An expression that RE2 and Python understand alike."""
        spaces = r"[\t\n\f\r ]*"  # what \s means to RE2; to Python it is more
        case = f"(?i:{re.escape(self.text)})" if self.ignore_case else re.escape(self.text)
        return f"{spaces * self.strips_left}{case}{spaces * self.strips_right}"


@dataclass(frozen=True)
class Encoding:
    """One tokenized text.

    Attributes:
        token_ids: ids.
        tokens: tokens of the vocabulary.
        starts: index of each token's first character in the text.
        ends: index after its last character.
    """

    token_ids: list[int]
    tokens: list[str]
    starts: list[int]
    ends: list[int]


class Tokenizer(ABC):
    """Text ↔ token ids, for one string, a batch, inside `tf.data` and inside a graph.

    The same operations run in training and in an exported graph, so that both see the same ids. Special tokens written
    in the text become their ids.

    Args:
        vocabulary: tokens, the index being the id.
        special: spelling of the special tokens.
        template: how texts become rows of tokens.
        added: more tokens of the vocabulary that are found in texts as they are written.

    Attributes:
        filenames: the files that `files` gives and `from_files` takes.
        strips_before_mask: the space before a mask belongs to the mask, where a word has its space in front of it.

    Raises:
        ValueError: a special or added token missing from the vocabulary, a token twice, or a template with a role that
            has no token.
    """

    filenames: ClassVar[tuple[str, ...]]
    strips_before_mask: ClassVar[bool] = True

    def __init__(
        self,
        vocabulary: Sequence[str],
        special: SpecialTokens,
        template: Template = BERT_TEMPLATE,
        added: Sequence[AddedToken] = (),
    ) -> None:
        self.vocabulary = list(vocabulary)
        self.special = special
        self.template = template
        tokens = special.by_role
        self.added = [token for token in added if token.text not in tokens.values()]
        self._ids = {piece: index for index, piece in enumerate(self.vocabulary)}
        missing = [token for token in tokens.values() if token not in self._ids]
        if missing:
            raise ValueError(f"the vocabulary has no {', '.join(missing)}; which tokens are its special tokens?")
        lost = [token.text for token in self.added if token.text not in self._ids]
        if lost:
            raise ValueError(f"the added tokens {lost[:5]} are not in the vocabulary")
        if len(self._ids) != len(self.vocabulary):
            twice = [piece for index, piece in enumerate(self.vocabulary) if self._ids[piece] != index]
            raise ValueError(f"the vocabulary has tokens twice: {twice[:5]}")
        if roleless := sorted(template.roles - set(tokens)):
            raise ValueError(f"the template {template.single!r} needs tokens for {roleless}, which have none")
        self._role_ids = {role: self._ids[token] for role, token in tokens.items()}
        self.special_ids = list(self._role_ids.values())
        roles = [AddedToken(token) for token in dict.fromkeys(tokens.values()) if token != special.mask]
        mask = [] if special.mask is None else [AddedToken(special.mask, strips_left=self.strips_before_mask)]
        written = [*roles, *mask, *self.added]
        written.sort(key=lambda token: -len(token.text))  # of two that begin alike the longer one is meant
        self._literals = tuple(token.text for token in written)
        self._literal_ids = [self._ids[literal] for literal in self._literals]
        self._any_case = {token.text.lower(): token.text for token in written if token.ignore_case}
        self.special_pattern = "|".join(token.pattern for token in written)

    def __call__(self, texts: Any) -> Any:
        """Token ids of a batch of texts.

        Args:
            texts: (B,) strings: a list, an array, or a string tensor, eager or symbolic.

        Returns:
            RaggedTensor (B, None) int32, without [CLS] and [SEP].
        """
        texts = tf.strings.regex_replace(string_tensor(texts), _NUL, _NOT_NUL)
        marked = self._marked(texts)
        parts, borders = tf.cond(marked, lambda: self._cut(texts), lambda: (texts, tf.zeros(0, tf.int64)))
        ids = self._tokenize(parts)
        return tf.cond(marked, lambda: self._joined(parts, borders, ids), lambda: ids)

    def _marked(self, texts: tf.Tensor) -> tf.Tensor:
        """Whether a special token is written in any of the texts."""
        return tf.reduce_any(tf.strings.regex_full_match(texts, f"(?s).*(?:{self.special_pattern}).*"))

    def _cut(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The special tokens of all texts and what is between them, and where each text begins and ends."""
        rows = tensorflow_text.regex_split(texts, self.special_pattern, self.special_pattern)
        return rows.flat_values, rows.row_splits

    def _joined(self, parts: tf.Tensor, borders: tf.Tensor, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """The ids of each text; special tokens among its parts have their own."""
        stripped = tf.strings.strip(parts)
        role = stripped[:, None] == tf.constant(list(self._literals))
        if self._any_case:
            folded = [literal.lower() if literal.lower() in self._any_case else "" for literal in self._literals]
            lower = tf.strings.lower(stripped, "utf-8")
            role |= (lower[:, None] == tf.constant(folded)) & (lower != "")[:, None]
        is_special = tf.reduce_any(role, 1)
        special, ordinary = tf.where(is_special)[:, 0], tf.where(~is_special)[:, 0]
        own = tf.gather(tf.constant(self._literal_ids), tf.argmax(tf.gather(role, special), 1))[:, None]
        rows = tf.concat([own, tf.gather(ids, ordinary)], 0)
        rows = tf.gather(rows, tf.argsort(tf.concat([special, ordinary], 0)))
        return tf.RaggedTensor.from_row_splits(rows, borders).merge_dims(1, 2)

    @abstractmethod
    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """(B, None) int32 ids of (B,) strings without special tokens in them."""

    @abstractmethod
    def _spans(self, texts: list[str]) -> list[list[tuple[int, int, int]]]:
        """(id, first character, end) of each token of each text, without special tokens in them."""

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """Ids, tokens and character offsets of each text; the space before a word is not part of its token."""
        check_is_list(texts)
        # the same expression as in the graph, in Python's spelling
        cut = [re.split(f"({self.special_pattern})", text.replace(_NUL, _NOT_NUL)) for text in texts]
        ordinary = [part for row in cut for part in row[::2]]
        spans = iter(self._spans(ordinary) if ordinary else [])
        return [self._encoding(row, spans) for row in cut]

    def _encoding(self, parts: list[str], spans: Iterator[list[tuple[int, int, int]]]) -> Encoding:
        """One text, from its ordinary parts with a special token between each two."""
        encoding = Encoding([], [], [], [])
        start = 0
        for index, part in enumerate(parts):
            token = part.strip()
            token = token if token in self._literals else self._any_case.get(token.lower(), token)
            found = [(self._ids[token], len(part) - len(token), len(part))] if index % 2 else next(spans)
            for token_id, first, end in found:
                encoding.token_ids.append(token_id)
                encoding.tokens.append(self.vocabulary[token_id])
                encoding.starts.append(start + first)
                encoding.ends.append(start + end)
            start += len(part)
        return encoding

    @property
    def _common_settings(self) -> dict[str, Any]:
        """The part of `settings` that all kinds have."""
        added = [asdict(token) for token in self.added]
        return {"special": self.special.by_role, "template": self.template.to_dict(), "added": added}

    @staticmethod
    def _from_common(settings: dict[str, Any]) -> dict[str, Any]:
        """The inverse of `_common_settings`: the arguments that they stand for, and the rest as it is."""
        special = SpecialTokens(**dict.fromkeys(ROLES) | settings["special"])
        added = [AddedToken(**token) for token in settings["added"]]
        return settings | {"special": special, "template": Template(**settings["template"]), "added": added}

    @abstractmethod
    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of ids, without the special tokens but the unknown and the mask.

        Raises:
            ValueError: an id outside the vocabulary.
        """

    @abstractmethod
    def subset(self, token_ids: Sequence[int]) -> Self:
        """A tokenizer of the same kind with only these tokens, in this order.

        Raises:
            ValueError: a special token is not among them, or a token that the kind cannot do without.
        """

    def needed(self, counts: np.ndarray, min_count: int = 1) -> list[int]:
        """Ids of the tokens that texts like these need, in their order; `subset` makes a tokenizer of them.

        Args:
            counts: (V,) how often each token occurs in the texts.
            min_count: rarer tokens are left out. With 1, the tokenizer of the rest cuts these texts as this one does.
        """
        often, seen = ({self.vocabulary[i] for i in np.flatnonzero(counts >= least)} for least in (min_count, 1))
        kept = often | self._indispensable(often, seen) | set(self._literals)
        return [index for index, piece in enumerate(self.vocabulary) if piece in kept]

    @abstractmethod
    def _indispensable(self, often: set[str], seen: set[str]) -> set[str]:
        """Tokens that the frequent ones are made of, or that spell what has no token of its own."""

    @property
    @abstractmethod
    def continues_word(self) -> np.ndarray:
        """(V,) bool, True for the tokens inside a word, after its first."""

    @abstractmethod
    def resources(self) -> Any:
        """What a SavedModel must track so that the graph of `__call__` finds its tables again."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The keyword arguments of `from_files`, as JSON types."""

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """The content of each of `filenames`."""

    @classmethod
    @abstractmethod
    def from_files(cls, paths: dict[str, Path], **settings: Any) -> Self:
        """The inverse of `files` and `settings`; `paths` says where each of `filenames` lies."""

    def role_id(self, role: str) -> int:
        """The id of the special token of a role: "pad", "unk", "cls", "sep", "mask", "bos", "eos".

        Raises:
            ValueError: the vocabulary has no token for it.
        """
        if role not in self._role_ids:
            raise ValueError(f"this {type(self).__name__} has no {role} token, which is needed here")
        return self._role_ids[role]

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        return self.role_id("pad")

    @property
    def unk_id(self) -> int:
        """The id of what has no token."""
        return self.role_id("unk")

    @property
    def mask_id(self) -> int:
        """The id of a token that is to be guessed."""
        return self.role_id("mask")

    def __len__(self) -> int:
        return len(self.vocabulary)

    def id(self, piece: str) -> int:
        """The id of a token; KeyError if the vocabulary has none."""
        return self._ids[piece]

    def encode(self, text: str) -> Encoding:
        """Ids, tokens and character offsets of one text."""
        return self.encode_batch([text])[0]

    @cached_property
    def _left_out(self) -> set[int]:
        """Ids that `decode` leaves out."""
        return {index for role, index in self._role_ids.items() if role not in ("unk", "mask")}

    def _pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The tokens that `decode` puts together."""
        for token_id in token_ids:
            if not 0 <= token_id < len(self):
                raise ValueError(f"token id {token_id} is outside the vocabulary of {len(self)} tokens")
        return [self.vocabulary[i] for i in token_ids if i not in self._left_out]


def character_positions(text: str) -> np.ndarray:
    """(bytes + 1,) the index of the character that each byte of the text's UTF-8 belongs to, and the end."""
    if text.isascii():
        return np.arange(len(text) + 1)
    lengths = [len(character.encode()) for character in text]
    return np.append(np.repeat(np.arange(len(text)), lengths), len(text))


def check_is_list(texts: Any) -> None:
    """Raise ValueError for one string, whose letters would be taken for texts."""
    if isinstance(texts, str | bytes):
        raise ValueError("pass a list of texts, not one string")


def string_tensor(texts: Any) -> tf.Tensor:
    """(B,) strings."""
    check_is_list(texts)
    return tf.convert_to_tensor(texts if tf.is_tensor(texts) else list(texts), tf.string)
