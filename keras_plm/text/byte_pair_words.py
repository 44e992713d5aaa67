r"""How byte-pair tokenizers cut a text into words before they merge bytes: a rule for each family of models.

RE2, which cuts in a graph, cannot look ahead. Where an original rule says `\s+(?!\S)`, white space but for the last
one before a word, a border is put between the two first.
"""

from typing import Literal, NamedTuple, get_args

import tensorflow as tf
import tensorflow_text

WordRule = Literal["gpt2", "smollm", "qwen2", "llama3"]

# White space as Unicode has it; RE2's \s is that of ASCII.
SPACE = r"\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
_NO_NEWLINE = SPACE.replace(r"\t-\r", r"\t\v\f")
# A character that Unicode keeps for use inside a program.
_BORDER = "\ufdd0"


class _Rule(NamedTuple):
    """A rule as RE2 understands it.

    Attributes:
        word: what is a word.
        before_border, behind_border: white space, and what follows it, with a border between.
        theirs: how tokenizer.json spells the rule, in its `pre_tokenizer`.
    """

    word: str
    before_border: str
    behind_border: str
    theirs: tuple[dict, ...]


def _split(pattern: str) -> tuple[dict, ...]:
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}, level


def _later_rule(digits: str) -> _Rule:
    """Llama 3's and Qwen2's, which differ in how many digits are one word."""
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
    "smollm": _Rule(  # each digit is a word, and has no space before it
        rf"{_ENDINGS}| ?\p{{L}}+|\p{{N}}| ?[^{SPACE}\p{{L}}\p{{N}}{_BORDER}]+|[{SPACE}]+",
        f"[{SPACE}]",
        rf"[{SPACE}][^{SPACE}\p{{N}}]",
        ({"type": "Digits", "individual_digits": True}, _LEVEL),
    ),
    "qwen2": _later_rule(r"\p{N}"),
    "llama3": _later_rule(r"\p{N}{1,3}"),
}


def split_words(texts: tf.Tensor, rule: WordRule) -> tf.RaggedTensor:
    """The words of (B,) strings by that rule, (B, None), with the white space that belongs to them."""
    found = _RULES[rule]
    texts = tf.strings.regex_replace(texts, f"({found.before_border})({found.behind_border})", rf"\1{_BORDER}\2")
    return tensorflow_text.regex_split(texts, f"{found.word}|{_BORDER}", found.word)


def to_pre_tokenizer(rule: WordRule, add_prefix_space: bool) -> dict:
    """The `pre_tokenizer` of tokenizer.json that cuts by the rule."""
    steps = [step | {"add_prefix_space": add_prefix_space} if "use_regex" in step else step for step in theirs(rule)]
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}


def theirs(rule: WordRule) -> tuple[dict, ...]:
    """The steps of that `pre_tokenizer`."""
    return _RULES[rule].theirs


def from_pre_tokenizer(steps: list[dict]) -> WordRule:
    """The rule of the steps of a `pre_tokenizer`.

    Raises:
        ValueError: none of these rules.
    """
    told = [_essential(step) for step in steps]
    for rule in get_args(WordRule):
        if told == [_essential(step) for step in theirs(rule)]:
            return rule
    raise ValueError(
        f"BPE after {[step['type'] for step in steps]} with these settings is not supported: {steps!r:.300}"
    )


def _essential(step: dict) -> dict:
    """What decides where a step cuts; the rest is about offsets, or has a default."""
    if step["type"] == "ByteLevel":
        return {"type": "ByteLevel", "use_regex": step.get("use_regex", True)}
    return {name: value for name, value in step.items() if name not in ("invert",) or value}
