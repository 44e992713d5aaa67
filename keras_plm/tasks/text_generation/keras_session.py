from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.generation import FINISHED
from keras_plm.xla import xla_enabled

_ROUND = 64  # cache lengths are multiples of this, because XLA compiles each length separately, in some seconds
_LONGEST_READ = 1_024  # tokens of a prompt that are read in one pass
_FUNCTIONS = "_generation_functions"


class KerasSession:
    """A `GenerationSession` of a Keras model. In a batch, shorter prompts have padding before them.

    All tokens of the prompts are read in one pass without XLA, because oneDNN's large matrix products are fast. Single
    tokens are read by a step that XLA compiles for the batch size and the cache length. The speed of this step is
    limited by reading the weights from memory (docs/log).

    Args:
        model: a `TextGenerator`.
        max_new_tokens: maximum number of steps after the prompts.
    """

    def __init__(self, model: Any, max_new_tokens: int) -> None:
        self.model = model
        self.max_new_tokens = max_new_tokens
        self._caches: list[tf.Tensor] = []

    def read(self, prompts: list[list[int]]) -> np.ndarray:
        """See `GenerationSession`."""
        longest = max(map(len, prompts))
        length = -(-(longest + self.max_new_tokens) // _ROUND) * _ROUND
        token_ids = np.zeros((len(prompts), longest), "int32")
        self._mask = np.zeros((len(prompts), length), "int32")
        for row, prompt in enumerate(prompts):
            token_ids[row, longest - len(prompt) :] = prompt
            self._mask[row, longest - len(prompt) : longest] = 1
        self._caches = tf.nest.flatten(self.model.decoder.make_caches(len(prompts), length))
        self._index = longest
        # in parts: the attention scores of a long prompt would need more memory than the model
        for start in range(0, longest, _LONGEST_READ):
            logits = self._run(_functions(self.model)["read"], token_ids[:, start : start + _LONGEST_READ], start)
        return logits

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """See `GenerationSession`."""
        reads = tokens != FINISHED
        self._mask[reads, self._index] = 1
        token_ids = np.where(reads, tokens, 0)[:, None]
        # not its concrete function, which would save 1.5 ms per token of Python: called directly, it runs without XLA
        step = _functions(self.model)["step" if xla_enabled() else "step_without_xla"]
        self._index += 1
        return self._run(step, token_ids, self._index - 1)

    def select(self, rows: np.ndarray) -> None:
        """See `GenerationSession`."""
        self._mask = self._mask[rows]
        self._caches = [tf.gather(cache, rows) for cache in self._caches]

    def read_ahead(self, tokens: list[int], width: int) -> np.ndarray:
        """See `GenerationSession`."""
        self._mask[0, self._index : self._index + len(tokens)] = 1
        # the padding writes into the caches too, at positions that the mask hides and that are written again
        token_ids = np.array([[*tokens, *[0] * (width - len(tokens))]])
        ahead = _functions(self.model)["ahead" if xla_enabled() else "ahead_without_xla"]
        self._index += len(tokens)
        return self._run(ahead, token_ids, self._index - len(tokens))[0, : len(tokens)]

    def rewind(self, count: int) -> None:
        """See `GenerationSession`."""
        self._mask[0, self._index - count : self._index] = 0
        self._index -= count

    def _run(self, function: Callable, token_ids: np.ndarray, index: int) -> np.ndarray:
        logits, *self._caches = function(*self._arguments(token_ids, index))
        return logits.numpy()

    def _arguments(self, token_ids: np.ndarray, index: int) -> list[tf.Tensor]:
        return [tf.constant(token_ids, tf.int32), tf.constant(self._mask), tf.constant(index), *self._caches]


def _functions(model: Any) -> dict[str, Any]:
    """The functions of a model, which are traced once and used by all its sessions. They take the caches as a list."""
    if _FUNCTIONS not in model.__dict__:
        structure = [{"self": {"key": 0, "value": 0}} for _ in model.decoder.blocks]

        def run(token_ids: Any, padding_mask: Any, index: Any, *caches: Any, all_logits: bool = False) -> list[Any]:
            packed = tf.nest.pack_sequence_as(structure, caches)
            logits, new = model.step(token_ids, padding_mask, packed, index, all_logits)
            return [logits, *tf.nest.flatten(new)]

        ahead = partial(run, all_logits=True)
        functions = {
            "read": tf.function(run, autograph=False, reduce_retracing=True),
            "step": tf.function(run, autograph=False, jit_compile=True),
            "step_without_xla": tf.function(run, autograph=False),
            "ahead": tf.function(ahead, autograph=False, jit_compile=True),
            "ahead_without_xla": tf.function(ahead, autograph=False),
        }
        object.__setattr__(model, _FUNCTIONS, functions)  # not tracked by Keras: it is not part of the model
    return model.__dict__[_FUNCTIONS]
