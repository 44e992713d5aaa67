"""The models of a server by name, and the batcher of each model that generates text."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np

from keras_plm.generation.continuous_batching import ContinuousBatcher
from keras_plm.tasks import task_of

from .errors import APIError
from .limits import Limits


def busy() -> APIError:
    """The error for a request for which there is no room."""
    message, headers = "too many requests wait; try again later", {"Retry-After": "1"}
    return APIError(message, code="rate_limit_exceeded", status=429, headers=headers)


class ServedModel:
    """A model or an artifact of a server.

    Args:
        name: its name in requests.
        model: the model, or what `load_artifact` opened.
        limits: the limits of the server.

    Attributes:
        created: when it was opened, in seconds since 1970.
    """

    def __init__(self, name: str, model: Any, limits: Limits) -> None:
        self.name, self.model = name, model
        self.task = task_of(model)
        # one answer uses all cores
        self._executor = ThreadPoolExecutor(1, f"answers-{name}")
        self.limits, self._answering = limits, 0
        self.created = int(time.time())
        self.batcher: ContinuousBatcher | None = None
        if self.task.generates:
            model.open_joining_session()  # a SavedModel has no session: an error now, not at the first request
            self.batcher = ContinuousBatcher(model.open_joining_session, limits.max_rows, limits.max_waiting)

    def warm_up(self) -> None:
        """Generate tokens that nobody reads: a step is compiled for each number of rows that is a power of two."""
        if self.batcher is None:
            return
        session, rows = self.model.open_joining_session(), self.limits.max_rows
        begin = self.model.texts_to_ids if self.model.continues_prompts else self.model.source_ids
        session.join(begin(["a"]) * rows, 1)
        for count in sorted({rows, *(1 << n for n in range((rows - 1).bit_length()))}, reverse=True):
            session.select(np.arange(count))
            session.step(np.zeros(count, "int32"))

    async def run(self, compute: Callable[[], Any]) -> Any:
        """Compute an answer in the thread of this model, one at a time.

        Raises:
            APIError: too many answers wait, or it takes too long.
        """
        if self._answering > self.limits.max_waiting:
            raise busy()
        loop, self._answering = asyncio.get_running_loop(), self._answering + 1
        future = self._executor.submit(compute)
        # counted until its thread has ended, which may be after the time is over
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._answered))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self.limits.timeout)
        except TimeoutError:
            raise APIError(f"the answer took more than {self.limits.timeout:g} seconds", status=504) from None

    def _answered(self) -> None:
        self._answering -= 1

    @cached_property
    def pieces(self) -> list[bytes]:
        """The UTF-8 bytes of each token."""
        tokenizer = self.model.needs_tokenizer()
        try:
            return tokenizer.token_bytes()
        except ValueError:  # their text depends on the tokens beside them
            return [token.encode() for token in tokenizer.vocabulary]

    @property
    def generator(self) -> ContinuousBatcher:
        """The batcher.

        Raises:
            APIError: the model does not generate text.
        """
        if self.batcher is None:
            raise APIError(f"the model {self.name} does not generate text: it is for {self._purpose}", "model")
        return self.batcher

    def for_task(self, attribute: str) -> Any:
        """The model, if it has this method.

        Raises:
            APIError: it does not.
        """
        if not hasattr(self.model, attribute):
            raise APIError(f"the model {self.name} cannot do this: it is for {self._purpose}", "model")
        return self.model

    @property
    def _purpose(self) -> str:
        return self.task.name.replace("_", " ")

    def describe(self) -> dict[str, Any]:
        """OpenAI's description of a model."""
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "keras_plm"}

    def close(self, timeout: float) -> None:
        """End its threads. Texts that are not finished in this number of seconds are cancelled."""
        if self.batcher is not None:
            self.batcher.close(timeout)
        self._executor.shutdown(cancel_futures=True)


class ServedModels:
    """All models of a server.

    Args:
        models: models or artifacts by name.
        limits: the limits of the server.

    Attributes:
        is_ready: set it to False before `warm_up`, which sets it to True at its end.

    Raises:
        ValueError: there is no model.
    """

    def __init__(self, models: Mapping[str, Any], limits: Limits) -> None:
        if not models:
            raise ValueError("give at least one model to serve")
        self.by_name = {name: ServedModel(name, model, limits) for name, model in models.items()}
        self.is_ready = True

    def warm_up(self) -> None:
        """Compile what the first requests need. Until then the server answers them, but is not ready."""
        for name, model in self.by_name.items():
            try:
                model.warm_up()
            except Exception:  # the first request of this model gets the error
                logging.getLogger("keras_plm.serve").exception("the warm-up of %s failed", name)
        self.is_ready = True

    def __getitem__(self, name: str) -> ServedModel:
        """The model of this name.

        Raises:
            APIError: there is none.
        """
        found = self.by_name.get(name)
        if found is None:
            known = ", ".join(self.by_name)
            raise APIError(f"there is no such model; this server has {known}", "model", "model_not_found", 404)
        return found

    def close(self, timeout: float) -> None:
        """End all threads; texts that are not finished in this number of seconds are cancelled."""
        end = time.monotonic() + timeout
        for model in self.by_name.values():
            model.close(max(end - time.monotonic(), 0.0))
