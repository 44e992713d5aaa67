from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_plm.generation import GenerationSettings, Message, render_chat
from keras_plm.generation.sampling import log_softmax
from keras_plm.tasks.generating_model import GeneratingModel, TeacherForced
from keras_plm.tasks.text_model import check_texts


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


class TextGeneratorMethods(GeneratingModel):
    """The text-level methods of a text generator: it continues texts.

    Attributes:
        chat_template: the template of conversations, in Jinja; None if the model has none.
    """

    chat_template: str | None = None

    def chat(self, messages: Sequence[Message], settings: GenerationSettings | None = None, **changes: Any) -> str:
        """Generate the reply to a conversation.

        Args:
            messages: dicts of `role` ("system", "user" or "assistant") and `content`, the oldest first.
            settings: as in `generate`.
            changes: fields that replace fields of the settings.

        Returns:
            The reply. Several replies, as a list, if `num_return_sequences` is above 1.

        Raises:
            ImportError: the extra `chat` is not installed.
            ValueError: the model has no chat template, or the template cannot render the messages; or as in `generate`.

        Example:
            >>> model.chat([{"role": "user", "content": "What is the capital of France?"}])  # doctest: +SKIP
            'The capital of France is Paris.'
        """
        return self.generate([self.chat_prompt(messages)], settings, **changes)[0]

    def chat_prompt(self, messages: Sequence[Message]) -> str:
        """The prompt of a conversation, for `generate` and `stream`; see `chat`."""
        return self._rendered(messages, add_generation_prompt=True)

    def _rendered(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        if self.chat_template is None:
            raise ValueError(
                "the model has no chat template; it was not trained for conversations, or the files lack it"
            )
        tokenizer = self.needs_tokenizer()
        tokens = {f"{role}_token": piece for role, piece in tokenizer.special.by_role.items()}
        prompt = render_chat(self.chat_template, messages, tokens, add_generation_prompt) if messages else ""
        before, _ = tokenizer.ids_around
        # the tokenizer puts these tokens before every text, so they must not be there twice
        return prompt.removeprefix("".join(tokenizer.vocabulary[token_id] for token_id in before))

    def conversation_ids(self, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
        """The token ids of a conversation, and whether each of them belongs to a reply of the assistant.

        A reply includes the token that ends it.

        Args:
            messages: as in `chat`.

        Raises:
            ImportError: the extra `chat` is not installed.
            ValueError: the model has no chat template, or it cannot render the messages; or it renders a reply in
                another way than `chat` asks for it.
        """
        done, parts, replies = "", list[str](), list[bool]()
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._rendered(messages[:number], add_generation_prompt=True)
            after = self._rendered(messages[: number + 1], add_generation_prompt=False)
            if not before.startswith(done) or not after.startswith(before):
                raise ValueError(
                    "the chat template renders the earlier part of a conversation differently, so the replies are not "
                    "known; use another template"
                )
            parts += [before[len(done) :], after[len(before) :]]
            replies += [False, True]
            done = after
        ids = self._prompt_ids(parts[:1]) + self.continuation_ids(parts[1:])
        counted = [[reply] * len(row) for row, reply in zip(ids, replies, strict=True)]
        return sum(ids, []), sum(counted, [])

    def continuation_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts that follow other text: without the space that SentencePiece puts before a text."""
        tokenizer = self.needs_tokenizer()
        if not len(texts):
            return []
        (line, *begun), apart = tokenizer(["\n", *(f"\n{text}" for text in texts)]).to_list(), tokenizer(list(texts))
        plain = apart.to_list()
        return [
            ids[len(line) :] if ids[: len(line)] == line else alone for ids, alone in zip(begun, plain, strict=True)
        ]

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
            logits = np.asarray(self.predict_on_batch(self.row_inputs(token_ids))[0], "float32")[:-1]
            if not np.isfinite(logits).all():
                raise ValueError("the model gives logits that are no numbers (NaN); are its weights whole?")
            found = np.take_along_axis(log_softmax(logits), np.array(token_ids)[1:, None], 1)[:, 0]
            tokens = [tokenizer.vocabulary[token_id] for token_id in token_ids]
            scores.append(TextScore(tokens, np.concatenate([[np.nan], found]).astype("float32")))
        return scores

    def teacher_forced(self, texts: Sequence[str], max_length: int) -> list[TeacherForced]:
        """The first tokens of each text that is not empty; half of them are its prompt."""
        rows = [ids[:max_length] for ids in self.texts_to_ids([text for text in texts if text])]
        return [TeacherForced(None, ids, -(-len(ids) // 2)) for ids in rows]

    def texts_to_ids(self, texts: Sequence[str], ends: bool = False) -> list[list[int]]:
        """The token ids of texts, with the special tokens of the template before them.

        Args:
            texts: any number of texts.
            ends: as in training: begin each text with the token that begins texts, and end it with the token that ends
                texts. Empty texts are left out.
        """
        if not ends:
            return self._prompt_ids(texts)
        rows = self.needs_tokenizer()(list(texts)).to_list() if len(texts) else []
        return [row.tolist() for row in self.with_ends([row for text, row in zip(texts, rows, strict=True) if text])]

    def with_ends(self, rows: Sequence[Sequence[int] | np.ndarray]) -> list[np.ndarray]:
        """The tokens of texts between the tokens that begin and end texts, int32; as `texts_to_ids(…, ends=True)`."""
        tokenizer = self.needs_tokenizer()
        special = tokenizer.special.by_role
        # the first token of a text is predicted too: from the token that begins texts, or from the end of another one
        begin = tokenizer.ids_around[0] or self._border_ids(special)
        end = [tokenizer.role_id("eos")] if "eos" in special else []
        return [np.concatenate([begin, row, end]).astype("int32") for row in rows]

    def _prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of texts behind what the template begins with; an empty one is the end of another text."""
        tokenizer = self.needs_tokenizer()
        before, _ = tokenizer.ids_around
        rows = [before + row for row in tokenizer(list(texts)).to_list()] if len(texts) else []
        return [row or self._border_ids(tokenizer.special.by_role) for row in rows]

    def _border_ids(self, special: dict[str, str]) -> list[int]:
        """The token that begins texts, or the one that ends them; none if there is neither."""
        return [self.needs_tokenizer().role_id(role) for role in ("bos", "eos") if role in special][:1]
