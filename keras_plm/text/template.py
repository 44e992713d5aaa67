from dataclasses import dataclass, fields
from typing import Any, NamedTuple

_TEXTS = ("A", "B")


@dataclass(frozen=True)
class SpecialTokens:
    """The spelling of the special tokens, by role; None if the vocabulary has no token for a role."""

    pad: str | None = "[PAD]"
    unk: str | None = "[UNK]"
    cls: str | None = "[CLS]"
    sep: str | None = "[SEP]"
    mask: str | None = "[MASK]"
    bos: str | None = None
    eos: str | None = None

    @property
    def by_role(self) -> dict[str, str]:
        """The special tokens of the vocabulary, by role; two roles may share a token."""
        return {role: token for role, token in vars(self).items() if token is not None}


ROLES = tuple(field.name for field in fields(SpecialTokens))


class Part(NamedTuple):
    """One part of a row: a text ("A" or "B") or the role of a special token, and its segment."""

    name: str
    segment: int

    @property
    def is_text(self) -> bool:
        return self.name in _TEXTS


@dataclass(frozen=True)
class Template:
    """How texts become a row of tokens: the special tokens around one text and around a pair.

    A and B are the texts. Every other word is a role of `SpecialTokens`. ":1" after a word is its segment. This is the
    syntax of TemplateProcessing in Hugging Face's tokenizers.

    Args:
        single: template of a row with one text.
        pair: template of a row with two texts; None if pairs are not supported.

    Raises:
        ValueError: a role is unknown, a text is missing, occurs twice or is in the wrong order, or a segment is not a
            number.

    Example:
        >>> Template("A eos", None).num_special(pair=False)
        1

    Source: Devlin et al. 2019, figure 2, https://arxiv.org/abs/1810.04805
    """

    single: str = "cls A sep"
    pair: str | None = "cls A sep B:1 sep:1"

    def __post_init__(self) -> None:
        for words, texts in ((self.single, ["A"]), (self.pair, ["A", "B"])):
            if words is None:
                continue
            parts = _parse(words)
            if [part.name for part in parts if part.is_text] != texts:
                raise ValueError(f"the template {words!r} must have {' and '.join(texts)} once, in that order")
            unknown = [part.name for part in parts if not part.is_text and part.name not in ROLES]
            if unknown:
                raise ValueError(f"the template {words!r} names {unknown}; the roles are {', '.join(ROLES)}")

    def parts(self, pair: bool) -> list[Part]:
        """The parts of a row.

        Raises:
            ValueError: the template has no row of two texts.
        """
        words = self.pair if pair else self.single
        if words is None:
            raise ValueError("the tokenizer's template has no pairs: give single texts")
        return _parse(words)

    def num_special(self, pair: bool) -> int:
        """Number of special tokens in a row of one text, or of a pair."""
        return sum(not part.is_text for part in self.parts(pair))

    def num_before(self, text: str, pair: bool) -> int:
        """Number of special tokens before text "A" or "B"."""
        parts = self.parts(pair)
        index = [part.name for part in parts].index(text)
        return sum(not part.is_text for part in parts[:index])

    @property
    def roles(self) -> set[str]:
        """The roles that must have a token."""
        parts = self.parts(False) + ([] if self.pair is None else self.parts(True))
        return {part.name for part in parts if not part.is_text}

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {"single": self.single, "pair": self.pair}


def _parse(words: str) -> list[Part]:
    parts = []
    for word in words.split():
        name, _, segment = word.partition(":")
        if segment and not segment.isdigit():
            raise ValueError(f"the template {words!r} has {word!r}; a segment is a number")
        parts.append(Part(name, int(segment or 0)))
    return parts


BERT_TEMPLATE = Template()
ROBERTA_TEMPLATE = Template("cls A sep", "cls A sep sep B sep")
