"""Extractive question answering: the answer is a span of the context."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_plm.evaluation import Evaluation, answer_f1, answer_scores
from keras_plm.models import Encoder
from keras_plm.tasks.columns import Columns
from keras_plm.tasks.registry import register
from keras_plm.tasks.task import Serve, Settings, Task
from keras_plm.text import AnswerWindows, OnBadRow, Questions, TextRows, split_words

from .keras_model import QuestionAnswerer
from .string_graph import answers_function
from .text_methods import QuestionAnswererMethods

_TASK_LIBRARY_LENGTH = 384  # a constant of the Task Library


class QuestionAnsweringTask(Task[QuestionAnswererMethods, QuestionAnswerer, Questions]):
    """See `Task`; the examples are `Questions`."""

    name = "question_answering"
    model, methods, examples = QuestionAnswerer, QuestionAnswererMethods, Questions
    takes_question = True
    per_token = True
    needs_offsets = True
    setting_types = {"null_threshold": int | float | None}
    peft_type = "QUESTION_ANS"

    def read(
        self,
        source: Any,
        columns: Columns,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        model: QuestionAnswererMethods | None = None,
    ) -> Questions:
        """Read questions from SQuAD or JSONL files, or from rows in memory."""
        return Questions.read(source, on_bad_row).head(limit)

    def build(self, encoder: Encoder, examples: Questions) -> QuestionAnswerer:
        """A question answerer. If some of these questions have no answer, it can decline to answer."""
        threshold = None if all(examples.answers) else 0.0
        return QuestionAnswerer(encoder.config, encoder.tokenizer, encoder, threshold)

    def rows(self, model: QuestionAnswerer, examples: Questions, max_length: int, overlap: int = 64) -> TextRows:
        """Windows with the positions of the first and last token of the answer.

        Args:
            model: the model; its tokenizer is used.
            examples: questions with contexts.
            max_length: longest row in tokens: the question and a window of the context.
            overlap: tokens that two neighboring windows share.
        """
        texts = examples.questions, examples.contexts, examples.answers
        return AnswerWindows.from_questions(model.needs_tokenizer(), *texts, max_length, overlap).rows

    def loss(self, model: QuestionAnswerer) -> Any:
        """Cross-entropy over the positions, for the start and the end."""
        return {name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in model.output}

    def facts(self, model: QuestionAnswerer) -> dict[str, Any]:
        """The no-answer threshold."""
        return {"no-answer threshold": "none, always answers" if model.null_threshold is None else model.null_threshold}

    def evaluate(self, model: QuestionAnswererMethods, examples: Questions, batch_size: int = 32) -> Evaluation:
        """F1 and exact match, computed as in SQuAD's evaluation script."""
        found = [a[0] for a in model.answer_all(examples.questions, examples.contexts, batch_size=batch_size)]
        wanted = [[text for text, _ in answers] for answers in examples.answers]
        rows: list[dict[str, Any]] = [
            {
                "id": i,
                "question": q,
                "wanted": list(dict.fromkeys(w)),
                "found": a.text,
                "start": a.start,
                "score": round(a.score, 4),
            }
            for i, q, w, a in zip(examples.ids, examples.questions, wanted, found, strict=True)
        ]
        overlap = np.array([max(answer_f1(w, r["found"]) for w in r["wanted"] or [""]) for r in rows])
        confidence = np.array([r["score"] for r in rows])
        wrong = [int(i) for i in np.lexsort((-confidence, overlap)) if overlap[i] < 1]
        return Evaluation(answer_scores(wanted, [a.text for a in found]), rows, wrong)

    def lines(
        self,
        model: QuestionAnswererMethods,
        first: list[str],
        second: list[str] | None,
        question: str | None = None,
    ) -> Iterator[str]:
        """Lines with the answer, its probability and its characters."""
        if question is None:
            raise ValueError("the question is missing: give it with --question; the texts are its contexts")
        for answers in model.answer_all([question] * len(first), first):
            yield f"{answers[0].text}\t{answers[0].score:.4f}\t{answers[0].start}-{answers[0].end}"

    def example_command(self, folder: str) -> str:
        """A command with a question."""
        return f'{super().example_command(folder)} --question "what of it?"'

    def output_names(self, settings: Settings) -> list[str]:
        """`start` and `end`, (B, T) logits each."""
        return ["start", "end"]

    def to_outputs(self, settings: Settings, outputs: Any) -> dict[str, Any]:
        """Return the outputs unchanged."""
        return outputs

    def from_outputs(self, settings: Settings, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays unchanged."""
        return arrays

    def agreement(self, settings: Settings, found: list[dict], wanted: list[dict]) -> float:
        """The fraction of windows with the same start and end."""
        both = zip(found, wanted, strict=True)
        return float(np.mean([all(f[name].argmax() == w[name].argmax() for name in w) for f, w in both]))

    def string_function(
        self, model: QuestionAnswerer, serve: Serve, max_length: int, pairs: bool
    ) -> tuple[Callable, list[str]]:
        """`question` and `context` → the answer, its characters and scores."""
        return answers_function(model, serve, max_length), ["question", "context"]

    def example_strings(self, texts: Sequence[str], pairs: bool) -> dict[str, list[str]]:
        """Some texts as questions on all texts, and a question and a context that are both too long."""
        texts = [text for text in texts if text]
        asked = [(question, context) for question in texts[:4] for context in texts]
        asked += [(" ".join(texts), " ".join(texts))]
        return {"question": [question for question, _ in asked], "context": [context for _, context in asked]}

    def wrong_strings(
        self, model: QuestionAnswerer, given: dict[str, list[str]], found: dict[str, np.ndarray], max_length: int
    ) -> str | None:
        """Checks that each answer is the best span of whole words, by the logits of the first window."""
        questions, contexts = given["question"], given["context"]
        tokenizer: Any = model.needs_tokenizer()
        windows = AnswerWindows.from_questions(tokenizer, questions, contexts, None, max_length, 0)
        words = split_words(contexts, tokenizer.words_alone)
        rows = {int(q): i for i, q in reversed(list(enumerate(windows.question)))}  # the first window of each question
        outputs = {
            int(i): (s, e)
            for index, o in model.batch_outputs(windows.rows, 8)
            for i, s, e in zip(index, *o.values(), strict=True)
        }
        for question, context in enumerate(contexts):
            start, end = outputs[rows[question]]
            spans = _spans_of_words(model, windows, rows[question], words[question], start, end)
            best, score = max(spans.items(), key=lambda item: item[1]) if spans else ((0, 0), -2e9)
            null = float(start[0] + end[0])
            silent = not spans or (model.null_threshold is not None and null - score > model.null_threshold)
            begin, finish = (0, 0) if silent else best
            wanted = {"answer": context[begin:finish], "start": begin, "end": finish}
            mine = {"answer": found["answer"][question].decode()}
            mine |= {name: int(found[name][question]) for name in ("start", "end")}
            near = all(
                abs(float(found[name][question]) - value) <= 1e-3 * max(1.0, abs(value))
                for name, value in (("score", score), ("null_score", null))
            )
            if mine != wanted or not near:
                return f"{mine}, not {wanted}"
        return None

    def task_library_problem(self, settings: Settings, length: int | None) -> str | None:
        """The Task Library supports only one fixed length."""
        fits = length == _TASK_LIBRARY_LENGTH
        return None if fits else f"the Task Library's question answerer takes max_length={_TASK_LIBRARY_LENGTH}"


def _spans_of_words(
    model: QuestionAnswerer, windows: AnswerWindows, row: int, split: Any, start: np.ndarray, end: np.ndarray
) -> dict[tuple[int, int], float]:
    """The scores of all spans of whole words in a window. The keys are (start, end) in characters."""
    question = int(windows.question[row])
    offset, tokens = int(windows.offset[row]), windows.contexts[question]
    count = int(windows.rows.second.lengths[row])  # type: ignore[union-attr]
    word = np.searchsorted(split.ends, tokens.starts, side="right")  # of each token
    begins, finishes = (np.diff(word, **side) != 0 for side in ({"prepend": -1}, {"append": -1}))
    return {
        (split.starts[word[i]], split.ends[word[j]]): float(start[offset + i] + end[offset + j])
        for i in range(count)
        if begins[i]
        for j in range(i, min(i + model.max_answer, count))
        if finishes[j]
    }


QUESTION_ANSWERING = QuestionAnsweringTask()
register(QUESTION_ANSWERING)
