import json
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from keras_plm.config.typed_fields import TypedFields

_OF_SAMPLING = ("temperature", "top_k", "top_p", "min_p")
_OF_BEAMS = ("length_penalty", "early_stopping", "num_beam_groups")


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(TypedFields):
    """Settings of text generation, with the names of Transformers' `GenerationConfig`.

    The default is greedy decoding. `do_sample` draws tokens at random, and `num_beams` above 1 means beam search. The
    logits are changed in this order: logit bias, penalties, n-grams, bad words, minimum length; then temperature,
    top-k, top-p and min-p.

    Raises:
        ValueError: a value is outside its range, or two settings exclude each other.

    Example:
        >>> GenerationSettings(do_sample=True, temperature=0.7, top_p=0.9).max_new_tokens
        128

    Source: top-k: Fan et al. 2018, §5.1, https://arxiv.org/abs/1805.04833; top-p: Holtzman et al. 2020, §3.1,
        https://arxiv.org/abs/1904.09751; min-p: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082; repetition
        penalty: Keskar et al. 2019, §4.1, https://arxiv.org/abs/1909.05858
    """

    max_new_tokens: int = 128  # maximum length of the new text; it can also end earlier
    min_new_tokens: int = 0  # no end token before this number of tokens; a stop string can end the text earlier
    do_sample: bool = False  # True: draw tokens by their probabilities; False: take the most probable one
    temperature: float = 1.0  # logits are divided by it; below 1, probable tokens become more probable
    top_k: int = 0  # draw only from the k most probable tokens; 0 means all tokens
    top_p: float = 1.0  # draw only from the most probable tokens whose probabilities add up to this
    min_p: float = 0.0  # draw only tokens that have at least this fraction of the highest probability
    num_beams: int = 1  # above 1: beam search with this number of beams
    length_penalty: float = 1.0  # beam scores are divided by length ** length_penalty; above 0 favors long texts
    # when beam search stops: num_beams texts have ended (True), a better text is unlikely (False) or impossible (never)
    early_stopping: bool | Literal["never"] = False
    num_beam_groups: int = 1  # diverse beam search: groups of beams that avoid the tokens of earlier groups
    diversity_penalty: float = 0.0  # subtracted from a token's log-probability for each earlier group's beam with it
    penalty_alpha: float = 0.0  # above 0: contrastive search among the top_k tokens; weight of the similarity penalty
    prompt_lookup_num_tokens: int = 0  # speculative decoding: guess up to this many tokens from earlier text; 0: off
    repetition_penalty: float = 1.0  # above 1: tokens in the prompt and in the new text become less probable
    presence_penalty: float = 0.0  # subtracted from the logits of all tokens in the new text
    frequency_penalty: float = 0.0  # subtracted once for each time that the new text has the token
    no_repeat_ngram_size: int = 0  # no sequence of this many tokens occurs twice; 0 means no limit
    logit_bias: dict[int, float] = field(default_factory=dict)  # token id → number to add to its logit
    bad_words: tuple[str, ...] = ()  # words to forbid, as the tokenizer spells them with and without a space before
    stop_strings: tuple[str, ...] = ()  # the text ends before the first of these
    json_schema: str | None = None  # constrained decoding: the new text is JSON that fits this JSON schema
    regex: str | None = None  # constrained decoding: the new text matches this regular expression
    num_return_sequences: int = 1  # number of texts for each prompt
    seed: int | None = None  # random seed of `do_sample`; None gives different texts at each call

    def __post_init__(self) -> None:
        bias = self.logit_bias
        if not isinstance(bias, dict):
            raise ValueError(f"logit_bias={bias!r:.60}; it is a dict of token ids and numbers")
        # JSON has no whole numbers as keys
        object.__setattr__(self, "logit_bias", {_token_id(token): _number(value) for token, value in bias.items()})
        self.check_types()
        self.check_at_least(1, "max_new_tokens", "num_return_sequences", "num_beams", "num_beam_groups")
        self.check_at_least(0, "min_new_tokens", "top_k", "no_repeat_ngram_size", "min_p", "diversity_penalty")
        self.check_at_least(0, "prompt_lookup_num_tokens")
        for name in ("temperature", "repetition_penalty", "top_p"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}; it must be above 0")
        for name in ("top_p", "min_p"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name}={getattr(self, name)}; it is a probability, at most 1")
        self._check_combinations()
        self._check_switches()

    def _check_switches(self) -> None:
        default = {field.name: field.default for field in fields(self)}
        sampling = [name for name in _OF_SAMPLING if name != "top_k" or not self.penalty_alpha]
        needed = {"do_sample=True": (self.do_sample, sampling), "num_beams": (self.num_beams > 1, _OF_BEAMS)}
        for switch, (is_on, names) in needed.items():
            changed = [name for name in names if getattr(self, name) != default[name]]
            if changed and not is_on:
                raise ValueError(f"{', '.join(changed)} would have no effect without {switch}")

    def _check_combinations(self) -> None:
        if self.json_schema is not None and self.regex is not None:
            raise ValueError("json_schema and regex exclude each other")
        if self.json_schema is not None:
            _check_json(self.json_schema)
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(f"min_new_tokens={self.min_new_tokens} is above max_new_tokens={self.max_new_tokens}")
        for name in ("stop_strings", "bad_words"):
            if not all(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)} has an empty text")
        if self.prompt_lookup_num_tokens and (self.num_beams > 1 or self.do_sample):
            raise ValueError("prompt_lookup_num_tokens is for greedy decoding: without num_beams and do_sample")
        self._check_beams()
        if not 0 <= self.penalty_alpha < 1:
            raise ValueError(f"penalty_alpha={self.penalty_alpha}; it must be in [0, 1)")
        if self.penalty_alpha and self.top_k < 2:
            raise ValueError(f"penalty_alpha={self.penalty_alpha} (contrastive search) needs top_k of at least 2")
        if self.penalty_alpha and (self.do_sample or self.num_beams > 1 or self.prompt_lookup_num_tokens):
            raise ValueError("penalty_alpha (contrastive search) excludes do_sample, num_beams and prompt lookup")

    def _check_beams(self) -> None:
        if self.num_beams > 1 and self.do_sample:
            raise ValueError(f"num_beams={self.num_beams} with do_sample=True is not supported")
        if self.num_beams % self.num_beam_groups:
            raise ValueError(f"num_beams={self.num_beams} is not a multiple of num_beam_groups={self.num_beam_groups}")
        if (self.num_beam_groups > 1) != (self.diversity_penalty > 0):
            raise ValueError("num_beam_groups above 1 and diversity_penalty above 0 belong together")
        if self.num_return_sequences > self.num_beams and not self.do_sample:
            count = f"num_return_sequences={self.num_return_sequences}"
            raise ValueError(f"{count} with num_beams={self.num_beams}: use more beams, or do_sample=True")


def _check_json(schema: str) -> None:
    try:
        json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"json_schema={schema!r:.60} is not JSON: {error}") from None


def _token_id(value: Any) -> int:
    if isinstance(value, bool) or not (isinstance(value, int) or isinstance(value, str) and value.isdigit()):
        raise ValueError(f"logit_bias has the key {value!r:.60}; it is a token id")
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value < float("inf"):
        raise ValueError(f"logit_bias has the value {value!r:.60}; it is a number; -inf forbids a token")
    return float(value)
