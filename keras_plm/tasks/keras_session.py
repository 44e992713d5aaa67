from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.generation import FINISHED
from keras_plm.models import OWN_CACHES, Caches
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
        model: a `TextGenerator`, or a `Seq2Seq`, whose prompts are those of its decoder.
        max_new_tokens: maximum number of steps after the prompts.
        make_caches: makes the caches of all rows, for a number of tokens.

    Attributes:
        mask: (B, S) int32, 1 for each position of the caches that has a token.
        position: the position of the next token.
    """

    mask: np.ndarray
    position: int

    def __init__(self, model: Any, max_new_tokens: int, make_caches: Callable[[int, int], Caches]) -> None:
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.make_caches = make_caches
        self._caches: list[tf.Tensor] = []
        # the others are what an encoder has read
        self._own = [name.startswith(OWN_CACHES) for name in tf.nest.flatten(model.backbone.cache_names)]

    def read(self, prompts: list[list[int]], states: bool = False) -> np.ndarray:
        """See `GenerationSession`."""
        longest = max(map(len, prompts))
        length = -(-(longest + self.max_new_tokens) // _ROUND) * _ROUND
        token_ids = np.zeros((len(prompts), longest), "int32")
        self.mask = np.zeros((len(prompts), length), "int32")
        for row, prompt in enumerate(prompts):
            token_ids[row, longest - len(prompt) :] = prompt
            self.mask[row, longest - len(prompt) : longest] = 1
        self._caches = tf.nest.flatten(self.make_caches(len(prompts), length))
        self.position = longest
        # in parts: the attention scores of a long prompt would need more memory than the model
        for start in range(0, longest, _LONGEST_READ):
            part = token_ids[:, start : start + _LONGEST_READ]
            logits = self._run("read", part, start, states, reduce_retracing=True)
        return logits

    def read_states(self, prompts: list[list[int]]) -> tuple[np.ndarray, list[np.ndarray]]:
        """See `StateSession`."""
        self._states: list[np.ndarray] = []
        logits = self.read(prompts, states=True)
        states = np.concatenate(self._states, 1)
        return logits, [states[row, states.shape[1] - len(prompt) :] for row, prompt in enumerate(prompts)]

    def step_states(self, tokens: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """See `StateSession`."""
        self._states = []
        return self.step(tokens, states=True), list(self._states[0])

    def step(self, tokens: np.ndarray, states: bool = False) -> np.ndarray:
        """See `GenerationSession`."""
        reads = tokens != FINISHED
        self.mask[reads, self.position] = 1
        self.position += 1
        # not its concrete function, which would save 1.5 ms per token of Python: called directly, it runs without XLA
        token_ids = np.where(reads, tokens, 0)[:, None]
        return self._run("step", token_ids, self.position - 1, states, jit_compile=xla_enabled())

    def select(self, rows: np.ndarray) -> None:
        """See `GenerationSession`."""
        self.mask = self.mask[rows]
        self._caches = [tf.gather(cache, rows) for cache in self._caches]

    def read_ahead(self, tokens: list[int], width: int) -> np.ndarray:
        """See `GenerationSession`."""
        self.mask[0, self.position : self.position + len(tokens)] = 1
        # the padding writes into the caches too, at positions that the mask hides and that are written again
        token_ids = np.array([[*tokens, *[0] * (width - len(tokens))]])
        self.position += len(tokens)
        logits = self._run("ahead", token_ids, self.position - len(tokens), jit_compile=xla_enabled())
        return logits[0, : len(tokens)]

    def rewind(self, count: int) -> None:
        """See `GenerationSession`."""
        self.mask[0, self.position - count : self.position] = 0
        self.position -= count

    def move(self, position: int, length: int) -> None:
        """Move all rows, so that their next token is at this position of caches of this length."""
        shift, more = position - self.position, length - self.mask.shape[1]
        if more > 0:
            self.mask = np.pad(self.mask, ((0, 0), (0, more)))
            self._change_own(lambda cache: tf.pad(cache, ((0, 0), (0, 0), (0, more), (0, 0))))
        if shift:  # what leaves at one end comes back at the other one, where the mask hides it
            self.mask = np.roll(self.mask, shift, axis=1)
            self._change_own(lambda cache: tf.roll(cache, shift, axis=2))
        if more < 0:
            self.mask = self.mask[:, :length]
            self._change_own(lambda cache: cache[:, :, :length])
        self.position = position

    def _change_own(self, change: Callable[[tf.Tensor], tf.Tensor]) -> None:
        """Change the caches of the tokens that were read and written, not those of an encoder's text."""
        self._caches = [change(cache) if own else cache for cache, own in zip(self._caches, self._own, strict=True)]

    def append(self, other: "KerasSession", rows: int) -> None:
        """Keep this number of rows, and add those of another session with the same position and length."""
        self.mask = np.concatenate([self.mask[:rows], other.mask])
        pairs = zip(self._caches, other._caches, strict=True)
        self._caches = [tf.concat(_same_width(cache[:rows], new), 0) for cache, new in pairs]

    def _run(self, name: str, token_ids: np.ndarray, index: int, states: bool = False, **options: Any) -> np.ndarray:
        model, names = self.model, self.model.backbone.cache_names

        # the caches are a list here: structures would cost time at each call
        def run(token_ids: Any, padding_mask: Any, index: Any, *caches: Any) -> list[Any]:
            packed = tf.nest.pack_sequence_as(names, caches)
            if states:
                hidden, new = model.backbone.step(token_ids, padding_mask, packed, index)
                logits = tf.cast(model.logits(hidden[:, -1:]), tf.float32)[:, 0]
                return [logits, tf.cast(hidden, tf.float32), *tf.nest.flatten(new)]
            logits, new = model.step(token_ids, padding_mask, packed, index, all_logits=name == "ahead")
            return [logits, *tf.nest.flatten(new)]

        function = kept_function(model, f"{name}_states" if states else name, run, **options)
        arguments = [tf.constant(token_ids, tf.int32), tf.constant(self.mask), tf.constant(index)]
        logits, *self._caches = function(*arguments, *self._caches)
        if states:
            hidden, *self._caches = self._caches
            self._states.append(hidden.numpy())
        return logits.numpy()


def _same_width(first: tf.Tensor, second: tf.Tensor) -> list[tf.Tensor]:
    """Two caches (B, N, S, D), or masks (B, S), with padding up to the longer S."""
    axis = 2 if len(first.shape) == 4 else 1
    if first.shape[axis] == second.shape[axis]:
        return [first, second]
    width = max(first.shape[axis], second.shape[axis])

    def widened(part: tf.Tensor) -> tf.Tensor:
        return tf.pad(part, [(0, width - size if i == axis else 0) for i, size in enumerate(part.shape)])

    return [widened(first), widened(second)]


def kept_function(model: Any, name: str, function: Callable, **options: Any) -> Callable:
    """A `tf.function` that is traced once for each shape, and used by all sessions of the model.

    Args:
        model: the model that keeps it.
        name: its name in the model.
        function: what it computes; only the first one of a name is used.
        options: of `tf.function`; other options make another function.
    """
    functions = model.__dict__.get(_FUNCTIONS)
    if functions is None:
        functions = {}
        object.__setattr__(model, _FUNCTIONS, functions)  # not tracked by Keras: it is not part of the model
    key = (name, *options.items())
    if key not in functions:
        functions[key] = tf.function(function, autograph=False, **options)
    return functions[key]
