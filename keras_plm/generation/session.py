from typing import Protocol

import numpy as np

FINISHED = -1  # in place of the token of a row whose text has ended


class GenerationSession(Protocol):
    """A model in the middle of some texts: what it has read is in its caches, and it says what may follow.

    Keras models and exported artifacts have one each; everything else about generation is the same for both.
    """

    def read(self, prompts: list[list[int]]) -> np.ndarray:
        """Begin with these prompts, each of at least one token id; (B, V) float32 logits of the tokens behind them."""

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """Read one more token of each row; (B, V) float32 logits of the tokens behind them.

        Args:
            tokens: (B,) int32; `FINISHED` for a row whose logits are of no interest any more.
        """

    def select(self, rows: np.ndarray) -> None:
        """Keep these rows, (B',) int, in this order; some may be left out, and some be there several times."""

    def read_ahead(self, tokens: list[int], width: int) -> np.ndarray:
        """Read several tokens of the only row at once; (tokens, V) float32 logits of the token behind each.

        Args:
            tokens: at least one token id.
            width: maximum number of tokens in any such call; calls of one width are compiled once.
        """

    def rewind(self, count: int) -> None:
        """Forget the last `count` tokens that were read."""
