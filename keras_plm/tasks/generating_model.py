"""The methods that all models have which generate text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, ClassVar, NamedTuple

import numpy as np

from keras_plm.generation import (
    Constraint,
    Continuation,
    GenerationSession,
    GenerationSettings,
    LogitsProcessor,
    StateSession,
    beam_search,
    begin,
    write,
    write_contrastive,
    write_with_lookup,
)

from .text_model import TextModel, check_texts


class TeacherForced(NamedTuple):
    """A text for teacher forcing: the model reads the tokens of a known text instead of its own.

    Attributes:
        source: the token ids that an encoder reads; None for a decoder.
        token_ids: the token ids that the decoder reads.
        num_prompt: number of these that a generation would begin with.
    """

    source: list[int] | None
    token_ids: list[int]
    num_prompt: int


class GeneratingModel(TextModel):
    """The text-level methods of models that generate text. The prompts are texts.

    Attributes:
        continues_prompts: whether a text is the continuation of its prompt.
        end_tokens: tokens that end a text, in addition to the tokenizer's `eos`.
    """

    continues_prompts: ClassVar[bool] = True
    end_tokens: Sequence[str] = ()
    # (maximum number of new tokens, token ids of each source for an encoder-decoder) → a session of this model
    open_session: Callable[..., GenerationSession]

    def teacher_forced(self, texts: Sequence[str], max_length: int) -> list[TeacherForced]:
        """Texts of at most this number of tokens for teacher forcing, made from these texts."""
        raise NotImplementedError

    def row_inputs(self, token_ids: list[int], source: list[int] | None = None) -> dict[str, np.ndarray]:
        """The inputs of the model for one row, (1, T) int32 each.

        Args:
            token_ids: what the decoder reads.
            source: what the encoder reads; None for a decoder.
        """
        rows = {"token_ids": token_ids}
        if source is not None:
            rows = {"token_ids": source, "decoder_token_ids": token_ids}
        inputs = {name: np.array([ids], "int32") for name, ids in rows.items()}
        return inputs | {name.replace("token_ids", "padding_mask"): np.ones_like(ids) for name, ids in inputs.items()}

    def generate(
        self, prompts: Sequence[str], settings: GenerationSettings | None = None, batch_size: int = 8, **changes: Any
    ) -> list[Any]:
        """Generate the continuation of each prompt.

        Prompts of different lengths can share a batch. Each prompt gets the same text as alone.

        Args:
            prompts: texts. An empty prompt starts with the token that begins texts.
            settings: the generation settings; None means the defaults, greedy decoding.
            batch_size: number of prompts at a time. Large batches are faster, but need more memory.
            changes: fields that replace fields of the settings, such as `max_new_tokens=20`.

        Returns:
            A text for each prompt, without the prompt. If `num_return_sequences` is above 1, a list of texts for each.

        Raises:
            ImportError: `json_schema` or `regex` is set, but the extra `constrained` is not installed.
            ValueError: the model has no tokenizer, a prompt leaves no room for a new token, or the settings forbid
                every token.

        Example:
            >>> model.generate(["The house is"], max_new_tokens=20)  # doctest: +SKIP
            [' on the hill, and from its windows one sees the sea.']
        """
        settings = _with(settings, changes)
        check_texts(prompts, names=("prompts", "prompts"))
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}; it must be at least 1")
        texts: list[str] = []
        for start in range(0, len(prompts), batch_size):
            texts += self._texts(prompts[start : start + batch_size], settings)
        copies = settings.num_return_sequences
        return texts if copies == 1 else [texts[i : i + copies] for i in range(0, len(texts), copies)]

    def stream(self, prompt: str, settings: GenerationSettings | None = None, **changes: Any) -> Iterator[str]:
        """Generate the continuation of one prompt, and yield its parts while they are generated.

        No part ends inside a character.

        Args:
            prompt: a text.
            settings: as in `generate`.
            changes: fields that replace fields of the settings.

        Raises:
            ValueError: as in `generate`; or `num_return_sequences` or `num_beams` is above 1.

        Example:
            >>> for part in model.stream("The house is"):  # doctest: +SKIP
            ...     print(part, end="")
        """
        settings = _with(settings, changes)
        if settings.num_return_sequences > 1 or settings.num_beams > 1:
            raise ValueError("num_return_sequences and num_beams must be 1: a stream has one text")
        check_texts([prompt], names=("prompts", "prompts"))
        _, parts = self._parts([prompt], settings)
        return (part for _, part in parts if part)

    def _texts(self, prompts: Sequence[str], settings: GenerationSettings) -> list[str]:
        """The texts of all prompts, `num_return_sequences` for each."""
        continuations, parts = self._parts(prompts, settings)
        if settings.num_beams == 1:
            for _ in parts:
                pass
            return [continuation.text for continuation in continuations]
        prompt_ids = [continuation.prompt for continuation in continuations[:: settings.num_return_sequences]]
        limits = [continuation.limit for continuation in continuations[:: settings.num_return_sequences]]
        decode = self._decode

        def text_of(token_ids: list[int]) -> str:
            text = decode(token_ids)
            return text[: min([len(text), *(text.find(stop) for stop in settings.stop_strings if stop in text)])]

        def is_stopped(new: list[int]) -> bool:
            return bool(settings.stop_strings) and len(text_of(new)) < len(decode(new))

        session = self._session(prompts, max(limits))
        processor = self._processor(settings)
        found = beam_search(session, prompt_ids, settings, limits, processor, is_stopped)
        return [text_of(h.token_ids) for hypotheses in found for h in hypotheses[: settings.num_return_sequences]]

    def _parts(
        self, prompts: Sequence[str], settings: GenerationSettings
    ) -> tuple[list[Continuation], Iterator[tuple[Continuation, str]]]:
        continuations = begin(self._prompt_ids(prompts), settings, self.longest_row, self._decode)
        processor, guessed = self._processor(settings), settings.prompt_lookup_num_tokens
        if guessed:  # one prompt at a time
            parts = (
                write_with_lookup(self._session(prompts, 2 * one.limit), one, processor, min(guessed, one.limit))
                for one in continuations
            )
            return continuations, chain.from_iterable(parts)
        session = self._session(prompts, max(continuation.limit for continuation in continuations))
        if settings.penalty_alpha:
            if not isinstance(session, StateSession):
                raise ValueError("contrastive search (penalty_alpha) needs hidden states, which artifacts do not have")
            return continuations, write_contrastive(session, continuations, settings, processor)
        return continuations, write(session, continuations, settings, processor)

    def _decode(self, token_ids: Sequence[int]) -> str:
        tokenizer = self.needs_tokenizer()
        return (tokenizer.continuation if self.continues_prompts else tokenizer.decode)(token_ids)

    def _session(self, prompts: Sequence[str], max_new_tokens: int) -> GenerationSession:
        return self.open_session(max_new_tokens)

    def _processor(self, settings: GenerationSettings) -> LogitsProcessor:
        tokenizer = self.needs_tokenizer()
        # a word inside a text has a space before it, which is part of its token
        spelled = [text for word in settings.bad_words for text in (word, f" {word}")]
        bad_words = [tokenizer.encode(text).token_ids for text in spelled]
        constrained = settings.json_schema is not None or settings.regex is not None
        constraint = Constraint(settings, tokenizer) if constrained else None
        return LogitsProcessor(settings, bad_words, self.end_ids, constraint, len(tokenizer))

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end a text."""
        tokenizer = self.needs_tokenizer()
        eos = tokenizer.special.by_role.get("eos")
        return [tokenizer.id(token) for token in dict.fromkeys([*([] if eos is None else [eos]), *self.end_tokens])]

    def _prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids that the model reads before it writes, for each text."""
        raise NotImplementedError


def _with(settings: GenerationSettings | None, changes: dict[str, Any]) -> GenerationSettings:
    return replace(settings or GenerationSettings(), **changes)
