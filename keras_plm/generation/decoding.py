"""The generation loop, for greedy decoding and sampling."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from .logits_processors import LogitsProcessor
from .sampling import draw, generator_of, greedy, probabilities
from .session import FINISHED, GenerationSession
from .settings import GenerationSettings
from .streaming import TextStream

FinishReason = Literal["stop", "length"]


@dataclass
class Continuation:
    """The continuation of a prompt, during and after the generation.

    Attributes:
        prompt: token ids of the prompt.
        limit: maximum number of new tokens.
        stream: converts the tokens to text.
        random: random numbers for sampling.
        token_ids: the new tokens, without the end token.
        text: the new text, without the stop string.
        finish_reason: "stop" after an end token or a stop string, "length" at the limit, None before the end.
    """

    prompt: list[int]
    limit: int
    stream: TextStream
    random: np.random.Generator
    token_ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: FinishReason | None = None

    def add(self, token: int, end_ids: Sequence[int]) -> str:
        """Add a token. Returns the text that it adds."""
        if token in end_ids:
            self.finish_reason = "stop"
            new = self.stream.finish()
        else:
            self.token_ids.append(token)
            new = self.stream.push(token)
            if not self.stream.stopped and len(self.token_ids) == self.limit:
                self.finish_reason = "length"
                new += self.stream.finish()
            if self.stream.stopped:
                self.finish_reason = "stop"
        self.text += new
        return new


def begin(
    prompts: Sequence[list[int]],
    settings: GenerationSettings,
    longest_row: int,
    decode: Callable[[Sequence[int]], str],
) -> list[Continuation]:
    """Make empty continuations, `num_return_sequences` in a row for each prompt.

    Args:
        prompts: token ids of each prompt.
        settings: the generation settings.
        longest_row: maximum number of tokens of a prompt and its continuation.
        decode: converts token ids to text.

    Raises:
        ValueError: a prompt has no token, or leaves no room for a new token.
    """
    continuations = []
    for row, prompt in enumerate(prompts):
        room = longest_row - len(prompt)
        if not prompt:
            raise ValueError(f"prompt {row} is empty, and the tokenizer has no token that begins a text")
        if room < 1:
            raise ValueError(f"prompt {row} has {len(prompt)} tokens; with a new one the model reads {longest_row}")
        for index in range(settings.num_return_sequences):
            stream = TextStream(decode, settings.stop_strings)
            random = generator_of(settings.seed, prompt, index)
            continuations.append(Continuation(prompt, min(settings.max_new_tokens, room), stream, random))
    return continuations


def write(
    session: GenerationSession,
    continuations: Sequence[Continuation],
    settings: GenerationSettings,
    processor: LogitsProcessor,
) -> Iterator[tuple[Continuation, str]]:
    """Generate all continuations together. Yields each continuation with its new text, token by token.

    Args:
        session: the session of the model.
        continuations: from `begin` with the same settings.
        settings: the generation settings.
        processor: changes the logits, and has the end tokens.

    Raises:
        ValueError: a logit is NaN, or the settings forbid every token.
    """
    copies = settings.num_return_sequences
    logits = session.read([continuation.prompt for continuation in continuations[::copies]])
    if copies > 1:  # a prompt is read once
        rows = np.repeat(np.arange(len(logits)), copies)
        session.select(rows)
        logits = logits[rows]
    while True:
        tokens = np.full(len(continuations), FINISHED, "int32")
        for row, continuation in enumerate(continuations):
            if continuation.finish_reason is not None:
                continue
            changed = processor(logits[row], continuation.prompt, continuation.token_ids)
            tokens[row] = choose(changed, settings, continuation.random)
            yield continuation, continuation.add(int(tokens[row]), processor.end_ids)
            if continuation.finish_reason is not None:
                tokens[row] = FINISHED
        if (tokens == FINISHED).all():
            return
        logits = session.step(tokens)


def choose(logits: np.ndarray, settings: GenerationSettings, random: np.random.Generator) -> int:
    """The next token: drawn if `do_sample`, otherwise the most probable one."""
    return draw(probabilities(logits, settings), random) if settings.do_sample else greedy(logits)
