from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from keras_plm.generation import (
    Constraint,
    Continuation,
    GenerationSession,
    GenerationSettings,
    LogitsProcessor,
    beam_search,
    begin,
    write,
    write_with_lookup,
)
from keras_plm.tasks.text_model import TextModel, check_texts


@dataclass(frozen=True)
class TextScore:
    """The log-probabilities of the tokens of a text.

    Attributes:
        tokens: the tokens of the text.
        log_probabilities: (tokens,) float32, the natural logarithm of the probability of each token, given the tokens
            before it; NaN for the first token.
    """

    tokens: list[str]
    log_probabilities: np.ndarray

    @property
    def total(self) -> float:
        """The sum of the log-probabilities, without the first token."""
        return float(self.log_probabilities[1:].sum())

    @property
    def perplexity(self) -> float:
        """E to the power of the mean negative log-probability; NaN for a text of one token."""
        counted = self.log_probabilities[1:]
        return float(np.exp(-counted.mean())) if len(counted) else float("nan")


class TextGeneratorMethods(TextModel):
    """The text-level methods of a text generator.

    Attributes:
        end_tokens: tokens that end a text, in addition to the tokenizer's `eos`.
    """

    end_tokens: Sequence[str] = ()
    # the session of this model for `keras_plm.generation`, for at most this number of new tokens
    open_session: Callable[[int], GenerationSession]

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

    def score(self, texts: Sequence[str]) -> list[TextScore]:
        """Compute the log-probability of each token of texts.

        Raises:
            ValueError: the model has no tokenizer, a text has more tokens than the model can read, or a logit is NaN.
        """
        check_texts(texts, names=("texts", "texts"))
        tokenizer, scores = self.needs_tokenizer(), []
        for row, token_ids in enumerate(self._prompt_ids(texts)):
            if len(token_ids) > self.longest_row:
                raise ValueError(f"text {row} has {len(token_ids)} tokens; the model reads {self.longest_row}")
            ids = np.array([token_ids], "int32")
            logits = np.asarray(self.predict_on_batch({"token_ids": ids, "padding_mask": np.ones_like(ids)})[0])
            logits = logits.astype("float32")[:-1]
            if not np.isfinite(logits).all():
                raise ValueError("the model gives logits that are no numbers (NaN); are its weights whole?")
            found = np.take_along_axis(logits, ids[0, 1:, None], 1)[:, 0] - _log_sum_exp(logits)
            tokens = [tokenizer.vocabulary[token_id] for token_id in token_ids]
            scores.append(TextScore(tokens, np.concatenate([[np.nan], found]).astype("float32")))
        return scores

    def _texts(self, prompts: Sequence[str], settings: GenerationSettings) -> list[str]:
        """The texts of all prompts, `num_return_sequences` for each."""
        continuations, parts = self._parts(prompts, settings)
        if settings.num_beams == 1:
            for _ in parts:
                pass
            return [continuation.text for continuation in continuations]
        prompt_ids = [continuation.prompt for continuation in continuations[:: settings.num_return_sequences]]
        limits = [continuation.limit for continuation in continuations[:: settings.num_return_sequences]]
        decode = self.needs_tokenizer().decode

        def text_of(token_ids: list[int]) -> str:
            text = decode(token_ids)
            return text[: min([len(text), *(text.find(stop) for stop in settings.stop_strings if stop in text)])]

        def is_stopped(new: list[int]) -> bool:
            return bool(settings.stop_strings) and len(text_of(new)) < len(decode(new))

        session = self.open_session(max(limits))
        processor = self._processor(settings)
        found = beam_search(session, prompt_ids, settings, limits, processor, is_stopped)
        return [text_of(h.token_ids) for hypotheses in found for h in hypotheses[: settings.num_return_sequences]]

    def _parts(
        self, prompts: Sequence[str], settings: GenerationSettings
    ) -> tuple[list[Continuation], Iterator[tuple[Continuation, str]]]:
        continuations = begin(self._prompt_ids(prompts), settings, self.longest_row, self.needs_tokenizer().decode)
        processor, guessed = self._processor(settings), settings.prompt_lookup_num_tokens
        if guessed:  # one prompt at a time
            parts = (
                write_with_lookup(self.open_session(2 * one.limit), one, processor, min(guessed, one.limit))
                for one in continuations
            )
            return continuations, chain.from_iterable(parts)
        session = self.open_session(max(continuation.limit for continuation in continuations))
        return continuations, write(session, continuations, settings, processor)

    def _processor(self, settings: GenerationSettings) -> LogitsProcessor:
        tokenizer = self.needs_tokenizer()
        # a word inside a text has a space before it, which is part of its token
        spelled = [text for word in settings.bad_words for text in (word, f" {word}")]
        bad_words = [tokenizer.encode(text).token_ids for text in spelled]
        constrained = settings.json_schema is not None or settings.regex is not None
        constraint = Constraint(settings, tokenizer) if constrained else None
        return LogitsProcessor(settings, bad_words, self.end_ids, constraint, len(tokenizer))

    def texts_to_ids(self, texts: Sequence[str], ends: bool = False) -> list[list[int]]:
        """The token ids of texts, with the special tokens of the template before them.

        Args:
            texts: any number of texts.
            ends: as in training: begin each text with the token that begins texts, and end it with the token that ends
                texts. Empty texts are left out.
        """
        rows = self._prompt_ids(texts)
        if not ends:
            return rows
        tokenizer = self.needs_tokenizer()
        # the first token of a text is predicted too: from the token that begins texts, or from the end of another one
        special = tokenizer.special.by_role
        begin = [] if tokenizer.template.num_before("A", pair=False) else self._border_ids(special)
        end = [tokenizer.role_id("eos")] if "eos" in special else []
        return [begin + row + end for text, row in zip(texts, rows, strict=True) if text]

    def _prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts behind what the template begins with; an empty one is the end of another text."""
        tokenizer = self.needs_tokenizer()
        parts = tokenizer.template.parts(False)[: tokenizer.template.num_before("A", pair=False)]
        before = [tokenizer.role_id(part.name) for part in parts]
        rows = [before + row for row in tokenizer(list(texts)).to_list()] if len(texts) else []
        return [row or self._border_ids(tokenizer.special.by_role) for row in rows]

    def _border_ids(self, special: dict[str, str]) -> list[int]:
        """The token that begins texts, or the one that ends them; none if there is neither."""
        return [self.needs_tokenizer().role_id(role) for role in ("bos", "eos") if role in special][:1]

    @property
    def end_ids(self) -> list[int]:
        """The tokens that end a text."""
        tokenizer = self.needs_tokenizer()
        eos = tokenizer.special.by_role.get("eos")
        return [tokenizer.id(token) for token in dict.fromkeys([*([] if eos is None else [eos]), *self.end_tokens])]


def _with(settings: GenerationSettings | None, changes: dict[str, Any]) -> GenerationSettings:
    return replace(settings or GenerationSettings(), **changes)


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    highest = logits.max(-1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(-1))
