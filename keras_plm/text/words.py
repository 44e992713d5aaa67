from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_text

from .tokenizer import character_positions, string_tensor

# Chinese and Japanese characters are words of their own: their tags are those of characters.
_ALONE = r"\p{P}|\p{S}|\p{Han}|\p{Hiragana}|\p{Katakana}"
_SPACE = r"[\s\p{Z}\x{85}]+"


class Words(NamedTuple):
    """The words of one text.

    Attributes:
        words: strings.
        starts: index of each word's first character in the text.
        ends: index after its last character.
    """

    words: list[str]
    starts: list[int]
    ends: list[int]


def split_words_in_graph(texts: Any) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Words of each text, with their first byte and the byte after their last, (B, None) each.

    A word is a run of letters, marks and digits; punctuation marks, symbols and Chinese or Japanese characters are
    words of their own; white space separates.

    Args:
        texts: (B,) strings in UTF-8.
    """
    delimiter = f"{_SPACE}|{_ALONE}"
    return tensorflow_text.regex_split_with_offsets(string_tensor(texts), delimiter, _ALONE)


def split_words(texts: Sequence[str]) -> list[Words]:
    """Words of each text with their characters, by the rule of `split_words_in_graph`.

    Example:
        >>> split_words(["Don't go, 小明!"])[0].words
        ['Don', "'", 't', 'go', ',', '小', '明', '!']
    """
    if not len(texts):
        return []
    words, starts, ends = (part.to_list() for part in split_words_in_graph(texts))
    found = []
    for text, pieces, first, last in zip(texts, words, starts, ends, strict=True):
        at = character_positions(text)
        found.append(
            Words([piece.decode() for piece in pieces], [int(at[i]) for i in first], [int(at[i]) for i in last])
        )
    return found
