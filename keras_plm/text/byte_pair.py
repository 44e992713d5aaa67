import json
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tensorflow as tf
import tensorflow_text

from .byte_pair_words import SPACE, WordRule, split_words
from .readers.files import read_text
from .template import ROBERTA_TEMPLATE, SpecialTokens, Template
from .tokenizer import AddedToken, Tokenizer, character_positions, string_tensor

ROBERTA_TOKENS = SpecialTokens(pad="<pad>", unk="<unk>", cls="<s>", sep="</s>", mask="<mask>")
_LENGTHS = [16, 64, 256, 1024]  # upper limits of word groups in bytes; a last group has all longer words
_NEVER = np.iinfo(np.int32).max  # the rank of a pair that is not merged


class BytePairTokenizer(Tokenizer):
    """Byte-level byte-pair encoding, the tokenizer of GPT-2 and RoBERTa. It has no unknown tokens and is lossless.

    Each word, with the space before it, is converted to bytes. Then neighboring tokens are merged until no known pair
    is left; the pair that was learned first is merged first. All words of a batch are merged together, as integers.
    Each distinct word is merged once.

    Args:
        vocabulary: tokens; the index is the id. Bytes are written as GPT-2's printable characters (Ġ is a space).
        merges: pairs of tokens, "Ġ t", in the order in which they were learned.
        special: spelling of the special tokens.
        add_prefix_space: add a space before the text, so that its first word is tokenized like all other words.
        template: how texts become rows of tokens.
        added: additional tokens of the vocabulary that are recognized in texts literally.
        words: the rule that splits a text into words: "gpt2", "smollm", "qwen2" or "llama3".
        nfc: normalize texts to Unicode's composed form, NFC (Qwen2).
        ignore_merges: a word that is a token is not split, even if no merges make it (Llama 3).

    Raises:
        ValueError: another name for `words`; a special token or a printable ASCII character is missing from the
            vocabulary; a token occurs twice; or a merge is not a pair of tokens whose concatenation is a token.

    Source: Radford et al. 2019, §2.2; Sennrich et al. 2016, §3.2, https://arxiv.org/abs/1508.07909
    Differs: from `keras_hub.tokenizers.BytePairTokenizer`: no string operations in the loop, no growing table, no lost
        characters, and offsets. A space before a mask token belongs to the mask, as in Hugging Face's tokenizer.
    """

    filenames = ("vocab.json", "merges.txt")

    def __init__(
        self,
        vocabulary: Sequence[str],
        merges: Sequence[str],
        special: SpecialTokens = ROBERTA_TOKENS,
        add_prefix_space: bool = False,
        template: Template = ROBERTA_TEMPLATE,
        added: Sequence[AddedToken] = (),
        words: WordRule = "gpt2",
        nfc: bool = False,
        ignore_merges: bool = False,
    ) -> None:
        super().__init__(vocabulary, special, template, added)
        if words not in get_args(WordRule):
            raise ValueError(f"words={words!r}; choose one of {', '.join(get_args(WordRule))}")
        self.words = words
        self.nfc = nfc
        self.ignore_merges = ignore_merges
        self.merges = list(merges)
        self.add_prefix_space = add_prefix_space
        missing = [c for c in BYTE_CHARACTERS[0x20:0x7F] if c not in self._ids]
        if missing:
            raise ValueError(f"the vocabulary has no token for the bytes written as {missing[:5]}; is it byte-level?")
        # some vocabularies lack bytes that were in no text: Hugging Face's tokenizers leave them out, and so does this
        self._lost_bytes = {byte for byte, c in enumerate(BYTE_CHARACTERS) if c not in self._ids}
        self._byte_ids = tf.constant([self._ids.get(c, -1) for c in BYTE_CHARACTERS])
        keys, merged = [], []
        for rank, merge in enumerate(self.merges):
            left, _, right = merge.partition(" ")
            if not {left, right, left + right} <= self._ids.keys():
                raise ValueError(f"merge {rank}, {merge!r}, is not a pair of tokens that together are a token")
            keys.append(self._ids[left] * len(self) + self._ids[right])
            merged.append(self._ids[left + right])
        # a table cannot be empty, so without merges it gets a pair that never occurs
        self._merged = tf.constant(merged or [0])
        self._ranks = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(keys or [-1], tf.int64), tf.constant(list(range(max(len(keys), 1))), tf.int64)
            ),
            int(_NEVER),
        )
        whole = {self._bytes_of(token): index for token, index in self._ids.items()} if ignore_merges else {b"": -1}
        self._whole_words = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(list(whole)), tf.constant(list(whole.values()))), -1
        )
        self._word_ids = tf.function(self._merge_words, input_signature=[tf.TensorSpec((None,), tf.string)])

    @classmethod
    def from_files(cls, paths: dict[str, Path], **settings: Any) -> "BytePairTokenizer":
        """Read a `vocab.json` (token → id) and a `merges.txt` (one pair per line)."""
        vocabulary = read_piece_ids(paths["vocab.json"])
        lines = read_text(paths["merges.txt"]).splitlines()
        merges = [line for line in lines if line and not line.startswith("#version")]
        return cls(vocabulary, merges, **cls._from_common(settings))

    def files(self) -> dict[str, bytes]:
        ids = {piece: index for index, piece in enumerate(self.vocabulary)}
        return {
            "vocab.json": json.dumps(ids, ensure_ascii=False).encode(),
            "merges.txt": "\n".join(["#version: 0.2", *self.merges, ""]).encode(),
        }

    def settings(self) -> dict[str, Any]:
        return {
            "add_prefix_space": self.add_prefix_space,
            "words": self.words,
            "nfc": self.nfc,
            "ignore_merges": self.ignore_merges,
            **self._common_settings,
        }

    def resources(self) -> Any:
        return [self._ranks, self._merged, self._byte_ids, self._whole_words]

    def subset(self, token_ids: Sequence[int]) -> "BytePairTokenizer":
        pieces = [self.vocabulary[i] for i in token_ids]
        kept = set(pieces)
        merges = [merge for merge in self.merges if {*merge.split(" "), merge.replace(" ", "")} <= kept]
        rest = (
            self.special,
            self.add_prefix_space,
            self.template,
            self.added,
            self.words,
            self.nfc,
            self.ignore_merges,
        )
        return BytePairTokenizer(pieces, merges, *rest)

    def _indispensable(self, often: set[str], seen: set[str]) -> set[str]:
        ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(self.merges)}
        bytes_there = {character for character in BYTE_CHARACTERS if character in self._ids}
        return {*bytes_there, *(part for piece in often for part in _steps(piece, ranks))}

    @cached_property
    def continues_word(self) -> np.ndarray:
        return np.array([not piece.startswith("Ġ") for piece in self.vocabulary])

    def _tokenize(self, texts: tf.Tensor) -> tf.RaggedTensor:
        if self.nfc:
            texts = tensorflow_text.normalize_utf8(texts, "NFC")
        if self.add_prefix_space:
            texts = tf.strings.regex_replace(texts, f"^([^{SPACE}])", r" \1")
        words = split_words(texts, self.words)
        unique, index = tf.unique(words.flat_values)
        ids = tf.gather(self._word_ids(unique), index)
        return words.with_flat_values(ids).merge_dims(1, 2)

    def _merge_words(self, words: tf.Tensor) -> tf.RaggedTensor:
        """(W, None) token ids of the words."""
        byte_values = tf.strings.unicode_decode(words, "ISO-8859-1")
        ids = byte_values.with_flat_values(tf.gather(self._byte_ids, byte_values.flat_values))
        if self._lost_bytes:
            ids = tf.ragged.boolean_mask(ids, ids >= 0)
        lengths = ids.row_lengths()
        # in groups of similar length, so that one very long word does not pad all words to its length
        group = tf.searchsorted(tf.constant(_LENGTHS, lengths.dtype), lengths)
        rows = [tf.where(group == i)[:, 0] for i in range(len(_LENGTHS) + 1)]
        parts = [self._merge_rows(tf.gather(ids, row)) for row in rows]
        merged = tf.gather(tf.concat(parts, 0), tf.argsort(tf.concat(rows, 0)))
        if not self.ignore_merges:
            return merged
        whole = self._whole_words.lookup(words)
        alone, others = tf.where(whole >= 0)[:, 0], tf.where(whole < 0)[:, 0]
        found = tf.concat([tf.gather(whole, alone)[:, None], tf.gather(merged, others)], 0)
        return tf.gather(found, tf.argsort(tf.concat([alone, others], 0)))

    def _merge_rows(self, ids: tf.RaggedTensor) -> tf.RaggedTensor:
        """Merge pairs until no row has a known pair. In each step and row, the pair with the lowest rank is merged."""
        row_ids = ids.to_tensor(-1)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        ranks = self._rank(row_ids[:, :-1], row_ids[:, 1:])

        def merge(row_ids: tf.Tensor, ranks: tf.Tensor, lengths: tf.Tensor) -> tuple:
            place = tf.argmin(ranks, 1, tf.int32)
            rank = tf.gather(ranks, place, batch_dims=1)
            merging = rank < _NEVER
            piece = tf.gather(self._merged, tf.where(merging, rank, 0))
            width = tf.shape(row_ids)[1]
            position = tf.range(width)[None, :]
            at = place[:, None]
            here = merging[:, None] & (position == at)
            # everything after the pair moves one position to the left
            moved = merging[:, None] & (position > at)
            shifted = tf.concat([row_ids[:, 1:], tf.fill([tf.shape(row_ids)[0], 1], -1)], 1)
            row_ids = tf.where(here, piece[:, None], tf.where(moved, shifted, row_ids))
            shifted = tf.concat([ranks[:, 1:], tf.fill([tf.shape(ranks)[0], 1], _NEVER)], 1)
            ranks = tf.where(moved[:, :-1], shifted, ranks)
            # two pairs are new: one begins with the new token, and one ends with it
            before = tf.gather(row_ids, tf.maximum(place - 1, 0), batch_dims=1)
            behind = tf.gather(row_ids, tf.minimum(place + 1, width - 1), batch_dims=1)
            behind = tf.where(place + 1 < width, behind, -1)
            begins, ends = self._rank(piece, behind), self._rank(before, piece)
            inner = position[:, :-1]
            ranks = tf.where(here[:, :-1], begins[:, None], ranks)
            ranks = tf.where(merging[:, None] & (inner == at - 1), ends[:, None], ranks)
            return row_ids, ranks, lengths - tf.cast(merging, tf.int32)

        def unfinished(row_ids: tf.Tensor, ranks: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
            return tf.reduce_any(ranks < _NEVER)

        row_ids, _, lengths = tf.while_loop(unfinished, merge, (row_ids, ranks, lengths))
        return tf.RaggedTensor.from_tensor(row_ids, lengths=lengths)

    def _rank(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """The rank of a pair: when it was learned; `_NEVER` for an unknown pair or padding (-1)."""
        key = tf.cast(left, tf.int64) * len(self) + tf.cast(right, tf.int64)
        rank = tf.cast(self._ranks.lookup(key), tf.int32)
        return tf.where((left >= 0) & (right >= 0), rank, _NEVER)

    def _spans(self, texts: list[str]) -> list[list[tuple[int, int, int]]]:
        ids = self._tokenize(string_tensor(texts)).to_list()
        rows = zip(texts, ids, strict=True)
        if not self.nfc:
            return [self._spans_of(text, row) for text, row in rows]
        return [_in_original(text, self._spans_of(unicodedata.normalize("NFC", text), row)) for text, row in rows]

    def _spans_of(self, text: str, ids: list[int]) -> list[tuple[int, int, int]]:
        """(id, first character, end) of each token; the tokens cover all bytes of the text."""
        lengths = np.array([len(self.vocabulary[i]) for i in ids], np.int64)
        ends = np.cumsum(lengths)
        position = character_positions(text)
        if self._lost_bytes:
            position = position[[i for i, byte in enumerate(text.encode()) if byte not in self._lost_bytes] + [-1]]
        added = int(ends[-1]) - len(position) + 1 if ids else 0  # the space of add_prefix_space
        spans: list[tuple[int, int, int]] = []
        for token_id, length, byte_end in zip(ids, lengths.tolist(), (ends - added).tolist(), strict=True):
            piece = self.vocabulary[token_id]
            byte_start = max(byte_end - length, 0)
            byte_start += min(len(piece) - len(piece.lstrip("Ġ")), byte_end - byte_start) - added * (not spans)
            first = int(position[max(byte_start, 0)])
            spans.append((token_id, first, int(position[byte_end - 1]) + 1 if byte_end > max(byte_start, 0) else first))
        return spans

    def token_bytes(self) -> list[bytes]:
        return [self._bytes_of(piece) for piece in self.vocabulary]

    def _bytes_of(self, piece: str) -> bytes:
        in_bytes = piece not in self._literals and all(character in _BYTE_OF for character in piece)
        return bytes(_BYTE_OF[character] for character in piece) if in_bytes else piece.encode()

    def decode(self, token_ids: Sequence[int]) -> str:
        """The exact text of ids. Special tokens are left out, except the unknown token and the mask.

        Bytes that do not form a character become the replacement character.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        content = b"".join(self._bytes_of(piece) for piece in self._pieces(token_ids))
        return content.decode(errors="replace")


def _in_original(text: str, spans: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Spans in a text whose NFC form has these spans."""
    if unicodedata.is_normalized("NFC", text):
        return spans
    # how many characters of the normalized text are made of the first k characters; a composed one counts at its end
    made = np.array([len(unicodedata.normalize("NFC", text[:k])) for k in range(len(text) + 1)])
    made = np.minimum.accumulate(made[::-1])[::-1]
    border = [int(np.searchsorted(made, j, side="right")) - 1 for j in range(int(made[-1]) + 1)]
    return [(token_id, border[start], border[end]) for token_id, start, end in spans]


def _steps(piece: str, ranks: dict[tuple[str, ...], int]) -> Iterator[str]:
    """The intermediate tokens when the bytes of a token are merged."""
    parts = list(piece)
    while len(parts) > 1:
        pairs = list(zip(parts, parts[1:], strict=False))
        at = min(range(len(pairs)), key=lambda i: ranks.get(pairs[i], _NEVER))
        if pairs[at] not in ranks:
            return  # a special token, which is not the result of merges
        parts[at : at + 2] = ["".join(pairs[at])]
        yield parts[at]


def read_piece_ids(path: Path) -> list[str]:
    """The tokens of a JSON file (token → id), in the order of their ids.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file has another format, or its ids are not 0, 1, 2, ….
    """
    try:
        ids = json.loads(read_text(path))
        pieces = sorted(ids, key=ids.__getitem__)
        if [ids[piece] for piece in pieces] != list(range(len(pieces))):
            raise ValueError("its ids are not 0, 1, 2, …")
    except (json.JSONDecodeError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a vocabulary of tokens and ids: {error}") from None
    return pieces


def _byte_characters() -> list[str]:
    """GPT-2's printable character for each of the 256 bytes."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


BYTE_CHARACTERS = _byte_characters()
_BYTE_OF = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}
