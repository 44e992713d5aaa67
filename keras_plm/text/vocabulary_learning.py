import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import tensorflow as tf
import tensorflow_text
from rich.progress import track

from .normalization import Normalizer
from .pair_merging import merged_pairs
from .readers.files import read_text
from .template import SpecialTokens

SPECIAL_TOKENS = tuple(SpecialTokens().by_role.values())

# As in BERT's code, each Han character is a separate word; kana and hangul are not.
_HAN = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0xF900, 0xFAFF),
        (0x2F800, 0x2FA1F))  # fmt: skip


class _Spacing(dict):
    """For `str.translate`: puts spaces around punctuation and Han characters."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        alone = (
            unicodedata.category(character).startswith("P")
            or (code < 128 and not character.isalnum() and not character.isspace())
            or any(first <= code <= last for first, last in _HAN)
        )
        self[code] = f" {character} " if alone else character
        return self[code]


def count_words(sentences: Iterable[str], lowercase: bool = True) -> Counter[str]:
    """How often each word occurs, after BERT's normalization and splitting.

    Args:
        sentences: texts.
        lowercase: lower-case and strip accents, as the tokenizer will do.

    Returns:
        Counter of words; each punctuation mark and each Han character is a separate word.

    Example:
        >>> sorted(count_words(["Café, café!"]).items())
        [('!', 1), (',', 1), ('cafe', 2)]
    """
    case, spaces = Normalizer(lowercase, lowercase, clean=True), tensorflow_text.FastBertNormalizer()
    spacing = _Spacing()
    counts: Counter[str] = Counter()
    iterator = iter(sentences)
    while batch := list(islice(iterator, 10_000)):
        normalized = b"\n".join(spaces.normalize(case(tf.constant(batch))).numpy()).decode()
        counts.update(normalized.translate(spacing).split())
    return counts


def learn_vocabulary(
    sentences: Iterable[str],
    size: int = 30_522,
    lowercase: bool = True,
    min_frequency: int = 2,
    max_characters: int = 6_000,
    progress: bool = False,
) -> list[str]:
    """Learn a WordPiece vocabulary of at most `size` tokens.

    It starts from single characters and merges the most frequent neighbors within words until the size is
    reached. A token that continues a word begins with `##`.

    Args:
        sentences: texts.
        size: maximum number of tokens, including the 5 special tokens.
        lowercase: first lower-case and strip accents.
        min_frequency: minimum number of occurrences of a merged pair.
        max_characters: number of characters to keep, the most frequent ones; rarer ones become [UNK].
        progress: show a progress bar.

    Returns:
        Tokens: special tokens, characters, then merges, most frequent first.

    Raises:
        ValueError: `sentences` has no word, or `size` is too small for the characters.

    Example:
        >>> learn_vocabulary(["low lower lowest"] * 3, size=17)[-3:]
        ['lowe', '##st', 'lower']

    Source: merges by frequency: Sennrich et al. 2016, §3.2, https://arxiv.org/abs/1508.07909; the `##`
        pieces: Wu et al. 2016, §4.1, https://arxiv.org/abs/1609.08144
    Differs: it merges by frequency; Google's unpublished learner maximized likelihood. It is thirteen times as
        fast as TensorFlow Text's learner, and it reaches the size if the corpus has enough tokens.
    """
    counts = {w: n for w, n in count_words(sentences, lowercase).items() if len(w) <= 100}
    if not counts:
        raise ValueError("the corpus is empty: no word to learn a vocabulary from")
    frequency: Counter[str] = Counter()
    for word, count in counts.items():
        for character in word:
            frequency[character] += count
    # by frequency, then by code point, so that equal counts give the same vocabulary everywhere
    known = {c for c, _ in sorted(frequency.items(), key=lambda f: (-f[1], f[0]))[:max_characters]}
    words, weights = [], []
    for word, count in counts.items():
        if known.issuperset(word):
            words.append([word[0], *(f"##{c}" for c in word[1:])])
            weights.append(count)
    pieces = [*SPECIAL_TOKENS, *sorted({piece for word in words for piece in word})]
    if size < len(pieces):
        raise ValueError(
            f"size={size} is smaller than the {len(pieces)} special tokens and characters of the corpus; "
            f"choose a larger size or reduce max_characters={max_characters}"
        )
    found = merged_pairs(words, weights, min_frequency, lambda left, right: left + right.removeprefix("##"))
    merges: Iterable[str] = islice((merged for _, merged in found), size - len(pieces))
    if progress:
        merges = track(merges, "learning the vocabulary", total=size - len(pieces))
    # two different merges can spell the same token
    return list(dict.fromkeys([*pieces, *merges]))


def read_vocabulary(path: str | Path) -> list[str]:
    """The tokens of a `vocab.txt`, one per line; the line number is the id.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not UTF-8.
    """
    pieces = read_text(Path(path)).split("\n")
    if pieces and not pieces[-1]:
        pieces.pop()
    return [piece.removesuffix("\r") for piece in pieces]
