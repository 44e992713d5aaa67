from collections.abc import Iterator, Sequence

import numpy as np

from .decoding import Continuation
from .logits_processors import LogitsProcessor
from .session import FINISHED, StateSession
from .settings import GenerationSettings


def write_contrastive(
    session: StateSession,
    continuations: Sequence[Continuation],
    settings: GenerationSettings,
    processor: LogitsProcessor,
) -> Iterator[tuple[Continuation, str]]:
    """Generate all continuations by contrastive search. Yields each continuation with its new text, token by token.

    Each of the `top_k` most probable tokens is read. Its score is its probability, minus its largest cosine with an
    earlier token of the text (both hidden states), weighted by 1 - `penalty_alpha` and `penalty_alpha`.

    Args:
        session: the session of the model.
        continuations: from `begin` with the same settings.
        settings: `top_k` and `penalty_alpha`.
        processor: changes the logits, and has the end tokens.

    Raises:
        ValueError: a logit is NaN, or the settings forbid every token.

    Source: Su et al. 2022, §3.2, https://arxiv.org/abs/2202.06417
    """
    count, alpha = settings.top_k, settings.penalty_alpha
    logits, states = session.read_states([continuation.prompt for continuation in continuations])
    seen = [_unit(rows) for rows in states]  # the hidden states of each text
    while True:
        tokens = np.full((len(continuations), count), FINISHED, "int32")
        chances = np.zeros((len(continuations), count))
        for row, continuation in enumerate(continuations):
            if continuation.finish_reason is None:
                changed = processor(logits[row], continuation.prompt, continuation.token_ids).astype("float64")
                exponentials = np.exp(changed - changed.max())
                best = np.argsort(-exponentials, kind="stable")[:count]
                tokens[row, : len(best)] = best
                chances[row, : len(best)] = exponentials[best] / exponentials.sum()
        if (tokens == FINISHED).all():
            return
        session.select(np.repeat(np.arange(len(continuations)), count))
        every, states = session.step_states(tokens.reshape(-1))
        new = _unit(np.stack([rows[-1] for rows in states])).reshape(len(continuations), count, -1)
        chosen = np.zeros(len(continuations), int)
        for row, continuation in enumerate(continuations):
            if continuation.finish_reason is not None:
                continue
            penalties = (new[row] @ seen[row].T).max(-1)
            scores = np.where(chances[row] > 0, (1 - alpha) * chances[row] - alpha * penalties, -np.inf)
            chosen[row] = scores.argmax()
            seen[row] = np.concatenate([seen[row], new[row, chosen[row]][None]])
            yield continuation, continuation.add(int(tokens[row, chosen[row]]), processor.end_ids)
        kept = np.arange(len(continuations)) * count + chosen
        session.select(kept)
        logits = every[kept]


def _unit(states: np.ndarray) -> np.ndarray:
    return states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12)
