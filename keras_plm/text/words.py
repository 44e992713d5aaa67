from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_text

from .tokenizer import character_positions, string_tensor

# Chinese and Japanese characters are words of their own: their tags are those of characters.
ALONE = r"\p{P}|\p{S}|\p{Han}|\p{Hiragana}|\p{Katakana}"
# What BERT's tokenizer itself puts spaces around: ASCII that is no letter or digit, punctuation, Chinese.
BERT_ALONE = (
    r"[!-/:-@\[-`{-~]|\p{P}|[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{20000}-\x{2a6df}"
    r"\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f}\x{2b820}-\x{2ceaf}\x{2f800}-\x{2fa1f}]"
)
_SPACE = r"[\s\p{Z}\x{85}]+"
# As corpora of tagged words cut a text: O'Neil, L.A., St., Baden-Württemberg and https://example.org are words, and the
# punctuation around them is apart, as is 's. Each alternative is one word, the last one any other character.
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
        ends: index after its last character.
    """

    words: list[str]
    starts: list[int]
    ends: list[int]


def split_words_in_graph(texts: Any, alone: str = ALONE) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Words of each text, with their first byte and the byte after their last, (B, None) each.

    A word is a run of letters, marks and digits; punctuation marks, symbols and Chinese or Japanese characters are
    words of their own; white space separates, and so does a NUL.

    Args:
        texts: (B,) strings in UTF-8.
        alone: expression of RE2 for what is a word of its own.
    """
    # TensorFlow Text loses what follows a NUL; of a space the places stay what they are
    texts = tf.strings.regex_replace(string_tensor(texts), "\0", " ")
    return tensorflow_text.regex_split_with_offsets(texts, f"{_SPACE}|{alone}", alone)


def split_words(texts: Sequence[str], alone: str = ALONE) -> list[Words]:
    """Words of each text with their characters, by the rule of `split_words_in_graph`.

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
    """The parts of each word of each sentence, by the rule of `split_words`; a word without parts is its own one.

    Example:
        >>> split_each([["O'Neil", "left"]])
        [[['O', "'", 'Neil'], ['left']]]
    """
    unique = list({word for words in sentences for word in words if not (word.isascii() and word.isalnum())})
    found = {word: words.words or [word] for word, words in zip(unique, split_words(unique), strict=True)}
    return [[found.get(word, [word]) for word in words] for words in sentences]
