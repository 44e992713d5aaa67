from typing import Protocol, runtime_checkable

import numpy as np

FINISHED = -1  # replaces the token of a row whose text has ended


class GenerationSession(Protocol):
    """The interface of a model for generation. It reads tokens, keeps them in caches, and returns logits.

    Keras models and exported artifacts implement it; the rest of this package is the same for both.
    """

    def read(self, prompts: list[list[int]]) -> np.ndarray:
        """Start with these prompts of at least one token id. Returns the (B, V) float32 logits of the next tokens."""

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """Read one more token of each row. Returns the (B, V) float32 logits of the next tokens.

        Args:
            tokens: (B,) int32; `FINISHED` for a row whose logits are not needed any more.
        """

    def select(self, rows: np.ndarray) -> None:
        """Replace the rows by these rows, given as indices. A row can be left out or occur several times."""

    def read_ahead(self, tokens: list[int], width: int) -> np.ndarray:
        """Read several tokens at once; the session must have one row. Returns (tokens, V) float32 logits.

        Args:
            tokens: at least one token id.
            width: maximum number of tokens in all such calls. The step is compiled once for each width.
        """

    def rewind(self, count: int) -> None:
        """Forget the last `count` tokens that were read."""


@runtime_checkable
class StateSession(Protocol):
    """A session that also returns hidden states, for contrastive search. Only Keras models have it."""

    def read_states(self, prompts: list[list[int]]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Like `read`, and for each prompt the (tokens, D) float32 hidden states of the last block."""

    def step_states(self, tokens: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Like `step`, and for each row the (1, D) float32 hidden states of its token."""

    def select(self, rows: np.ndarray) -> None:
        """See `GenerationSession`."""


class JoiningSession(Protocol):
    """A session that prompts can join at any time, for continuous batching. It begins without rows."""

    def join(self, prompts: list[list[int]], room: int) -> np.ndarray:
        """Add a row for each prompt behind the present rows.

        Args:
            prompts: token ids, at least one each; for an encoder-decoder, those of the texts that its encoder reads.
            room: the largest number of further steps that any row, old or new, may need.

        Returns:
            (prompts, V) float32 logits of the next tokens of the new rows.
        """

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """See `GenerationSession`."""

    def select(self, rows: np.ndarray) -> None:
        """See `GenerationSession`."""
