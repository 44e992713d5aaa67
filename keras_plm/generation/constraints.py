"""Constrained decoding: the text matches a JSON schema or a regular expression, whatever the model prefers."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from keras_plm.text import Tokenizer

from .settings import GenerationSettings


class Constraint:
    """Which tokens may follow, so that the new text matches a JSON schema or a regular expression in the end.

    Args:
        settings: with `json_schema` or `regex`.
        tokenizer: a byte-level tokenizer, such as `BytePairTokenizer`.

    Raises:
        ImportError: the package llguidance is not installed.
        ValueError: the schema or the expression is invalid or not supported, or the tokenizer is not byte-level.

    Source: Willard & Louf 2023, https://arxiv.org/abs/2307.09702; the package llguidance computes the masks,
        https://github.com/guidance-ai/llguidance
    """

    def __init__(self, settings: GenerationSettings, tokenizer: Tokenizer) -> None:
        try:
            import llguidance
            import llguidance.numpy as masks
        except ImportError:
            raise ImportError(
                "json_schema and regex need the extra constrained: pip install 'keras-plm[constrained]'"
            ) from None
        kind: Any = llguidance.LLMatcher
        if settings.regex is not None:
            grammar = kind.grammar_from_regex(settings.regex)
        else:
            # without flexible white space, because a model with uncertain predictions may generate endless spaces
            grammar = kind.grammar_from_json_schema(settings.json_schema, overrides={"whitespace_flexible": False})
        self._vocabulary = _read_vocabulary(tokenizer)
        self._matcher = kind(self._vocabulary, grammar, log_level=0)
        if self._matcher.is_error():
            problem = self._matcher.get_error().splitlines()[0]
            raise ValueError(f"{'regex' if settings.regex is not None else 'json_schema'}: {problem:.300}")
        self._masks = masks
        self._bits = masks.allocate_token_bitmask(1, self._vocabulary.vocab_size)

    def forbidden(self, new: Sequence[int]) -> np.ndarray:
        """(V,) bool, True for tokens that must not follow these. At the end, only the end token may follow."""
        # one matcher serves all rows of a batch: it reads the tokens of the row again, in microseconds
        self._matcher.reset()
        if new and not self._matcher.consume_tokens(list(new)):
            raise ValueError(f"the constraint does not allow the tokens {list(new)[-5:]}: {self._matcher.get_error()}")
        self._masks.fill_next_token_bitmask(self._matcher, self._bits, 0)
        bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
        return bits[: self._vocabulary.vocab_size] == 0


@lru_cache(maxsize=8)  # it takes a second for 50,000 tokens
def _read_vocabulary(tokenizer: Tokenizer) -> Any:
    import llguidance

    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Vocabulary(tokenizer)))


class _Vocabulary:
    """A tokenizer in the form that llguidance reads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.role_id("eos")
        self.bos_token_id = None
        added = {tokenizer.id(token.text) for token in tokenizer.added}
        self.special_token_ids = sorted({*tokenizer.special_ids, *added})
        self.tokens = tokenizer.token_bytes()
        for index in self.special_token_ids:  # llguidance's prefix for tokens that are not text
            self.tokens[index] = b"\xff" + tokenizer.vocabulary[index].encode()

    def __call__(self, text: bytes | str) -> list[int]:
        decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        return self._tokenizer.encode(decoded).token_ids if decoded else []
