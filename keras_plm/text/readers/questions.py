"""Questions with contexts, read from SQuAD's JSON, JSONL or memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from . import cells
from .bad_rows import BadRowError, BadRows, OnBadRow
from .examples import Examples
from .files import expand_files, file_suffix, read_text
from .memory import is_in_memory, rows_in_memory
from .tables import Row, json_lines, name_of, parse_json


@dataclass(frozen=True)
class Questions(Examples):
    """Questions, each with a context and the correct answers, which are spans of the context.

    Attributes:
        ids: names of the questions.
        questions: texts.
        contexts: texts.
        answers: for each question its correct answers as (text, first character); empty if it has no answer.
    """

    ids: list[str]
    questions: list[str]
    contexts: list[str]
    answers: list[list[tuple[str, int]]]

    @classmethod
    def read(cls, source: Any, on_bad_row: OnBadRow = "error") -> Self:
        """Read SQuAD's JSON, or JSONL or rows in memory with `question`, `context`, `answers` and optionally `id`.

        Answers are `[{"text", "answer_start"}]`, or `{"text": […], "answer_start": […]}` as in Hugging Face's data
        sets.

        Args:
            source: paths, globs, or a table in memory.
            on_bad_row: "error", or "skip" to leave bad questions out.

        Raises:
            FileNotFoundError: a pattern matches no file.
            ValueError: a question has no context, an answer is not in the context at its `answer_start`, or a question
                with `is_impossible` has an answer. The message lists them, with file and question.
        """
        bad = BadRows(on_bad_row)
        rows: list[tuple[str, str, str, list[tuple[str, int]]]] = []
        for place, row in _rows(source, bad):
            with bad.at(place):
                context = _text(row, "context")
                rows.append((_name(row, len(rows)), _text(row, "question"), context, _answers(row, context)))
        problems = bad.done(name_of(source))
        if not rows:
            raise ValueError(f"no question in {name_of(source)}{f': all {len(problems)} are bad' if problems else ''}")
        ids, questions, contexts, answers = (list(column) for column in zip(*rows, strict=True))
        return cls(name_of(source), ids, questions, contexts, answers, skipped=problems)

    def groups(self) -> list[str]:
        """The contexts: a model must not be scored on a context that it was trained on."""
        return self.contexts

    def texts(self) -> list[tuple[str, str]]:
        """Each (question, context)."""
        return list(zip(self.questions, self.contexts, strict=True))


def _rows(source: Any, bad: BadRows) -> Iterator[Row]:
    if is_in_memory(source):
        yield from rows_in_memory(source)
        return
    for path in expand_files(source):
        yield from json_lines(path, bad) if file_suffix(path) == ".jsonl" else _squad(path, bad)


def _squad(path: Path, bad: BadRows) -> Iterator[Row]:
    """Yield the place and the fields of each question."""
    try:
        content = parse_json(read_text(path))
        articles = content if isinstance(content, list) else content["data"]
        if not isinstance(articles, list):
            raise TypeError(f"its data is a {type(articles).__name__}")
    except (BadRowError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a SQuAD file ({error!r:.200}): data → paragraphs → context, qas; or use .jsonl"
        ) from None
    for number, article in enumerate(articles, 1):
        place = f"{path}, article {number}"
        if isinstance(article, dict) and "question" in article:  # a flat copy of the data set, as is common
            yield f"{path}, question {article.get('id', number)}", article
            continue
        for paragraph in _list(article, "paragraphs", place, bad):
            for question in _list(paragraph, "qas", place, bad):
                if not isinstance(question, dict):
                    bad.add(place, f"a question must be an object, not {question!r:.60}")
                    continue
                context = {"context": paragraph["context"]} if "context" in paragraph else {}
                yield f"{path}, question {question.get('id', '')!s:.40}", {**question, **context}


def _list(holder: Any, key: str, place: str, bad: BadRows) -> list:
    found = holder.get(key) if isinstance(holder, dict) else None
    if not isinstance(found, list):
        bad.add(place, f'no list of "{key}" in {holder!r:.60}')
        return []
    return found


def _name(row: dict, number: int) -> str:
    name = row.get("id", number)
    if not isinstance(name, str | int):
        raise BadRowError(f"the id is {name!r:.60}; a text or a number is needed")
    return str(name)


def _text(row: dict, key: str) -> str:
    try:
        return cells.text(row.get(key))
    except BadRowError as error:
        raise BadRowError(f"the {key} {error}") from None


def _answers(row: dict, context: str) -> list[tuple[str, int]]:
    impossible = row.get("is_impossible", False)
    if not isinstance(impossible, bool):
        raise BadRowError(f"is_impossible is {impossible!r:.60}; true or false is needed, without quotes")
    answers = row.get("answers")
    if isinstance(answers, dict):
        answers = _transposed(answers)
    if impossible and answers in (None, []):
        return []
    if not isinstance(answers, list):
        raise BadRowError(f'"answers" is {row.get("answers")!r:.60}; give a list, empty if there is no answer')
    if impossible:
        raise BadRowError(f"is_impossible is true, but it has the answer {answers[0]!r:.60}")
    found = []
    for answer in answers:
        text, start = (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
        if not isinstance(text, str) or type(start) is not int:
            raise BadRowError(f"an answer must be {{text, answer_start}}, not {answer!r:.100}")
        if not text or start < 0 or context[start : start + len(text)] != text:
            there = context[max(start, 0) : max(start, 0) + len(text)]
            raise BadRowError(f"the answer {text!r} is not at character {start} of the context; found {there!r} there")
        found.append((text, start))
    return found


def _transposed(answers: dict) -> list[dict]:
    """Convert {text: […], answer_start: […]} to [{text, answer_start}]."""
    texts, starts = answers.get("text"), answers.get("answer_start")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise BadRowError(f'"answers" is {answers!r:.100}; its text and answer_start must be lists of the same length')
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
