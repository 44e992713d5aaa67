"""A `.tflite` that generates text in LiteRT: the same generation as with the Keras model, see `step_functions`."""

from typing import Any

import numpy as np

from keras_plm.generation import FINISHED
from keras_plm.models import OWN_CACHES

from .interpreter import TFLite

_HIDDEN = np.float32(-1e9)  # the mask of a key that a query does not see
_Caches = dict[str, np.ndarray]


class TFLiteTextGenerator(TFLite):
    """A LiteRT interpreter with the functions of `step_functions`. Its caches are numpy arrays."""

    def _runner(self, has_strings: bool) -> Any:
        names = self.interpreter.get_signature_list()
        self.prefill = {
            int(name.removeprefix("prefill_")): self.interpreter.get_signature_runner(name)
            for name in names
            if name.startswith("prefill_")
        }
        self.encode = self.interpreter.get_signature_runner("encode") if "encode" in names else None
        decode = self.interpreter.get_signature_runner("decode")
        shapes = {name: tensor["shape"] for name, tensor in decode.get_input_details().items()}
        self.length = int(shapes["mask"][-1])
        self.vocabulary_size = int(decode.get_output_details()["logits"]["shape"][-1])
        self.empty = {name: np.zeros(shape, "float32") for name, shape in shapes.items() if name.startswith(OWN_CACHES)}
        return decode

    def open_session(self, sources: list[list[int]] | None = None, start: list[int] | None = None) -> "TFLiteSession":
        """A session for any number of prompts; an encoder-decoder needs `sources` or `start`."""
        return TFLiteSession(self, sources, start)

    def first_caches(self, source: list[int] | None) -> _Caches:
        """Empty caches; for an encoder-decoder, with what its encoder has read."""
        if self.encode is None or source is None:
            return self.empty
        token_ids, mask = np.zeros((2, 1, self.length), "int32")
        token_ids[0, : len(source)], mask[0, : len(source)] = source, 1
        with self.lock:
            found = self.encode(token_ids=token_ids, padding_mask=mask)
        return self.empty | found | {"encoder_padding_mask": mask}

    def run(self, arrays: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        """The logits after each token of rows of token ids, 0 at padding. One text per row, from its first position."""
        written = "" if self.encode is None else "decoder_"
        token_ids, mask = arrays[f"{written}token_ids"], arrays[f"{written}padding_mask"]
        if mask.size and (mask.max() > 1 or (np.diff(mask, axis=1) > 0).any()):
            raise ValueError("a row must have one text, with padding only after it")
        found = np.zeros((*token_ids.shape, self.vocabulary_size), "float32")
        for row, count in enumerate(mask.sum(1)):
            source = arrays["token_ids"][row][arrays["padding_mask"][row] > 0].tolist() if written else None
            caches = self.first_caches(source)
            for position in range(count):
                caches, found[row, position] = self.decode(int(token_ids[row, position]), position, caches)
        return {names[0]: found}

    def read(self, token_ids: list[int], first: int, caches: _Caches) -> _Caches:
        """The caches with these tokens at the positions from `first`."""
        done = 0
        while done < len(token_ids):
            left, room = len(token_ids) - done, self.length - first - done
            fitting = [n for n in self.prefill if n <= room]
            if not fitting:
                caches, _ = self.decode(token_ids[done], first + done, caches)
                done += 1
                continue
            # the shortest function that reads all of it, otherwise the longest one
            count = min((n for n in fitting if n >= left), default=max(fitting))
            part = token_ids[done : done + count]
            with self.lock:
                caches = caches | self.prefill[count](**self._inputs(part, count, first + done), **caches)
            done += len(part)
        return caches

    def decode(self, token_id: int, position: int, caches: _Caches) -> tuple[_Caches, np.ndarray]:
        """The caches with this token, and the (V,) logits of the next one."""
        with self.lock:
            found = self.runner(**self._inputs([token_id], 1, position), **caches)
        logits = found.pop("logits")[0, 0]
        return caches | found, logits

    def _inputs(self, token_ids: list[int], count: int, first: int) -> dict[str, np.ndarray]:
        padding = count - len(token_ids)
        positions = np.arange(first, first + count, dtype="int32")
        visible = positions[:, None] >= np.arange(self.length)
        return {
            "tokens": np.array([token_ids + [0] * padding], "int32"),
            "input_pos": positions,
            "mask": np.where(visible, np.float32(0), _HIDDEN)[None, None],
        }


class TFLiteSession:
    """A `GenerationSession` in LiteRT. The rows of a batch are processed one by one.

    Args:
        generator: the functions; several sessions can share them.
        sources: token ids that an encoder reads, one for each prompt; None for a decoder.
        start: for `join` of an encoder-decoder: the token ids that its decoder begins with. The prompts are sources.
    """

    def __init__(
        self,
        generator: TFLiteTextGenerator,
        sources: list[list[int]] | None = None,
        start: list[int] | None = None,
    ) -> None:
        self.generator = generator
        self.sources, self.start = sources, start
        self.rows: list[tuple[int, _Caches]] = []  # for each row: number of tokens, caches

    def read(self, prompts: list[list[int]]) -> np.ndarray:
        """See `GenerationSession`."""
        self.rows = []
        return self.join(prompts, 0)

    def join(self, prompts: list[list[int]], room: int) -> np.ndarray:
        """See `JoiningSession`."""
        generator, before = self.generator, len(self.rows)
        sources: list[Any] = self.sources or [None] * len(prompts)
        if self.start is not None:
            sources, prompts = prompts, [self.start] * len(prompts)
        self.rows += [
            (len(prompt) - 1, generator.read(prompt[:-1], 0, generator.first_caches(source)))
            for prompt, source in zip(prompts, sources, strict=True)
        ]
        tokens = [FINISHED] * before + [prompt[-1] for prompt in prompts]
        return self.step(np.array(tokens, "int32"))[before:]

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """See `GenerationSession`."""
        found: dict[int, np.ndarray] = {}
        for row, token in enumerate(tokens.tolist()):
            if token == FINISHED:
                continue
            position, caches = self.rows[row]
            caches, found[row] = self.generator.decode(token, position, caches)
            self.rows[row] = position + 1, caches
        logits = np.zeros((len(tokens), self.generator.vocabulary_size), "float32")
        for row, values in found.items():
            logits[row] = values
        return logits

    def select(self, rows: np.ndarray) -> None:
        """See `GenerationSession`."""
        self.rows = [self.rows[row] for row in rows.tolist()]  # the arrays are never changed, so copies can share them

    def read_ahead(self, tokens: list[int], width: int) -> np.ndarray:
        """See `GenerationSession`."""
        return np.concatenate([self.step(np.array([token], "int32")) for token in tokens])

    def rewind(self, count: int) -> None:
        """See `GenerationSession`."""
        # later values stay in the caches: the mask hides them until they are written again
        position, caches = self.rows[0]
        self.rows[0] = position - count, caches
