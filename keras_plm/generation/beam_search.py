from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .logits_processors import LogitsProcessor
from .sampling import log_softmax
from .session import FINISHED, GenerationSession
from .settings import GenerationSettings

_IMPOSSIBLE = -1e9


@dataclass(frozen=True)
class Hypothesis:
    """A text that beam search found.

    Attributes:
        token_ids: the new tokens, with the token that ended the text.
        score: the sum of the tokens' log-probabilities, divided by the number of tokens to the power of
            `length_penalty`.
    """

    token_ids: list[int]
    score: float


@dataclass
class _Beams:
    """The beam search of one prompt, or of one group of its beams.

    Attributes:
        prompt: token ids.
        limit: maximum number of new tokens.
        running: new tokens of each beam that can still grow.
        scores: (beams,) sums of their log-probabilities.
        finished: the best finished hypotheses, at most one for each beam, best first.
        improvable: whether a running beam can still become better than a finished hypothesis.
    """

    prompt: list[int]
    limit: int
    running: list[list[int]]
    scores: np.ndarray
    finished: list[Hypothesis] = field(default_factory=list)
    improvable: bool = True
    done: bool = False


def beam_search(
    session: GenerationSession,
    prompts: Sequence[list[int]],
    settings: GenerationSettings,
    limits: Sequence[int],
    processor: LogitsProcessor,
    is_stopped: Callable[[list[int]], bool] = lambda new: False,
) -> list[list[Hypothesis]]:
    """The most probable continuations of each prompt, by beam search.

    The score of a finished hypothesis does not change any more. The search ends when no running beam can become better
    than the finished hypotheses; `early_stopping` defines how this is decided.

    Args:
        session: session of the model.
        prompts: token ids.
        settings: `num_beams`, `length_penalty`, `early_stopping`, `num_beam_groups`, `diversity_penalty`.
        limits: maximum number of new tokens for each prompt.
        processor: changes the log-probabilities, and has the end tokens.
        is_stopped: whether new tokens contain a stop string.

    Returns:
        for each prompt at most `num_beams` hypotheses, best first.

    Source: Wu et al. 2016, §7, https://arxiv.org/abs/1609.08144; diverse groups: Vijayakumar et al. 2018, §3,
        https://arxiv.org/abs/1610.02424
    Differs: the length penalty and all results are those of Transformers.
    """
    groups, beams = settings.num_beam_groups, settings.num_beams // settings.num_beam_groups
    scores = np.array([0.0] + [_IMPOSSIBLE] * (beams - 1))  # at first all beams are the same: only one may grow
    searches = [
        _Beams(prompt, limit, [[] for _ in range(beams)], scores)
        for prompt, limit in zip(prompts, limits, strict=True)
        for _ in range(groups)
    ]
    rows_of_prompts = np.repeat(np.arange(len(prompts)), settings.num_beams)
    logits = session.read(list(prompts))[rows_of_prompts]
    session.select(rows_of_prompts)
    while True:
        parents = np.arange(len(searches) * beams)
        tokens = np.full(len(searches) * beams, FINISHED, "int32")
        for i, search in enumerate(searches):
            if search.done:
                continue
            rows = slice(i * beams, (i + 1) * beams)
            earlier = tokens[i // groups * groups * beams : i * beams]  # of the earlier groups of this prompt
            penalty = settings.diversity_penalty * np.bincount(earlier[earlier != FINISHED], minlength=logits.shape[1])
            chosen = _advance(search, logits[rows], settings, processor, is_stopped, penalty)
            parents[rows] += chosen - np.arange(beams)
            if not search.done:
                tokens[rows] = [new[-1] for new in search.running]
        if (tokens == FINISHED).all():
            found = [searches[i : i + groups] for i in range(0, len(searches), groups)]
            return [
                sorted((text for search in group for text in search.finished), key=lambda text: -text.score)
                for group in found
            ]
        if (parents != np.arange(len(parents))).any():
            session.select(parents)
        logits = session.step(tokens)


def _advance(
    search: _Beams,
    logits: np.ndarray,
    settings: GenerationSettings,
    processor: LogitsProcessor,
    is_stopped: Callable[[list[int]], bool],
    penalty: np.ndarray,
) -> np.ndarray:
    """Add a token to each running beam; (beams,) the beams that they come from.

    Args:
        search: the search to advance.
        logits: (beams, V) float32.
        settings: as in `beam_search`.
        processor: as in `beam_search`.
        is_stopped: as in `beam_search`.
        penalty: (V,) subtracted from the log-probabilities.
    """
    beams, vocabulary = logits.shape
    possible = search.scores > -np.inf  # a beam of forbidden tokens stays only where there are too few others
    total = np.full(logits.shape, -np.inf)
    for row in np.flatnonzero(possible):
        changed = processor(log_softmax(logits[row]), search.prompt, search.running[row])
        total[row] = changed - penalty + search.scores[row]
    # each beam can end with each end token; with this number of candidates, enough of them do not end
    count = min(max(2, 1 + len(processor.end_ids)) * beams, total.size)
    best = np.argpartition(-total, count - 1, axis=None)[:count]
    best = best[np.argsort(-total.ravel()[best], kind="stable")]
    candidates = [[*search.running[index // vocabulary], int(index % vocabulary)] for index in best]
    found = total.ravel()[best]
    length = len(candidates[0])
    ended = np.array([new[-1] in processor.end_ids or length == search.limit or is_stopped(new) for new in candidates])

    full = len(search.finished) == beams
    if search.improvable and not (full and settings.early_stopping is True):
        # only what is among the best may finish; the other candidates are there to grow
        for new, score, ends in list(zip(candidates, found, ended, strict=True))[:beams]:
            if ends:
                search.finished.append(Hypothesis(new, float(score / length**settings.length_penalty)))
        search.finished.sort(key=lambda hypothesis: -hypothesis.score)
        del search.finished[beams:]
    growing = np.argsort(-(found + _IMPOSSIBLE * ended), kind="stable")[:beams]
    search.running = [candidates[i] for i in growing]
    search.scores = (found + _IMPOSSIBLE * ended)[growing]

    full = len(search.finished) == beams
    never = settings.early_stopping == "never" and settings.length_penalty > 0
    reachable = search.scores[0] / (search.limit if never else length) ** settings.length_penalty
    search.improvable &= bool(reachable > (search.finished[-1].score if full else _IMPOSSIBLE))
    search.done = not search.improvable or (full and settings.early_stopping is True) or bool(ended.all())
    return best[growing] // vocabulary
