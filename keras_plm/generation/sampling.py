"""The next token of a row from its logits: the most probable one, or one that is drawn."""

import numpy as np

from .settings import GenerationSettings


def greedy(logits: np.ndarray) -> int:
    """The token of the highest logit; of several the first."""
    return int(logits.argmax())


def probabilities(logits: np.ndarray, settings: GenerationSettings) -> np.ndarray:
    """The probabilities with which tokens are drawn: temperature, then top-k, top-p and min-p, then scaled to 1.

    Args:
        logits: (V,) float32; -inf for forbidden tokens.
        settings: temperature, top_k, top_p, min_p.

    Returns:
        (V,) float64, 0 for tokens that are never drawn.
    """
    scaled = logits.astype("float64") / settings.temperature
    found = np.exp(scaled - scaled.max())
    if 0 < settings.top_k < len(found):
        least = np.partition(found, -settings.top_k)[-settings.top_k]
        found[found < least] = 0.0  # of tokens that are equal to the last one all stay, as in Transformers
    found /= found.sum()
    if settings.top_p < 1:
        # less probable tokens have less than 1 - top_p together, so none of them is needed: fewer to sort
        candidates = np.flatnonzero(found >= (1 - settings.top_p) / len(found))
        order = candidates[np.argsort(-found[candidates], kind="stable")]
        needed = int(np.searchsorted(np.cumsum(found[order]), settings.top_p)) + 1
        kept = np.zeros_like(found)
        kept[order[:needed]] = found[order[:needed]]
        found = kept / kept.sum()
    if settings.min_p > 0:
        found[found < settings.min_p * found.max()] = 0.0
        found /= found.sum()
    return found


def draw(found: np.ndarray, random: np.random.Generator) -> int:
    """A token by its probability; one random number a token."""
    cumulative = np.cumsum(found)
    token = np.searchsorted(cumulative, random.random() * cumulative[-1], side="right")
    return int(min(token, np.flatnonzero(found)[-1]))


def generator_of(seed: int | None, prompt: list[int], index: int) -> np.random.Generator:
    """The random numbers of one text, which depend on nothing but the seed, its prompt and its number.

    Args:
        seed: of the settings; None for others at each call.
        prompt: token ids; what else is in the batch changes nothing.
        index: of several texts for one prompt.
    """
    return np.random.default_rng(None if seed is None else [abs(seed), seed < 0, index, *prompt])
