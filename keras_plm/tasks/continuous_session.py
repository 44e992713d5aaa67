from collections.abc import Callable

import numpy as np

from keras_plm.generation import FINISHED

from .keras_session import KerasSession

_SHORTEST = 128  # cache lengths are powers of two from here on, because XLA compiles each length separately


class ContinuousSession:
    """A `JoiningSession` of a Keras model: prompts join while other rows generate.

    All rows write their next token at the same position of the caches. When a prompt joins, the rows are moved to the
    left as far as possible, and the prompt is read apart and put before this position. The masks tell each row where
    its text begins; positions count from there, so moving a row changes nothing for it.

    The number of rows that are computed is a power of two, and so is the length of the caches, which grow with the
    texts. Each combination is compiled once, in some seconds.

    Args:
        read: reads prompts, or sources for an encoder-decoder. Returns their session and the logits of the next tokens.
    """

    _session: KerasSession

    def __init__(self, read: Callable[[list[list[int]]], tuple[KerasSession, np.ndarray]]) -> None:
        self.read = read
        self._rows = 0

    def join(self, prompts: list[list[int]], room: int) -> np.ndarray:
        """See `JoiningSession`."""
        reader, logits = self.read(prompts)
        read = reader.position
        if not self._rows:
            self._session = reader
        session = self._session
        longest = int(session.mask[: self._rows].sum(1).max(initial=0)) if self._rows else 0
        position = max(longest, read)
        # not for all of `room`, which may be the model's limit: the caches grow when a text becomes that long
        length = _rounded(position + min(room, _SHORTEST))
        session.move(position, length)
        if session is not reader:
            reader.move(position, length)
            session.append(reader, self._rows)
        self._resize(np.arange(self._rows + len(prompts)))
        return logits

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """See `GenerationSession`."""
        if self._session.position == self._session.mask.shape[1]:
            self._session.move(self._session.position, 2 * self._session.position)
        idle = np.full(len(self._session.mask) - self._rows, FINISHED, "int32")
        return self._session.step(np.concatenate([tokens.astype("int32"), idle]))[: self._rows]

    def select(self, rows: np.ndarray) -> None:
        """See `GenerationSession`."""
        self._resize(rows)

    def _resize(self, rows: np.ndarray) -> None:
        """Keep these rows, and copies of the first one up to a power of two."""
        self._rows = len(rows)
        if self._rows:
            computed = 1 << (self._rows - 1).bit_length()
            session = self._session
            if computed != len(session.mask) or (rows != np.arange(self._rows)).any():
                session.select(np.concatenate([rows, np.repeat(rows[:1], computed - self._rows)]))


def _rounded(length: int) -> int:
    return max(_SHORTEST, 1 << (length - 1).bit_length())
