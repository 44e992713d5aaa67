r"""How byte-pair tokenizers split a text into words before they merge bytes: one rule per family of models.

RE2, which splits the text in a graph, does not support lookahead. But the original rules have `\s+(?!\S)`: white space
except the last character before a word. Therefore a border character is first inserted before this last character.
"""

from typing import Literal, NamedTuple, get_args

import tensorflow as tf
import tensorflow_text

WordRule = Literal["gpt2", "smollm", "qwen2", "llama3"]

# The white space of Unicode; RE2's \s is only ASCII.
SPACE = r"\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_NO_NEWLINE = SPACE.replace(r"\t-\r", r"\t\v\f")
# A character that Unicode reserves for internal use in programs.
_BORDER = "\ufdd0"


class _Rule(NamedTuple):
    """A rule in the syntax of RE2.

    Attributes:
        word: the pattern of a word.
        before_border, behind_border: patterns of white space and of the text after it; a border is inserted between.
        theirs: the rule in tokenizer.json, as steps of its `pre_tokenizer`.
    """

    word: str
    before_border: str
    behind_border: str
    theirs: tuple[dict, ...]


def _split(pattern: str) -> tuple[dict, ...]:
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, level


def _later_rule(digits: str) -> _Rule:
    """The rule of Llama 3 or Qwen2, which differ in the number of digits per word."""
    ending = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    word = (
        rf"{ending}|[^\r\n\p{{L}}\p{{N}}{_BORDER}]?\p{{L}}+|{digits}"
        rf"| ?[^{SPACE}\p{{L}}\p{{N}}{_BORDER}]+[\r\n]*|[{SPACE}]*[\r\n]+|[{SPACE}]+"
    )
    theirs = rf"{ending}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    return _Rule(word, f"[{SPACE}]", f"[{_NO_NEWLINE}][^{SPACE}]", _split(theirs))


_ENDINGS = r"'s|'t|'re|'ve|'m|'ll|'d"
_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_RULES: dict[str, _Rule] = {
    "gpt2": _Rule(
        rf"{_ENDINGS}| ?\p{{L}}+| ?\p{{N}}+| ?[^{SPACE}\p{{L}}\p{{N}}{_BORDER}]+|[{SPACE}]+",
        f"[{SPACE}]",
        f"[{SPACE}][^{SPACE}]",
        (_LEVEL,),
    ),
    "smollm": _Rule(  # each digit is a word, without a space before it
        rf"{_ENDINGS}| ?\p{{L}}+|\p{{N}}| ?[^{SPACE}\p{{L}}\p{{N}}{_BORDER}]+|[{SPACE}]+",
        f"[{SPACE}]",
        rf"[{SPACE}][^{SPACE}\p{{N}}]",
        ({"type": "Digits", "individual_digits": True}, _LEVEL),
    ),
    "qwen2": _later_rule(r"\p{N}"),
    "llama3": _later_rule(r"\p{N}{1,3}"),
}


def split_words(texts: tf.Tensor, rule: WordRule) -> tf.RaggedTensor:
    """Split (B,) strings into words by this rule: (B, None). A word includes the white space that belongs to it."""
    found = _RULES[rule]
    texts = tf.strings.regex_replace(texts, f"({found.before_border})({found.behind_border})", rf"\1{_BORDER}\2")
    return tensorflow_text.regex_split(texts, f"{found.word}|{_BORDER}", found.word)


def to_pre_tokenizer(rule: WordRule, add_prefix_space: bool) -> dict:
    """The `pre_tokenizer` of tokenizer.json for this rule."""
    steps = [step | {"add_prefix_space": add_prefix_space} if "use_regex" in step else step for step in theirs(rule)]
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}


def theirs(rule: WordRule) -> tuple[dict, ...]:
    """The steps of the `pre_tokenizer` for this rule."""
    return _RULES[rule].theirs


def from_pre_tokenizer(steps: list[dict]) -> WordRule:
    """The rule for the steps of a `pre_tokenizer`.

    Raises:
        ValueError: there is no such rule.
    """
    told = [_essential(step) for step in steps]
    for rule in get_args(WordRule):
        if told == [_essential(step) for step in theirs(rule)]:
            return rule
    raise ValueError(
        f"BPE after {[step['type'] for step in steps]} with these settings is not supported: {steps!r:.300}"
    )


def _essential(step: dict) -> dict:
    """The fields that decide where a step splits. The other fields are about offsets, or have a default."""
    if step["type"] == "ByteLevel":
        return {"type": "ByteLevel", "use_regex": step.get("use_regex", True)}
    return {name: value for name, value in step.items() if name not in ("invert",) or value}
