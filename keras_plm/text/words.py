from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_text

from .tokenizer import character_positions, string_tensor

# Each Chinese or Japanese character is a separate word, so these scripts have one tag per character.
ALONE = r"\p{P}|\p{S}|\p{Han}|\p{Hiragana}|\p{Katakana}"
# Characters around which BERT's tokenizer adds spaces: ASCII symbols, punctuation, Chinese characters.
BERT_ALONE = (
    r"[!-/:-@\[-`{-~]|\p{P}|[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{20000}-\x{2a6df}"
    r"\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f}\x{2b820}-\x{2ceaf}\x{2f800}-\x{2fa1f}]"
)
_SPACE = r"[\s\p{Z}\x{85}]+"
# Word boundaries as in corpora of tagged words: O'Neil, L.A., St., Baden-Württemberg and https://example.org are words.
# Punctuation around words is separate, and so is 's. Each alternative matches one word; the last one, any character.
_IN_WORD = r"[^\s\p{Z}\x{85}\p{P}\p{S}\p{Han}\p{Hiragana}\p{Katakana}]"
_TITLES = "St|Mr|Mrs|Ms|Dr|Jr|Sr|Inc|Ltd|Co|Corp|Prof|Gen|Col|Lt|Sgt|Rev|Hon|Capt|Mt|Ft"
CORPUS_WORDS = "|".join(
    (
        r"\p{Han}|\p{Hiragana}|\p{Katakana}",
        r"https?://[^\s\p{Z}]*",
        rf"(?:\p{{L}}\.){{2,}}|(?:{_TITLES})\.",
        rf"{_IN_WORD}+(?:[-.&/@_+=%#~*:?]+{_IN_WORD}+|['’]{_IN_WORD}{{2,}}|,\p{{N}}{_IN_WORD}*)*",
        r"['’](?:s|d|m|t|re|ve|ll)\b",
        r"\.\.+|--+",
        r"[^\s\p{Z}\x{85}]",
    )
)


class Words(NamedTuple):
    """The words of one text.

    Attributes:
        words: strings.
        starts: index of each word's first character in the text.
        ends: index after each word's last character.
    """

    words: list[str]
    starts: list[int]
    ends: list[int]


def split_words_in_graph(texts: Any, alone: str = ALONE) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """The words of each text, with their start and end in bytes, (B, None) each; the end is exclusive.

    A word is a run of letters, marks and digits. Each punctuation mark, symbol, and Chinese or Japanese character is a
    separate word. White space and NUL separate words.

    Args:
        texts: (B,) strings in UTF-8.
        alone: RE2 expression for strings that are separate words.
    """
    # TensorFlow Text drops the text after a NUL; a space instead keeps all offsets
    texts = tf.strings.regex_replace(string_tensor(texts), "\0", " ")
    return tensorflow_text.regex_split_with_offsets(texts, f"{_SPACE}|{alone}", alone)


def split_words(texts: Sequence[str], alone: str = ALONE) -> list[Words]:
    """The words of each text with their character offsets, split as in `split_words_in_graph`.

    Example:
        >>> split_words(["Don't go, 小明!"])[0].words
        ['Don', "'", 't', 'go', ',', '小', '明', '!']
    """
    if not len(texts):
        return []
    words, starts, ends = (part.to_list() for part in split_words_in_graph(texts, alone))
    found = []
    for text, pieces, first, last in zip(texts, words, starts, ends, strict=True):
        at = character_positions(text)
        found.append(
            Words([piece.decode() for piece in pieces], [int(at[i]) for i in first], [int(at[i]) for i in last])
        )
    return found


def split_each(sentences: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    """The parts of each word of each sentence, split as in `split_words`. A word that has no parts is kept whole.

    Example:
        >>> split_each([["O'Neil", "left"]])
        [[['O', "'", 'Neil'], ['left']]]
    """
    unique = list({word for words in sentences for word in words if not (word.isascii() and word.isalnum())})
    found = {word: words.words or [word] for word, words in zip(unique, split_words(unique), strict=True)}
    return [[found.get(word, [word]) for word in words] for words in sentences]
