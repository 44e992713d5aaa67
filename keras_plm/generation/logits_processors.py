"""Changes of the logits before a token is chosen. A logit of -inf forbids a token."""

from collections.abc import Sequence

import numpy as np

from .constraints import Constraint
from .settings import GenerationSettings


class SettingsError(ValueError):
    """The settings of a text forbid what it needs."""


class LogitsProcessor:
    """Applies the settings that change logits: bias, penalties, n-grams, bad words, minimum length, constraint.

    Args:
        settings: the generation settings.
        bad_words: the token ids of each bad word.
        end_ids: the end tokens.
        constraint: the constraint of `json_schema` or `regex`.
        num_tokens: number of tokens of the tokenizer. The model may have logits for more ids; they are forbidden.

    Source: repetition penalty: Keskar et al. 2019, §4.1, https://arxiv.org/abs/1909.05858; presence and frequency:
        OpenAI's API reference, https://platform.openai.com/docs/api-reference
    Differs: from Transformers, which has no presence and frequency penalties.
    """

    def __init__(
        self,
        settings: GenerationSettings,
        bad_words: Sequence[Sequence[int]] = (),
        end_ids: Sequence[int] = (),
        constraint: Constraint | None = None,
        num_tokens: int | None = None,
    ) -> None:
        self.settings = settings
        self.bad_words = [list(word) for word in bad_words if word]
        self.end_ids = list(end_ids)
        self.constraint = constraint
        self.num_tokens = num_tokens

    def __call__(self, logits: np.ndarray, prompt: Sequence[int], new: Sequence[int]) -> np.ndarray:
        """Change the logits of one row.

        Args:
            logits: (V,) float32.
            prompt: token ids of the prompt.
            new: the new token ids.

        Raises:
            ValueError: a logit is NaN, or the settings forbid every token.
        """
        if np.isnan(logits).any():
            raise ValueError("the model gives logits that are no numbers (NaN); are its weights whole?")
        settings, logits = self.settings, logits.copy()
        if self.num_tokens is not None:
            logits[self.num_tokens :] = -np.inf  # rows of the embedding matrix without a token
        self._add_bias(logits)
        self._penalize(logits, prompt, new)
        tokens = [*prompt, *new]
        if settings.no_repeat_ngram_size:
            logits[_repeating(tokens, settings.no_repeat_ngram_size)] = -np.inf
        for word in self.bad_words:
            if tokens[len(tokens) - len(word) + 1 :] == word[:-1]:
                logits[word[-1]] = -np.inf
        if len(new) < settings.min_new_tokens:
            logits[self.end_ids] = -np.inf
        if self.constraint is not None:
            forbidden = self.constraint.forbidden(new)
            logits[: len(forbidden)][forbidden] = -np.inf
        if not (logits > -np.inf).any():
            raise SettingsError("the settings forbid every token: of logit_bias, bad_words and the rest allow one")
        return logits

    def _add_bias(self, logits: np.ndarray) -> None:
        for token, bias in self.settings.logit_bias.items():
            if token >= len(logits):
                raise SettingsError(f"logit_bias has the token id {token}, but there are only {len(logits)} tokens")
            logits[token] += bias

    def _penalize(self, logits: np.ndarray, prompt: Sequence[int], new: Sequence[int]) -> None:
        settings = self.settings
        if settings.repetition_penalty != 1:
            seen = np.unique([*prompt, *new])
            logits[seen] *= np.where(logits[seen] < 0, settings.repetition_penalty, 1 / settings.repetition_penalty)
        if new and (settings.presence_penalty or settings.frequency_penalty):
            tokens, counts = np.unique(new, return_counts=True)
            logits[tokens] -= settings.presence_penalty + settings.frequency_penalty * counts


def _repeating(tokens: list[int], size: int) -> list[int]:
    """The tokens that would repeat an n-gram of this size."""
    begun = tokens[len(tokens) - size + 1 :]
    if len(begun) < size - 1:
        return []
    starts = range(len(tokens) - size + 1)
    return [tokens[i + size - 1] for i in starts if tokens[i : i + size - 1] == begun]
