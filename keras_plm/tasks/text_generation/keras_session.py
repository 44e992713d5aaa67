from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.generation import FINISHED
from keras_plm.xla import compiled

_ROUND = 64  # positions: each length of a cache is compiled once, in some seconds
_FUNCTIONS = "_generation_functions"


class KerasSession:
    """A `GenerationSession` of a Keras model: shorter prompts of a batch have padding before them.

    A prompt is read at once as TensorFlow runs it: its products are large, and oneDNN's are fast. A single token is
    read by a step that XLA compiles for its batch and its length: what bounds it is how fast the weights come from
    memory, and XLA reads them at about the speed of the memory (docs/log).

    Args:
        model: a `TextGenerator`.
        max_new_tokens: most steps after the prompts.
    """

    def __init__(self, model: Any, max_new_tokens: int) -> None:
        self.model = model
        self.max_new_tokens = max_new_tokens
        self._read, self._step = _functions(model)
        self._caches: Any = None

    def read(self, prompts: list[list[int]]) -> np.ndarray:
        """See `GenerationSession`."""
        longest = max(map(len, prompts))
        length = -(-(longest + self.max_new_tokens) // _ROUND) * _ROUND
        token_ids = np.zeros((len(prompts), longest), "int32")
        self._mask = np.zeros((len(prompts), length), "int32")
        for row, prompt in enumerate(prompts):
            token_ids[row, longest - len(prompt) :] = prompt
            self._mask[row, longest - len(prompt) : longest] = 1
        caches = self.model.decoder.make_caches(len(prompts), length)
        self._index = longest
        return self._run(self._read, token_ids, caches, 0)

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """See `GenerationSession`."""
        reads = tokens != FINISHED
        self._mask[reads, self._index] = 1
        self._index += 1
        return self._run(self._step, np.where(reads, tokens, 0)[:, None], self._caches, self._index - 1)

    def select(self, rows: np.ndarray) -> None:
        """See `GenerationSession`."""
        self._mask = self._mask[rows]
        self._caches = tf.nest.map_structure(partial(tf.gather, indices=rows), self._caches)

    def _run(self, function: Callable, token_ids: np.ndarray, caches: Any, index: int) -> np.ndarray:
        arguments = (tf.constant(token_ids, tf.int32), tf.constant(self._mask), caches, tf.constant(index))
        logits, self._caches = function(*arguments)
        return logits.numpy()


def _functions(model: Any) -> tuple[Callable, Callable]:
    """The model's two functions, traced once for all batches and lengths."""
    if _FUNCTIONS not in model.__dict__:
        read = tf.function(model.step, autograph=False, reduce_retracing=True)
        object.__setattr__(model, _FUNCTIONS, (read, compiled(model.step)))
    return model.__dict__[_FUNCTIONS]
