from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from keras_plm.tasks.text_model import TextModel, check_texts
from keras_plm.text import AnswerWindows


@dataclass(frozen=True)
class Answer:
    """An answer: a span of the context.

    Attributes:
        text: the characters; "" for no answer.
        start: index of the first character in the context; 0 for no answer.
        end: index after the last character.
        score: probability among the candidates of this question, in [0, 1].
    """

    text: str
    start: int
    end: int
    score: float


class QuestionAnswererMethods(TextModel):
    """The text-level methods of a question answerer. Keras models and exported artifacts share them.

    Attributes:
        null_threshold: no answer is given if the score of [CLS] minus the score of the best answer exceeds this value.
            None: always answer.
        max_answer: longest answer in tokens.
        candidates: number of candidate answers per question.
    """

    null_threshold: float | None
    max_answer: int = 30
    candidates: int = 20

    def answer(self, question: str, context: str, **options: Any) -> Answer:
        """The best answer to one question; options as in `answer_all`.

        Example:
            >>> reader.answer("Who wrote it?", "It was written by Ada Lovelace in 1843.")  # doctest: +SKIP
            Answer(text='Ada Lovelace', start=18, end=30, score=0.97)
        """
        return self.answer_all([question], [context], **options)[0][0]

    def answer_all(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        best: int = 1,
        overlap: int = 64,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> list[list[Answer]]:
        """The best answers to each question, the most probable first.

        Args:
            questions: texts.
            contexts: the context of each question. A context that is too long for a row is split into overlapping
                windows.
            best: number of answers per question.
            overlap: tokens that two neighboring windows share.
            max_length: longest row in tokens; None means the model's limit.
            batch_size: rows per batch; rows of similar length are batched together.

        Raises:
            ValueError: there is no tokenizer, a question or context is empty, or the lists have different lengths.

        Source: Devlin et al. 2019, §4.2 and §4.3, https://arxiv.org/abs/1810.04805
        """
        threshold = self.null_threshold
        found = []
        for candidates, null in self.candidate_answers(questions, contexts, overlap, max_length, batch_size):
            answers = candidates
            if threshold is not None:
                nothing = ("", 0, 0, null - threshold)
                answers = sorted([*candidates, nothing], key=lambda answer: -answer[3])
            scores = np.array([answer[3] for answer in answers])
            weights = np.exp(scores - scores.max()) if len(scores) else scores
            weights = weights / weights.sum() if len(scores) else weights
            row = [Answer(*answer[:3], float(p)) for answer, p in zip(answers, weights, strict=True)]
            found.append(row[:best] or [Answer("", 0, 0, 1.0)])
        return found

    def candidate_answers(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        overlap: int = 64,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> list[tuple[list[tuple[str, int, int, float]], float]]:
        """For each question, the candidates (text, start, end, score), the best first, and the no-answer score.

        A score is the sum of the start logit and the end logit. The no-answer score is the lowest score of [CLS] over
        all windows.
        """
        check_texts(questions, contexts, ("question", "context"))
        for name, texts in (("question", questions), ("context", contexts)):
            for row, text in enumerate(texts, 1):
                if not text.strip():
                    raise ValueError(f"{name} {row} is empty")
        tokenizer, limit = self.needs_tokenizer(), self.row_limit(max_length)
        windows = AnswerWindows.from_questions(tokenizer, questions, contexts, None, limit, overlap)
        spans: list[dict[tuple[int, int], float]] = [{} for _ in questions]
        null = np.full(len(questions), np.inf)
        for index, outputs in self.batch_outputs(windows.rows, batch_size):
            for row, start, end in zip(index, outputs["start"], outputs["end"], strict=True):
                question = windows.question[row]
                null[question] = min(null[question], float(start[0] + end[0]))
                for span, score in self._best_spans(windows, int(row), start, end):
                    known = spans[question].get(span, -np.inf)
                    spans[question][span] = max(known, score)
        found = []
        for question, context in enumerate(contexts):
            best = sorted(spans[question].items(), key=lambda item: -item[1])[: self.candidates]
            tokens = windows.contexts[question]
            answers = []
            for (first, last), score in best:
                begin, finish = tokens.starts[first], tokens.ends[last]
                answers.append((context[begin:finish], begin, finish, score))
            found.append((answers, float(null[question])))
        return found

    def _best_spans(
        self, windows: AnswerWindows, row: int, start: Any, end: Any
    ) -> list[tuple[tuple[int, int], float]]:
        """The best spans of a window, as ((first, last token of the context), score)."""
        offset = int(windows.offset[row])
        count = int(windows.rows.second.lengths[row])  # type: ignore[union-attr]
        begins, ends = start[offset : offset + count], end[offset : offset + count]
        # (count, max_answer): every valid pair of start and end
        padded = np.append(ends, np.full(self.max_answer, -np.inf, ends.dtype))
        scores = begins[:, None] + sliding_window_view(padded, self.max_answer)[:count]
        best = np.argsort(-scores, axis=None, kind="stable")[: self.candidates]
        shift = int(windows.first_token[row])
        return [
            ((int(i) + shift, int(i + j) + shift), float(scores[i, j]))
            for i, j in zip(*np.unravel_index(best, scores.shape), strict=True)
            if np.isfinite(scores[i, j])
        ]
