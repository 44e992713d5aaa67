from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_plm.generation import GenerationSession, GenerationSettings
from keras_plm.generation.sampling import log_softmax
from keras_plm.tasks.generating_model import GeneratingModel, TeacherForced
from keras_plm.tasks.text_generation import TextScore
from keras_plm.tasks.text_model import check_texts
from keras_plm.text import Tokenizer, sentences_of


class Seq2SeqMethods(GeneratingModel):
    """The text-level methods of an encoder-decoder.

    Attributes:
        start_tokens: tokens that the decoder reads before it writes.
        end_tokens: tokens that end a text, in addition to the tokenizer's `eos`.
    """

    continues_prompts = False
    start_tokens: Sequence[str] = ()

    def generate(
        self, prompts: Sequence[str], settings: GenerationSettings | None = None, batch_size: int = 8, **changes: Any
    ) -> list[Any]:
        """Write a text for each text: its translation or summary, or whatever the model was trained for.

        Args:
            prompts: the texts that the encoder reads.
            settings: the generation settings; None means the defaults, greedy decoding.
            batch_size: number of texts at a time.
            changes: fields that replace fields of the settings, such as `num_beams=4`.

        Returns:
            A text for each text. If `num_return_sequences` is above 1, a list of texts for each.

        Raises:
            ImportError: `json_schema` or `regex` is set, but the extra `constrained` is not installed.
            ValueError: the model has no tokenizer, a text has more tokens than the model can read, the settings forbid
                every token, or they ask for prompt lookup.

        Example:
            >>> model.generate(["translate English to German: The house is wonderful."])  # doctest: +SKIP
            ['Das Haus ist wunderbar.']
        """
        return super().generate(prompts, settings, batch_size, **changes)

    def score(self, texts: Sequence[str], targets: Sequence[str] | None = None) -> list[TextScore]:
        """Compute the log-probability of each token of the targets, given the texts.

        Args:
            texts: the texts that the encoder reads.
            targets: a text for each of them.

        Raises:
            ValueError: as in `generate`; a target is too long; or a logit is NaN.
        """
        if targets is None:
            raise ValueError("give the targets: texts whose probability is computed, one for each text")
        check_texts(texts, targets, ("texts", "targets"))
        tokenizer, start, scores = self.needs_tokenizer(), self.start_ids, []
        for source, target in zip(self._checked_source_ids(texts), targets, strict=True):
            new = [*tokenizer.encode(target).token_ids, *self.end_ids[:1]]
            decoder = [*start, *new]
            if len(decoder) > self.longest_row:
                raise ValueError(f"a target has {len(decoder)} tokens; the model reads {self.longest_row}")
            found = self.predict_on_batch(self.row_inputs(decoder, source))[0]
            logits = np.asarray(found, "float32")[len(start) - 1 : -1]
            if not np.isfinite(logits).all():
                raise ValueError("the model gives logits that are no numbers (NaN); are its weights whole?")
            new = decoder[len(start) :]
            found = np.take_along_axis(log_softmax(logits), np.array(new)[:, None], 1)[:, 0]
            # the start tokens have no probability; the last of them stands before the first token
            tokens = [tokenizer.vocabulary[i] for i in [start[-1], *new]]
            scores.append(TextScore(tokens, np.concatenate([[np.nan], found]).astype("float32")))
        return scores

    @property
    def start_ids(self) -> list[int]:
        """The token ids that the decoder reads before it writes.

        Raises:
            ValueError: there are none.
        """
        found = [self.needs_tokenizer().id(token) for token in self.start_tokens]
        if not found:
            raise ValueError("the model has no start_tokens, so its decoder has nothing to begin with")
        return found

    def source_ids(self, texts: Sequence[str], max_length: int | None = None) -> list[list[int]]:
        """The token ids of texts with the special tokens around them, as the encoder reads them.

        Args:
            texts: any number of texts.
            max_length: maximum number of tokens, including special tokens; longer texts are truncated. None: no limit.
        """
        tokenizer = self.needs_tokenizer()
        before, after = tokenizer.ids_around
        room = None if max_length is None else max(max_length - len(before) - len(after), 0)
        tokens = tokenizer(list(texts)).to_list() if len(texts) else []
        return [before + ids[:room] + after or self.empty_source for ids in tokens]

    @property
    def empty_source(self) -> list[int]:
        """The token id of an empty text, if the tokenizer puts no special tokens around texts; an encoder needs one."""
        return self.end_ids[:1] or self.start_ids[:1]

    def _checked_source_ids(self, texts: Sequence[str]) -> list[list[int]]:
        rows = self.source_ids(texts)
        for row, ids in enumerate(rows):
            if len(ids) > self.longest_row:
                raise ValueError(
                    f"text {row} has {len(ids)} tokens; the model reads {self.longest_row}: split it, see `split_text`"
                )
        return rows

    def split_text(self, text: str, max_length: int | None = None, prefix: str = "") -> list[str]:
        """Split a text that is too long into parts that the model can read, between sentences.

        Args:
            text: a text of any length.
            max_length: maximum number of tokens of a part, including special tokens; None means the model's limit.
            prefix: a text before each part, such as "summarize: " for T5.

        Raises:
            ValueError: `max_length` has no room for a token after the prefix.

        Example:
            >>> " ".join(model.generate(model.split_text(long_text)))  # doctest: +SKIP
        """
        tokenizer = self.needs_tokenizer()
        room = self.row_limit(max_length) - sum(map(len, tokenizer.ids_around))
        if room < 1:
            raise ValueError(f"max_length={max_length} has no room for a token")
        room -= len(tokenizer.encode(prefix).token_ids) + bool(prefix)  # beside a text, it may have one token more
        if room < 1:
            raise ValueError(f"max_length={max_length} has no room for a token after the prefix {prefix!r:.40}")
        if len(tokenizer.encode(text).token_ids) <= room:
            return [prefix + text]
        parts, begin, end = list[str](), 0, 0
        for sentence in sentences_of(text):
            first = text.index(sentence, end)
            if len(tokenizer.encode(text[begin : first + len(sentence)]).token_ids) > room:
                parts += _cut(tokenizer, text[begin:end].strip(), room)
                begin = first
            end = first + len(sentence)
        parts += _cut(tokenizer, text[begin:end].strip(), room)
        return [prefix + part for part in parts]

    def teacher_forced(self, texts: Sequence[str], max_length: int) -> list[TeacherForced]:
        """Each text as a source, with the text before it as its target."""
        tokenize, start = self.needs_tokenizer(), self.start_ids
        targets = [(start + tokenize.encode(text).token_ids)[:max_length] for text in texts]
        sources = self.source_ids(texts, max_length)
        shifted = [targets[-1], *targets[:-1]]
        return [TeacherForced(*pair, len(start)) for pair in zip(sources, shifted, strict=True)]

    def _prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.start_ids for _ in texts]

    def _session(self, prompts: Sequence[str], max_new_tokens: int) -> GenerationSession:
        return self.open_session(max_new_tokens, self._checked_source_ids(prompts))

    def _parts(self, prompts: Sequence[str], settings: GenerationSettings) -> tuple[list[Any], Iterator[Any]]:
        if settings.prompt_lookup_num_tokens:
            raise ValueError("prompt_lookup_num_tokens is for decoders, whose texts repeat parts of their prompt")
        return super()._parts(prompts, settings)


def _cut(tokenizer: Tokenizer, text: str, room: int) -> list[str]:
    """The text in parts of at most this number of tokens, cut between words if possible."""
    parts = []
    while text:
        found = tokenizer.encode(text)
        end = len(text) if len(found.token_ids) <= room else max(found.starts[room], found.ends[0])
        if end < len(text):
            end = text.rfind(" ", 1, end + 1) if " " in text[1 : end + 1] else end
        while end > 1 and len(tokenizer.encode(text[:end]).token_ids) > room:
            end -= 1  # a shorter part can have other tokens
        parts.append(text[:end].strip())
        text = text[end:].strip()
    return parts
