"""Which documents are kept: their language, their length, and signs of text that nobody wrote to be read."""

import re
from collections.abc import Sequence
from functools import cache

_WORD = re.compile(r"\S+")
_READ_FOR_LANGUAGE = 1_000  # characters


def is_readable(text: str) -> bool:
    """Whether a document looks like text, by the rules of Gopher that do not depend on the language or the length.

    The mean length of a word is 2 to 10 characters, at most one word in ten is a # or …, at most 90 % of the lines
    begin with a bullet, at most 30 % end with an ellipsis, and four of five words have a letter. In scripts without
    spaces, only the rules about lines count.

    Source: Rae et al. 2021, appendix A.1.1, https://arxiv.org/abs/2112.11446
    """
    lines = text.split("\n")
    if sum(line.lstrip().startswith(("•", "-", "*", "●")) for line in lines) > 0.9 * len(lines) > 1:
        return False
    if sum(line.rstrip().endswith(("…", "...")) for line in lines) > 0.3 * len(lines) > 1:
        return False
    words = _WORD.findall(text)
    if not text.isascii() and len(text) > 20 * len(words):  # no spaces between words
        return True
    if not 2 <= sum(map(len, words)) / max(len(words), 1) <= 10:
        return False
    if text.count("#") + text.count("…") + text.count("...") > 0.1 * len(words):
        return False
    return sum(any(map(str.isalpha, word)) for word in words) >= 0.8 * len(words)


def language_of(text: str) -> str:
    """The ISO 639-1 code of the language of a text, by py3langid.

    Raises:
        ImportError: py3langid is not installed.
    """
    return _identify()(text[:_READ_FOR_LANGUAGE])[0]


@cache
def _identify():  # type: ignore[no-untyped-def]
    from py3langid.langid import classify

    return classify


def is_kept(text: str, languages: Sequence[str], quality: bool) -> bool:
    """Whether a document passes the filters.

    Args:
        text: the document.
        languages: ISO 639-1 codes of the languages that are kept; empty for all.
        quality: whether only documents that look like text are kept.
    """
    return (not quality or is_readable(text)) and (not languages or language_of(text) in languages)
