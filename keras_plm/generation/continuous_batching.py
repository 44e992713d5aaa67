"""Continuous batching: the texts of many requests are generated together, and a request can join at any token."""

import math
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .decoding import Continuation, choose
from .logits_processors import LogitsProcessor
from .sampling import log_softmax
from .session import JoiningSession
from .settings import GenerationSettings


@dataclass(frozen=True)
class Token:
    """One new token of a text.

    Attributes:
        token_id: its id; None for text that was held back and is certain at the end.
        text: the text that is certain with it, often of more or less than this token.
        log_probability: its log-probability, before the settings changed the logits; NaN if the job does not ask.
        top: the most probable tokens in its place with their log-probabilities, the best first.
    """

    token_id: int | None
    text: str
    log_probability: float
    top: list[tuple[int, float]]


@dataclass(eq=False)
class Job:
    """One text to generate.

    Attributes:
        continuation: its prompt and what was written, see `begin`.
        settings: the settings; greedy decoding or sampling.
        processor: changes the logits, and has the end tokens.
        receive: called in the thread of the batcher with each token; with None after the last one, whose
            `continuation.finish_reason` is set; or with the error that ended the text.
        top: number of most probable tokens to report for each token, with log-probabilities; None for none.
        cancelled: set it to end the text early.
    """

    continuation: Continuation
    settings: GenerationSettings
    processor: LogitsProcessor
    receive: Callable[[Token | Exception | None], None]
    top: int | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)


class ContinuousBatcher:
    """Generates the texts of jobs, in a thread of its own.

    Args:
        open_session: makes a session without rows.
        max_rows: maximum number of texts that are generated at once; other jobs wait.
        max_waiting: if this number of jobs waits, no more are taken.

    Source: Yu et al. 2022, §3, https://www.usenix.org/conference/osdi22/presentation/yu
    """

    def __init__(self, open_session: Callable[[], JoiningSession], max_rows: int = 8, max_waiting: int = 64) -> None:
        self.open_session = open_session
        self.max_rows, self.max_waiting = max_rows, max_waiting
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._running: list[Job] = []
        self._closed = self._cancelled = False
        self._thread = threading.Thread(target=self._run, name="continuous-batching", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Number of jobs that wait."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Number of texts that are being generated."""
        return len(self._running)

    def submit(self, *jobs: Job) -> None:
        """Add jobs, all of them or none.

        Raises:
            queue.Full: too many jobs wait.
            RuntimeError: the batcher was closed.
        """
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._drop_cancelled()
            if len(self._waiting) >= self.max_waiting:
                raise queue.Full
            self._waiting.extend(jobs)
            self._changed.notify()

    def close(self, timeout: float | None = None) -> None:
        """Take no more jobs, finish all that were submitted, and end the thread.

        Args:
            timeout: seconds after which the texts that are not finished are cancelled; None waits for all.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        self._cancelled = True
        self._thread.join()

    def _run(self) -> None:
        session, logits = self.open_session(), np.zeros((0, 0), "float32")
        while (new := self._next_jobs()) or self._running:
            try:
                if new:
                    room = max(job.continuation.limit - len(job.continuation.token_ids) for job in self._running + new)
                    read = session.join([job.continuation.prompt for job in new], room)
                    logits = np.concatenate([logits, read]) if self._running else read
                    self._running, new = self._running + new, []
                if self._cancelled:
                    for job in self._running:
                        job.cancelled.set()
                tokens = [_advance(job, row) for job, row in zip(self._running, logits, strict=True)]
                kept = [row for row, token in enumerate(tokens) if token is not None]
                if len(kept) < len(tokens):
                    self._running = [self._running[row] for row in kept]
                    session.select(np.array(kept, int))
                logits = logits[:0]
                if kept:
                    logits = session.step(np.array([tokens[row] for row in kept], "int32"))
            except Exception as error:  # the session is lost, and with it all its texts
                for job in {*self._running, *new}:
                    _tell(job, error)
                self._running, session, logits = [], self.open_session(), logits[:0]

    def _next_jobs(self) -> list[Job]:
        """Jobs to begin now. Waits if nothing runs; empty at the end."""
        with self._changed:
            while True:
                if self._cancelled:
                    for job in self._waiting:
                        job.cancelled.set()
                self._drop_cancelled()
                if self._waiting or self._running or self._closed:
                    count = min(self.max_rows - len(self._running), len(self._waiting))
                    return [self._waiting.popleft() for _ in range(count)]
                self._changed.wait()

    def _drop_cancelled(self) -> None:
        gone = [job for job in self._waiting if job.cancelled.is_set()]
        if gone:
            self._waiting = deque(job for job in self._waiting if not job.cancelled.is_set())
        for job in gone:
            _tell(job, None)


def _advance(job: Job, logits: np.ndarray) -> int | None:
    """Choose the next token of a job; None if its text has ended."""
    continuation = job.continuation
    if job.cancelled.is_set():
        _tell(job, None)
        return None
    try:
        changed = job.processor(logits, continuation.prompt, continuation.token_ids)
        token = choose(changed, job.settings, continuation.random)
    except Exception as error:  # of this text only, such as settings that forbid every token
        _tell(job, error)
        return None
    text = continuation.add(token, job.processor.end_ids)
    if token in job.processor.end_ids:
        if text:
            _tell(job, Token(None, text, 0.0, []))
    elif job.top is None:  # the log-probabilities of all tokens cost a tenth of a step of eight texts
        _tell(job, Token(token, text, math.nan, []))
    else:
        scores = log_softmax(logits.astype("float64"))
        _tell(job, Token(token, text, float(scores[token]), best_tokens(scores, job.top, token)))
    if continuation.finish_reason is not None:
        _tell(job, None)
        return None
    return token


def best_tokens(scores: np.ndarray, count: int, chosen: int) -> list[tuple[int, float]]:
    """This number of the most probable tokens, the best first; the chosen one follows if it is not among them."""
    if not count:
        return []
    best = np.argsort(-scores, kind="stable")[:count].tolist()
    return [(i, float(scores[i])) for i in (best if chosen in best else [*best, chosen])]


def _tell(job: Job, event: Token | Exception | None) -> None:
    try:
        job.receive(event)
    except Exception:  # whoever waited is gone
        job.cancelled.set()
