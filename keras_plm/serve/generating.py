"""Run the texts of one request in the batcher of its model."""

import asyncio
import queue
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request

from keras_plm.generation import Continuation, GenerationSettings, begin
from keras_plm.generation.continuous_batching import Job, Token

from .errors import APIError, of_exception
from .requests import GenerationBody
from .served_models import ServedModel, busy

_POLL = 0.5  # seconds between two looks whether the client is still there


@dataclass
class Written:
    """A text that was generated.

    Attributes:
        prompt: number of its prompt in the request.
        continuation: the token ids, the text and the reason of its end.
        tokens: its tokens with their log-probabilities.
    """

    prompt: int
    continuation: Continuation
    tokens: list[Token] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text."""
        return self.continuation.text

    @property
    def finish_reason(self) -> str:
        """Why it ended: "stop" or "length"."""
        return self.continuation.finish_reason or "length"

    @property
    def log_probability(self) -> float:
        """The mean log-probability of its tokens."""
        return sum(token.log_probability for token in self.tokens) / max(len(self.tokens), 1)


Event = tuple[int, Token | Exception | None]


class Run:
    """The texts of one request while they are generated.

    Args:
        served: the model.
        prompts: token ids of each prompt.
        settings: the settings of all texts; `num_return_sequences` texts for each prompt.
        top: number of most probable tokens to report.
        timeout: seconds until the texts are cancelled.

    Raises:
        APIError: a prompt is too long, or too many texts wait.
    """

    def __init__(
        self, served: ServedModel, prompts: Sequence[list[int]], settings: GenerationSettings, top: int, timeout: float
    ) -> None:
        model, self.timeout = served.model, timeout
        self._loop, self._events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        starts = prompts if model.continues_prompts else [model.start_ids] * len(prompts)
        try:
            if not model.continues_prompts and max(map(len, prompts)) > model.longest_row:
                raise ValueError(f"a source has {max(map(len, prompts))} tokens; the model reads {model.longest_row}")
            continuations = begin(starts, settings, model.longest_row, model._decode)
            processor = model._processor(settings)
        except (ValueError, ImportError) as error:
            raise APIError(str(error), code="context_length_exceeded" if "tokens" in str(error) else None) from None
        copies = settings.num_return_sequences
        self.texts = [Written(i // copies, continuation) for i, continuation in enumerate(continuations)]
        self.jobs: list[Job] = []
        try:
            for i, text in enumerate(self.texts):
                job = Job(text.continuation, settings, processor, self._receiver(i), top)
                if not model.continues_prompts:  # the batcher gives the prompt to the encoder
                    job.continuation = replace_prompt(text.continuation, prompts[text.prompt])
                    text.continuation = job.continuation
                self.jobs.append(job)
                served.generator.submit(job)
        except (queue.Full, RuntimeError) as error:
            self.cancel()
            if isinstance(error, queue.Full):
                raise busy() from None
            raise APIError("the server is shutting down", status=503) from None

    def _receiver(self, index: int) -> Any:
        return lambda event: self._loop.call_soon_threadsafe(self._events.put_nowait, (index, event))

    def cancel(self) -> None:
        """End all texts."""
        for job in self.jobs:
            job.cancelled.set()

    async def events(self, request: Request) -> AsyncIterator[Event]:
        """(number of the text, token), or None instead of a token at the end of each text.

        Raises:
            APIError: a text failed, or the time is over.
        """
        open_, end = len(self.texts), self._loop.time() + self.timeout
        while open_:
            try:
                index, event = await asyncio.wait_for(self._events.get(), _POLL)
            except TimeoutError:
                if await request.is_disconnected():
                    return
                if self._loop.time() > end:
                    raise APIError(f"the answer took more than {self.timeout:g} seconds", status=504) from None
                continue
            if isinstance(event, Exception):
                raise of_exception(event)
            if event is None:
                open_ -= 1
            else:
                self.texts[index].tokens.append(event)
            yield index, event

    async def finish(self, request: Request) -> list[Written]:
        """Wait for the end of all texts."""
        try:
            async for _ in self.events(request):
                pass
        finally:
            self.cancel()
        return self.texts


def replace_prompt(continuation: Continuation, prompt: list[int]) -> Continuation:
    """The continuation with another prompt."""
    return replace(continuation, prompt=prompt)


def settings_of(body: GenerationBody, max_new_tokens: int, copies: int, **more: Any) -> GenerationSettings:
    """The generation settings of a request.

    Args:
        body: the request.
        max_new_tokens: maximum number of new tokens.
        copies: number of texts for each prompt.
        more: further fields.

    Raises:
        APIError: a value is not allowed.
    """
    temperature = 1.0 if body.temperature is None else body.temperature
    sampling: dict[str, Any] = {}
    if temperature > 0:
        sampling = {"do_sample": True, "temperature": temperature, "top_p": body.top_p or 1.0, "seed": body.seed}
        sampling["num_return_sequences"] = copies
    elif copies > 1:
        raise APIError("with temperature 0 all texts of a prompt are equal: n and best_of must be 1", "n")
    try:
        return GenerationSettings(
            max_new_tokens=max_new_tokens,
            stop_strings=body.stops,
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias={int(token): bias for token, bias in (body.logit_bias or {}).items() if token.isdigit()},
            **sampling,
            **more,
        )
    except ValueError as error:
        raise APIError(str(error)) from None
