"""Long contexts → overlapping windows, and the characters of an answer ↔ the positions of its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from .datasets import TextRows
from .packing import Spans
from .tokenizer import Encoding, Tokenizer


@dataclass(frozen=True)
class AnswerWindows:
    """Questions with windows of their contexts: [CLS] question [SEP] window [SEP].

    Attributes:
        rows: the tokens. If answers were given, `targets` are `start` and `end`, (rows,) positions in the row. In a
            window without the answer they are 0, the position of [CLS].
        question: (rows,) index of the question of each row.
        offset: (rows,) position of the window's first token in the row.
        first_token: (rows,) position of the window's first token in the context.
        contexts: the tokens of each question's context, with character offsets.
    """

    rows: TextRows
    question: np.ndarray
    offset: np.ndarray
    first_token: np.ndarray
    contexts: list[Encoding]

    @classmethod
    def from_questions(
        cls,
        tokenizer: Tokenizer,
        questions: Sequence[str],
        contexts: Sequence[str],
        answers: Sequence[Sequence[tuple[str, int]]] | None = None,
        max_length: int = 384,
        overlap: int = 64,
        max_question: int = 64,
    ) -> "AnswerWindows":
        """Tokenize questions and contexts. Each distinct context is tokenized once.

        Args:
            tokenizer: the tokenizer of the model.
            questions: texts.
            contexts: the context of each question.
            answers: for each question its correct answers as (text, first character). Only the first answer is a
                training target. The list is empty if the question has no answer.
            max_length: longest row in tokens.
            overlap: tokens that a window shares with the previous window, at most half of a window.
            max_question: longest question in tokens; longer questions are truncated.

        Raises:
            ValueError: `max_length` leaves no room for a token of the context, or the lists have different lengths.
        """
        if len(questions) != len(contexts):
            raise ValueError(f"{len(questions)} questions, but {len(contexts)} contexts")
        special = tokenizer.template.num_special(pair=True)
        before = tokenizer.template.num_before("B", pair=True)  # without the question
        max_question = min(max_question, max_length // 2)
        room = max_length - special - max_question
        if room < 1:
            raise ValueError(f"max_length={max_length} leaves no room for a token of the context")
        overlap = min(overlap, room // 2)
        unique = list(dict.fromkeys(contexts))
        encoded = dict(zip(unique, _encode(tokenizer, unique), strict=True))
        asked = [encoding.token_ids[:max_question] for encoding in _encode(tokenizer, questions)]
        places, total = {}, 0
        for context in unique:
            places[context] = total
            total += len(encoded[context].token_ids)

        table = []  # question, first token, tokens, start, end
        for index, (ids, context) in enumerate(zip(asked, contexts, strict=True)):
            room = max_length - special - len(ids)
            encoding = encoded[context]
            span = token_span(encoding, *answers[index][0]) if answers and answers[index] else None
            for first, last in _windows(len(encoding.token_ids), room, overlap):
                target = (0, 0)
                if span is not None and first <= span[0] and span[1] < last:
                    shift = len(ids) + before - first
                    target = (span[0] + shift, span[1] + shift)
                table.append((index, first, last - first, *target))
        columns = np.array(table, "int64").reshape(-1, 5)
        question, begin, lengths = columns[:, 0], columns[:, 1], columns[:, 2]
        question_lengths = np.array([len(ids) for ids in asked], "int64")
        base = np.array([places[context] for context in contexts], "int64")
        second = Spans(
            _flat([encoded[context].token_ids for context in unique]),
            tf.constant(base[question] + begin),
            tf.constant(lengths),
        )
        begins = np.cumsum(question_lengths) - question_lengths
        first_part = Spans(_flat(asked), tf.constant(begins[question]), tf.constant(question_lengths[question]))
        targets = None
        if answers is not None:
            targets = {"start": columns[:, 3].astype("int32"), "end": columns[:, 4].astype("int32")}
        packed = question_lengths[question] + lengths + special
        rows = TextRows(tokenizer, first_part, second, targets, max_length, packed, 0)
        offset = question_lengths[question] + before
        return cls(rows, question, offset, begin, [encoded[context] for context in contexts])


def token_span(encoding: Encoding, text: str, start: int) -> tuple[int, int] | None:
    """The first and last token of an answer that begins at character `start`; None if it has no token."""
    end = start + len(text)
    first = int(np.searchsorted(encoding.ends, start, side="right"))
    last = int(np.searchsorted(encoding.starts, end, side="left")) - 1
    return (first, last) if first <= last else None


def _windows(length: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """(first token, end token) of each window; the end is exclusive."""
    windows = [(0, min(room, length))]
    while windows[-1][1] < length:
        first = windows[-1][1] - overlap
        windows.append((first, min(first + room, length)))
    return windows


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    # in batches, because a whole data set as Python lists of offsets would take gigabytes
    return [
        encoding for i in range(0, len(texts), 500) for encoding in tokenizer.encode_batch(list(texts[i : i + 500]))
    ]


def _flat(rows: Sequence[Sequence[int]]) -> tf.Tensor:
    return tf.constant([token for row in rows for token in row] + [0], tf.int32)
