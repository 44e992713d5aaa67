"""Run the texts of one request in the batcher of its model."""

import asyncio
import queue
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from keras_plm.generation import Continuation, GenerationSettings, begin
from keras_plm.generation.continuous_batching import Job, Token

from .errors import APIError, of_exception
from .requests import GenerationBody
from .served_models import ServedModel, busy

_POLL = 0.5  # seconds between two looks whether the client is still there
_MOST_BIASES = 1_024


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
    """The texts of one request while they are generated. `Run.begin` makes one.

    Args:
        served: the model.
        texts: the texts to generate.
        jobs: the job of each text, without a receiver.
        timeout: seconds until the texts are cancelled.

    Raises:
        APIError: too many texts wait, or the server stops.
    """

    def __init__(self, served: ServedModel, texts: list[Written], jobs: list[Job], timeout: float) -> None:
        self.texts, self.jobs, self.timeout = texts, jobs, timeout
        self._loop, self._events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        for i, job in enumerate(jobs):
            job.receive = self._receiver(i)
        try:
            served.generator.submit(*jobs)
        except queue.Full:
            raise busy() from None
        except RuntimeError:
            raise APIError("the server is shutting down", status=503) from None

    @classmethod
    async def begin(
        cls,
        served: ServedModel,
        prompts: Sequence[list[int]],
        settings: GenerationSettings,
        top: int | None,
        timeout: float,
    ) -> "Run":
        """Begin to generate the texts of a request.

        Args:
            served: the model.
            prompts: token ids of each prompt, or of each source of an encoder-decoder.
            settings: the settings of all texts; `num_return_sequences` texts for each prompt.
            top: number of most probable tokens to report, with log-probabilities; None for none.
            timeout: seconds until the texts are cancelled.

        Raises:
            APIError: a prompt is too long, or too many texts wait.
        """
        # in a thread: a constraint reads the whole vocabulary
        texts, jobs = await run_in_threadpool(_prepared, served, prompts, settings, top)
        return cls(served, texts, jobs, timeout)

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
        look = self._loop.time() + _POLL
        while open_:
            now = self._loop.time()
            if now >= end:
                raise APIError(f"the answer took more than {self.timeout:g} seconds", status=504)
            if now >= look:
                if await request.is_disconnected():
                    return
                look = now + _POLL
            try:
                index, event = await asyncio.wait_for(self._events.get(), min(end, look) - now)
            except TimeoutError:
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


def _prepared(
    served: ServedModel, prompts: Sequence[list[int]], settings: GenerationSettings, top: int | None
) -> tuple[list[Written], list[Job]]:
    model = served.model
    for prompt in prompts:
        if not model.continues_prompts and len(prompt) > model.longest_row:
            message = f"a source has {len(prompt)} tokens; the model reads {model.longest_row}"
            raise APIError(message, "prompt", "context_length_exceeded")
    starts = prompts if model.continues_prompts else [model.start_ids] * len(prompts)
    try:
        continuations = begin(starts, settings, model.longest_row, model._decode)
    except ValueError as error:
        raise APIError(str(error), "prompt", "context_length_exceeded") from None
    try:
        processor = model._processor(settings)
    except (ValueError, ImportError) as error:  # a schema that is not supported
        raise APIError(str(error)) from None
    copies = settings.num_return_sequences
    if not model.continues_prompts:  # the batcher gives the prompt of a job to the encoder
        sources = [prompts[i // copies] for i in range(len(continuations))]
        continuations = [replace(c, prompt=source) for c, source in zip(continuations, sources, strict=True)]
    texts = [Written(i // copies, continuation) for i, continuation in enumerate(continuations)]
    return texts, [Job(text.continuation, settings, processor, lambda event: None, top) for text in texts]


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
    bias = body.logit_bias or {}
    if len(bias) > _MOST_BIASES or not all(token.isascii() and token.isdigit() for token in bias):
        raise APIError(f"logit_bias has token ids as keys, at most {_MOST_BIASES:,}", "logit_bias")
    try:
        return GenerationSettings(
            max_new_tokens=max_new_tokens,
            stop_strings=body.stops,
            presence_penalty=body.presence_penalty or 0.0,
            frequency_penalty=body.frequency_penalty or 0.0,
            logit_bias={int(token): value for token, value in bias.items()},
            **sampling,
            **more,
        )
    except ValueError as error:
        raise APIError(str(error)) from None
