"""Continuous batching: the texts of many requests are generated together, and a request can join at any token."""

import queue
import threading
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
        token_id: its id.
        text: the text that is certain with it, often of more or less than this token.
        log_probability: its log-probability, before the settings changed the logits.
        top: the most probable tokens in its place with their log-probabilities, the best first.
    """

    token_id: int
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
        top: number of most probable tokens to report for each token.
        cancelled: set it to end the text early.
    """

    continuation: Continuation
    settings: GenerationSettings
    processor: LogitsProcessor
    receive: Callable[[Token | Exception | None], None]
    top: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)


class ContinuousBatcher:
    """Generates the texts of jobs, in a thread of its own.

    Args:
        open_session: makes a session without rows.
        max_rows: maximum number of texts that are generated at once; other jobs wait.
        max_waiting: maximum number of jobs that wait.

    Source: Yu et al. 2022, §3, https://www.usenix.org/conference/osdi22/presentation/yu
    """

    def __init__(self, open_session: Callable[[], JoiningSession], max_rows: int = 8, max_waiting: int = 64) -> None:
        self.open_session = open_session
        self.max_rows = max_rows
        self._waiting: queue.Queue[Job | None] = queue.Queue(max_waiting)
        self._running: list[Job] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="continuous-batching", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Number of jobs that wait."""
        return self._waiting.qsize()

    @property
    def num_running(self) -> int:
        """Number of texts that are being generated."""
        return len(self._running)

    def submit(self, job: Job) -> None:
        """Add a job.

        Raises:
            queue.Full: too many jobs wait.
            RuntimeError: the batcher was closed.
        """
        if self._closed:
            raise RuntimeError("the batcher is closed")
        self._waiting.put_nowait(job)

    def close(self, timeout: float | None = None) -> None:
        """Take no more jobs, finish all that were submitted, and end the thread.

        Args:
            timeout: seconds after which the texts that are not finished are cancelled; None waits for all.
        """
        if not self._closed:
            self._closed = True
            threading.Thread(target=self._waiting.put, args=(None,), daemon=True).start()  # the queue may be full
        self._thread.join(timeout)
        if self._thread.is_alive():
            for job in [*self._running, *self._waiting.queue]:
                if job is not None:
                    job.cancelled.set()
            self._thread.join()

    def _run(self) -> None:
        session, logits, open_ = self.open_session(), np.zeros((0, 0), "float32"), True
        while open_ or self._running:
            new, open_ = self._next_jobs(open_)
            try:
                if new:
                    # the new rows first see the room that all rows still need
                    room = max(job.continuation.limit - len(job.continuation.token_ids) for job in self._running + new)
                    read = session.join([job.continuation.prompt for job in new], room)
                    logits = np.concatenate([logits, read]) if self._running else read
                    self._running += new
                if not self._running:
                    continue
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

    def _next_jobs(self, open_: bool) -> tuple[list[Job], bool]:
        """Jobs to begin now, and whether more may come. Waits if nothing runs."""
        new: list[Job] = []
        while open_ and len(self._running) + len(new) < self.max_rows:
            try:
                job = self._waiting.get(block=not (self._running or new))
            except queue.Empty:
                break
            if job is None:
                open_ = False
            elif job.cancelled.is_set():
                _tell(job, None)
            else:
                new.append(job)
        return new, open_


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
    if token not in job.processor.end_ids or text:
        scores = log_softmax(logits.astype("float64"))
        best = np.argsort(-scores, kind="stable")[: job.top]
        _tell(job, Token(token, text, float(scores[token]), [(int(i), float(scores[i])) for i in best]))
    if continuation.finish_reason is not None:
        _tell(job, None)
        return None
    return token


def _tell(job: Job, event: Token | Exception | None) -> None:
    try:
        job.receive(event)
    except Exception:  # whoever waited is gone
        job.cancelled.set()
