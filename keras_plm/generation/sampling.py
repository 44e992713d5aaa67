"""Choose the next token of a row from its logits."""

import numpy as np

from .settings import GenerationSettings


def greedy(logits: np.ndarray) -> int:
    """The token with the highest logit; the first one if several are equal."""
    return int(logits.argmax())


def probabilities(logits: np.ndarray, settings: GenerationSettings) -> np.ndarray:
    """The probabilities for sampling, after temperature, top-k, top-p and min-p, in this order.

    Args:
        logits: (V,) float32; -inf for forbidden tokens.
        settings: temperature, top_k, top_p, min_p.

    Returns:
        (V,) float64 with a sum of 1; 0 for excluded tokens.
    """
    with np.errstate(over="ignore"):  # a tiny temperature makes all but the largest logits -inf
        found = np.exp((logits.astype("float64") - logits.max()) / settings.temperature)
    if 0 < settings.top_k < len(found):
        least = np.partition(found, -settings.top_k)[-settings.top_k]
        found[found < least] = 0.0  # all tokens that are equal to the k-th one stay, as in Transformers
    found /= found.sum()
    if settings.top_p < 1:
        # All rarer tokens together have a probability below 1 - top_p, so only these candidates need sorting.
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
    """Draw a token by its probability, with one random number."""
    cumulative = np.cumsum(found)
    token = np.searchsorted(cumulative, random.random() * cumulative[-1], side="right")
    return int(min(token, np.flatnonzero(found)[-1]))


def generator_of(seed: int | None, prompt: list[int], index: int) -> np.random.Generator:
    """The random numbers of one text. They depend only on these arguments, not on the other prompts of a batch.

    Args:
        seed: seed of the settings; None gives different numbers at each call.
        prompt: token ids of the prompt.
        index: number of the text, if there are several texts for the prompt.
    """
    return np.random.default_rng(None if seed is None else [abs(seed), seed < 0, index, *prompt])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities over the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
