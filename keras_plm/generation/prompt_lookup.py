from collections.abc import Iterator, Sequence

from .decoding import Continuation
from .logits_processors import LogitsProcessor
from .sampling import greedy
from .session import GenerationSession

_LONGEST_NGRAM = 3


def write_with_lookup(
    session: GenerationSession, continuation: Continuation, processor: LogitsProcessor, num_tokens: int
) -> Iterator[tuple[Continuation, str]]:
    """Greedy decoding that guesses tokens: if the last tokens occurred before, their old continuation is the guess.

    The model reads all guesses in one step, which takes little more time than reading one token. Correct guesses are
    kept. The text is the same as in greedy decoding, apart from rounding errors of the logits. It is faster if the text
    repeats parts of the prompt, such as in summaries, answers and edited texts.

    Args:
        session: session of the model, with room for `num_tokens` additional tokens.
        continuation: an empty continuation, from `begin`.
        processor: changes the logits, and has the end tokens.
        num_tokens: maximum number of tokens to guess at a time.

    Yields:
        The continuation and its new text, for each token.

    Source: Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding; Leviathan et al. 2023,
        https://arxiv.org/abs/2211.17192
    """
    logits = session.read([continuation.prompt])
    guesses: list[int] = []
    while True:
        accepted = 0
        for row in range(len(logits)):
            token = greedy(processor(logits[row], continuation.prompt, continuation.token_ids))
            yield continuation, continuation.add(token, processor.end_ids)
            if continuation.finish_reason is not None:
                return
            if row == len(guesses) or token != guesses[row]:
                break
            accepted += 1
        if guesses:
            session.rewind(len(guesses) - accepted)
        tokens = [*continuation.prompt, *continuation.token_ids]
        room = continuation.limit - len(continuation.token_ids) - 1
        guesses = following(tokens, min(num_tokens, room))
        logits = session.read_ahead([tokens[-1], *guesses], num_tokens + 1)


def following(tokens: Sequence[int], count: int) -> list[int]:
    """At most `count` tokens after the latest earlier occurrence of the last tokens. Longer matches have priority.

    Example:
        >>> following([5, 1, 2, 3, 4, 9, 1, 2], 2)
        [3, 4]
    """
    for size in range(min(_LONGEST_NGRAM, len(tokens) - 1), 0, -1):
        last = list(tokens[-size:])
        for start in range(len(tokens) - size - 1, -1, -1):
            if tokens[start] == last[0] and list(tokens[start : start + size]) == last:
                return list(tokens[start + size : start + size + count])
    return []
