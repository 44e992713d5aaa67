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

# TensorFlow Text drops the text after a NUL, or hangs; another control character is equivalent
_NUL, _NOT_NUL = "\0", "\1"

# the characters of a keyboard, which users are likely to type
KEYBOARD = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True)
class AddedToken:
    """A token that is recognized in texts literally, before the text around it is tokenized.

    Attributes:
        text: the token as in the vocabulary.
        ignore_case: whether it is recognized in upper and lower case.
        strips_left, strips_right: whether the white space before it, or after it, belongs to it.
        special: it is a control token, which `decode` leaves out.
    """

    text: str
    ignore_case: bool = False
    strips_left: bool = False
    strips_right: bool = False
    special: bool = False

    def __post_init__(self) -> None:
        if not self.text.strip() or self.text != self.text.strip():
            raise ValueError(f"an added token is {self.text!r}; it must not be empty, begin or end with white space")

    @property
    def pattern(self) -> str:
        """A regular expression with the same meaning in RE2 and Python."""
        spaces = r"[\t\n\f\r ]*"  # \s in RE2; in Python, \s matches more
        case = f"(?i:{re.escape(self.text)})" if self.ignore_case else re.escape(self.text)
        return f"{spaces * self.strips_left}{case}{spaces * self.strips_right}"


@dataclass(frozen=True)
class Encoding:
    """One tokenized text.

    Attributes:
        token_ids: the ids of the tokens.
        tokens: the tokens, as in the vocabulary.
        starts: index of each token's first character in the text.
        ends: index after each token's last character.
    """

    token_ids: list[int]
    tokens: list[str]
    starts: list[int]
    ends: list[int]


class Tokenizer(ABC):
    """Text ↔ token ids, for one string, a batch, inside `tf.data` and inside a graph.

    The same operations run in training and in an exported graph, so the ids are the same. Special tokens that are
    written in a text are converted to their ids.

    Args:
        vocabulary: tokens; the index is the id.
        special: spelling of the special tokens.
        template: how texts become rows of tokens.
        added: additional tokens of the vocabulary that are recognized in texts literally.

    Attributes:
        filenames: names of the files that `files` returns and `from_files` reads.
        strips_before_mask: whether the space before a mask belongs to the mask, as in tokenizers whose words include
            the space before them.

    Raises:
        ValueError: a special or added token is missing from the vocabulary, a token occurs twice, or the template has a
            role without a token.
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
            raise ValueError(f"the vocabulary has no {', '.join(missing)}; give the spelling of its special tokens")
        lost = [token.text for token in self.added if token.text not in self._ids]
        if lost:
            raise ValueError(f"the added tokens {lost[:5]} are not in the vocabulary")
        if len(self._ids) != len(self.vocabulary):
            twice = [piece for index, piece in enumerate(self.vocabulary) if self._ids[piece] != index]
            raise ValueError(f"the vocabulary has tokens twice: {twice[:5]}")
        if roleless := sorted(template.roles - set(tokens)):
            raise ValueError(f"the template {template.single!r} needs tokens for {roleless}, but `special` has none")
        self._role_ids = {role: self._ids[token] for role, token in tokens.items()}
        self.special_ids = list(self._role_ids.values())
        roles = [AddedToken(token) for token in dict.fromkeys(tokens.values()) if token != special.mask]
        mask = [] if special.mask is None else [AddedToken(special.mask, strips_left=self.strips_before_mask)]
        written = [*roles, *mask, *self.added]
        written.sort(key=lambda token: -len(token.text))  # if two tokens match, the longer one wins
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
        """Whether any of the texts contains a special token."""
        return tf.reduce_any(tf.strings.regex_full_match(texts, f"(?s).*(?:{self.special_pattern}).*"))

    def _cut(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Split all texts into special tokens and the strings between them; also return the row splits of the texts."""
        rows = tensorflow_text.regex_split(texts, self.special_pattern, self.special_pattern)
        return rows.flat_values, rows.row_splits

    def _joined(self, parts: tf.Tensor, borders: tf.Tensor, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Join the ids of the parts of each text; parts that are special tokens get their own ids."""
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

    @property
    def ids_around(self) -> tuple[list[int], list[int]]:
        """The ids of the special tokens before and after a single text, see `template`."""
        parts, before = self.template.parts(False), self.template.num_before("A", pair=False)
        ids = [self.role_id(part.name) for part in parts if not part.is_text]
        return ids[:before], ids[before:]

    def encode_batch(self, texts: Sequence[str]) -> list[Encoding]:
        """Ids, tokens and character offsets of each text. Offsets exclude the space before a word."""
        check_is_list(texts)
        # the same regular expression as in the graph, in Python
        cut = [re.split(f"({self.special_pattern})", text.replace(_NUL, _NOT_NUL)) for text in texts]
        ordinary = [part for row in cut for part in row[::2]]
        spans = iter(self._spans(ordinary) if ordinary else [])
        return [self._encoding(row, spans) for row in cut]

    def _encoding(self, parts: list[str], spans: Iterator[list[tuple[int, int, int]]]) -> Encoding:
        """The encoding of one text from its parts: ordinary parts and special tokens alternate."""
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
        """The part of `settings` that all kinds of tokenizers share."""
        added = [asdict(token) for token in self.added]
        return {"special": self.special.by_role, "template": self.template.to_dict(), "added": added}

    @staticmethod
    def _from_common(settings: dict[str, Any]) -> dict[str, Any]:
        """The inverse of `_common_settings`: constructor arguments; other settings are not changed."""
        special = SpecialTokens(**dict.fromkeys(ROLES) | settings["special"])
        added = [AddedToken(**token) for token in settings["added"]]
        return settings | {"special": special, "template": Template(**settings["template"]), "added": added}

    @abstractmethod
    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids. Special tokens are left out, except the unknown token and the mask.

        Raises:
            ValueError: an id is outside the vocabulary.
        """

    def continuation(self, token_ids: Sequence[int]) -> str:
        """Like `decode`, for ids that follow other ids: a space before the first word is kept."""
        return self.decode(token_ids)

    @abstractmethod
    def subset(self, token_ids: Sequence[int]) -> Self:
        """A tokenizer of the same kind with only these tokens, in this order.

        Raises:
            ValueError: a special token, or a token that this kind of tokenizer needs, is missing.
        """

    def needed(self, counts: np.ndarray, min_count: int = 1) -> list[int]:
        """Ids of the tokens that such texts need, in their order; `subset` makes a tokenizer from them.

        Args:
            counts: (V,) how often each token occurs in the texts.
            min_count: rarer tokens are left out. With 1, the smaller tokenizer tokenizes these texts like this one.
        """
        often, seen = ({self.vocabulary[i] for i in np.flatnonzero(counts >= least)} for least in (min_count, 1))
        kept = often | self._indispensable(often, seen) | set(self._literals)
        return [index for index, piece in enumerate(self.vocabulary) if piece in kept]

    @abstractmethod
    def _indispensable(self, often: set[str], seen: set[str]) -> set[str]:
        """Tokens that must be kept: parts of the frequent tokens, and characters that spell words without a token."""

    @property
    @abstractmethod
    def continues_word(self) -> np.ndarray:
        """(V,) bool, True for tokens that continue a word."""

    @abstractmethod
    def resources(self) -> Any:
        """The tables of the graph of `__call__`, which a SavedModel must track."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The keyword arguments of `from_files`, as JSON types."""

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """The content of each of `filenames`."""

    @classmethod
    @abstractmethod
    def from_files(cls, paths: dict[str, Path], **settings: Any) -> Self:
        """The inverse of `files` and `settings`; `paths` has the path of each of `filenames`."""

    def role_id(self, role: str) -> int:
        """The id of the special token with this role: "pad", "unk", "cls", "sep", "mask", "bos", "eos".

        Raises:
            ValueError: the vocabulary has no token for the role.
        """
        if role not in self._role_ids:
            raise ValueError(f"this {type(self).__name__} has no {role} token, which is needed here")
        return self._role_ids[role]

    @property
    def pad_id(self) -> int:
        """The id of padding; 0 if the vocabulary has no token for it, because masks hide padding."""
        return self._role_ids.get("pad", 0)

    @property
    def unk_id(self) -> int:
        """The id of the unknown token."""
        return self.role_id("unk")

    @property
    def mask_id(self) -> int:
        """The id of the mask token."""
        return self.role_id("mask")

    def __len__(self) -> int:
        return len(self.vocabulary)

    def id(self, piece: str) -> int:
        """The id of a token; KeyError if it is not in the vocabulary."""
        return self._ids[piece]

    def token_bytes(self) -> list[bytes]:
        """The UTF-8 bytes that each token adds to a text, in the order of the ids.

        Raises:
            ValueError: the text of a token depends on the tokens beside it.
        """
        raise ValueError(f"the text of a token of a {type(self).__name__} depends on its neighbors; use byte-level BPE")

    def encode(self, text: str) -> Encoding:
        """Ids, tokens and character offsets of one text."""
        return self.encode_batch([text])[0]

    @cached_property
    def left_out_ids(self) -> set[int]:
        """Ids that `decode` leaves out."""
        roles = {index for role, index in self._role_ids.items() if role not in ("unk", "mask")}
        return roles | {self._ids[token.text] for token in self.added if token.special}

    def _pieces(self, token_ids: Sequence[int]) -> list[str]:
        """The tokens that `decode` joins."""
        for token_id in token_ids:
            if not 0 <= token_id < len(self):
                raise ValueError(f"token id {token_id} is outside the vocabulary of {len(self)} tokens")
        return [self.vocabulary[i] for i in token_ids if i not in self.left_out_ids]


def character_positions(text: str) -> np.ndarray:
    """(bytes + 1,) the index of the character of each byte of the text in UTF-8, and the end."""
    if text.isascii():
        return np.arange(len(text) + 1)
    lengths = [len(character.encode()) for character in text]
    return np.append(np.repeat(np.arange(len(text)), lengths), len(text))


def check_is_list(texts: Any) -> None:
    """Raise ValueError for a single string, because its letters would be treated as texts."""
    if isinstance(texts, str | bytes):
        raise ValueError("pass a list of texts, not one string")


def string_tensor(texts: Any) -> tf.Tensor:
    """Convert texts to a (B,) string tensor."""
    check_is_list(texts)
    return tf.convert_to_tensor(texts if tf.is_tensor(texts) else list(texts), tf.string)
