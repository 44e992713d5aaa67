from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.generation import FINISHED
from keras_plm.xla import xla_enabled

_ROUND = 32  # lengths are multiples of this, because XLA compiles each length separately
_FUNCTIONS = "_generation_functions"


class KerasSession:
    """A `GenerationSession` of an encoder-decoder. The prompts are those of the decoder.

    The encoder reads all texts in one pass. Its keys and values are projected once, and are part of the caches.

    Args:
        model: a `Seq2Seq`.
        max_new_tokens: maximum number of steps after the prompts.
        sources: token ids of the texts that the encoder reads.
    """

    def __init__(self, model: Any, max_new_tokens: int, sources: list[list[int]]) -> None:
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.sources = sources

    def read(self, prompts: list[list[int]]) -> np.ndarray:
        """See `GenerationSession`."""
        size = len(prompts[0])
        if any(len(prompt) != size for prompt in prompts) or len(prompts) != len(self.sources):
            raise ValueError("the decoder needs one prompt for each text, all of the same length")
        longest = max(map(len, self.sources))
        longest = max(longest, min(_rounded(longest), self.model.longest_row))
        source_ids = np.zeros((len(prompts), longest), "int32")
        source_mask = np.zeros_like(source_ids)
        for row, ids in enumerate(self.sources):
            source_ids[row, : len(ids)], source_mask[row, : len(ids)] = ids, 1
        functions = _functions(self.model)
        length = _rounded(size + self.max_new_tokens)
        self._caches = functions["encode"](tf.constant(source_ids), tf.constant(source_mask), length)
        self._source_mask = tf.constant(source_mask)
        self._mask = np.zeros((len(prompts), length), "int32")
        self._mask[:, :size] = 1
        self._index = size
        return self._run("read", np.array(prompts, "int32"), 0)

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """See `GenerationSession`."""
        reads = tokens != FINISHED
        self._mask[reads, self._index] = 1
        self._index += 1
        name = "step" if xla_enabled() else "step_without_xla"
        return self._run(name, np.where(reads, tokens, 0)[:, None], self._index - 1)

    def select(self, rows: np.ndarray) -> None:
        """See `GenerationSession`."""
        self._mask = self._mask[rows]
        self._source_mask = tf.gather(self._source_mask, rows)
        self._caches = [tf.gather(cache, rows) for cache in self._caches]

    def read_ahead(self, tokens: list[int], width: int) -> np.ndarray:
        """Not needed: prompt lookup is for decoders that repeat their prompt."""
        raise NotImplementedError("an encoder-decoder has no speculative decoding")

    def rewind(self, count: int) -> None:
        """Not needed, see `read_ahead`."""
        raise NotImplementedError("an encoder-decoder has no speculative decoding")

    def _run(self, name: str, token_ids: np.ndarray, index: int) -> np.ndarray:
        arguments = [tf.constant(token_ids, tf.int32), tf.constant(self._mask), tf.constant(index), self._source_mask]
        logits, *self._caches = _functions(self.model)[name](*arguments, *self._caches)
        return logits.numpy()


def _rounded(length: int) -> int:
    return -(-length // _ROUND) * _ROUND


def _functions(model: Any) -> dict[str, Any]:
    """The functions of a model, which are traced once and used by all its sessions. They take the caches as a list."""
    if _FUNCTIONS not in model.__dict__:
        part = {"key": 0, "value": 0}
        structure = [{"self": part, "cross": part} for _ in model.encoder_decoder.decoder_blocks]

        def encode(token_ids: Any, padding_mask: Any, length: int) -> list[Any]:
            hidden = model.encoder_decoder.encode(token_ids, padding_mask)
            return tf.nest.flatten(model.encoder_decoder.make_caches(tf.shape(token_ids)[0], length, hidden))

        def run(token_ids: Any, padding_mask: Any, index: Any, source_mask: Any, *caches: Any) -> list[Any]:
            packed = tf.nest.pack_sequence_as(structure, caches)
            logits, new = model.step(token_ids, padding_mask, packed, index, source_mask)
            return [logits, *tf.nest.flatten(new)]

        functions = {
            "encode": tf.function(encode, autograph=False, reduce_retracing=True),
            "read": tf.function(run, autograph=False, reduce_retracing=True),
            "step": tf.function(run, autograph=False, jit_compile=True),
            "step_without_xla": tf.function(run, autograph=False),
        }
        object.__setattr__(model, _FUNCTIONS, functions)  # not tracked by Keras: it is not part of the model
    return model.__dict__[_FUNCTIONS]
