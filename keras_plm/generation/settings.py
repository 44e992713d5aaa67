from dataclasses import dataclass, field
from typing import Any

from keras_plm.config.typed_fields import TypedFields


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(TypedFields):
    """How a text is continued: the names are those of Transformers' `GenerationConfig`.

    Without `do_sample` the most probable token is taken at each step (greedy decoding). Logits are changed in this
    order: bias, penalties, n-grams, bad words, the least number of tokens; then temperature, top-k, top-p, min-p.

    Raises:
        ValueError: a value outside its range, named.

    Example:
        >>> GenerationSettings(do_sample=True, temperature=0.7, top_p=0.9).max_new_tokens
        128

    Source: top-k: Fan et al. 2018, §5.1, https://arxiv.org/abs/1805.04833; top-p: Holtzman et al. 2020, §3.1,
        https://arxiv.org/abs/1904.09751; min-p: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082; repetition
        penalty: Keskar et al. 2019, §4.1, https://arxiv.org/abs/1909.05858
    """

    max_new_tokens: int = 128  # a text ends after this many tokens, or where the model can read no more
    min_new_tokens: int = 0  # before this many tokens a text does not end
    do_sample: bool = False  # True: tokens are drawn by their probability; False: the most probable one
    temperature: float = 1.0  # logits are divided by it; below 1 the most probable tokens become more probable
    top_k: int = 0  # only the k most probable tokens are drawn; 0 for all
    top_p: float = 1.0  # only the most probable tokens that together have this probability are drawn
    min_p: float = 0.0  # only tokens of at least this fraction of the highest probability are drawn
    repetition_penalty: float = 1.0  # above 1: tokens of the prompt and of the new text become less probable
    presence_penalty: float = 0.0  # is subtracted from the logits of tokens that the new text has
    frequency_penalty: float = 0.0  # the same, as often as the new text has the token
    no_repeat_ngram_size: int = 0  # no sequence of this many tokens occurs twice; 0 for no such rule
    logit_bias: dict[int, float] = field(default_factory=dict)  # token id → what is added to its logit
    bad_words: tuple[str, ...] = ()  # texts that are not written, as the tokenizer cuts them
    stop_strings: tuple[str, ...] = ()  # a text ends before the first of these
    num_return_sequences: int = 1  # texts for each prompt
    seed: int | None = None  # of the drawing; None draws other tokens at each call

    def __post_init__(self) -> None:
        bias = self.logit_bias
        if not isinstance(bias, dict):
            raise ValueError(f"logit_bias={bias!r:.60}; it is a dict of token ids and numbers")
        # JSON has no whole numbers as keys
        object.__setattr__(self, "logit_bias", {_token_id(token): _number(value) for token, value in bias.items()})
        self.check_types()
        self.check_at_least(1, "max_new_tokens", "num_return_sequences")
        self.check_at_least(0, "min_new_tokens", "top_k", "no_repeat_ngram_size", "min_p")
        for name in ("temperature", "repetition_penalty", "top_p"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}; it must be above 0")
        for name in ("top_p", "min_p"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name}={getattr(self, name)}; it is a probability, at most 1")
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens={self.min_new_tokens} is above max_new_tokens={self.max_new_tokens}")
        for name in ("stop_strings", "bad_words"):
            if not all(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)} has an empty text")
        if self.num_return_sequences > 1 and not self.do_sample:
            raise ValueError(f"num_return_sequences={self.num_return_sequences} without do_sample would be one text")


def _token_id(value: Any) -> int:
    if isinstance(value, bool) or not (isinstance(value, int) or isinstance(value, str) and value.isdigit()):
        raise ValueError(f"logit_bias has the key {value!r:.60}; it is a token id")
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"logit_bias has the value {value!r:.60}; it is a number")
    return float(value)
