"""Questions about contexts, read from SQuAD's JSON or JSONL."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .corpus import expand_files, read_text
from .examples import Examples, Patterns
from .rows import json_lines, table_suffix


@dataclass(frozen=True)
class Questions(Examples):
    """Questions, each with a context and the answers that are right, which stand in it.

    Attributes:
        ids: names of the questions.
        questions: texts.
        contexts: texts.
        answers: for each question the right answers as (text, first character); none if it cannot be answered.
    """

    ids: list[str]
    questions: list[str]
    contexts: list[str]
    answers: list[list[tuple[str, int]]]

    @classmethod
    def read(cls, patterns: Patterns) -> Self:
        """Read SQuAD's JSON, or JSONL with `question`, `context`, `answers` ([{text, answer_start}]) and perhaps `id`.

        Raises:
            FileNotFoundError: a pattern that matches no file.
            ValueError: a question without context, an answer that does not stand at its place.
        """
        ids: list[str] = []
        questions: list[str] = []
        contexts: list[str] = []
        answers: list[list[tuple[str, int]]] = []
        files = expand_files(patterns)
        for path in files:
            for place, row in _squad(path):
                ids.append(str(row.get("id", len(ids))))
                questions.append(_text(row, "question", place))
                contexts.append(_text(row, "context", place))
                answers.append(_answers(row, contexts[-1], place))
        if not ids:
            raise ValueError(f"no question in {', '.join(map(str, files))}")
        return cls(str(patterns), ids, questions, contexts, answers)


def _squad(path: Path) -> Iterator[tuple[str, dict]]:
    """Place and fields of each question."""
    if table_suffix(path) == ".jsonl":
        for number, row in json_lines(path):
            yield f"{path}, line {number}", row
        return
    try:
        articles = json.loads(read_text(path))["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    row = {**question, "context": paragraph["context"]}
                    yield f"{path}, question {question.get('id')}", row
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no SQuAD file ({error!r}): data → paragraphs → context, qas; or use .jsonl"
        ) from None


def _text(row: dict, key: str, place: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{place}: the {key} is {value!r}; fill it in, or leave the row out")
    return value


def _answers(row: dict, context: str, place: str) -> list[tuple[str, int]]:
    if row.get("is_impossible"):
        return []
    if not isinstance(row.get("answers"), list):
        raise ValueError(f'{place}: "answers" is {row.get("answers")!r}; give a list, empty where there is no answer')
    found = []
    for answer in row["answers"]:
        try:
            text, start = answer["text"], int(answer["answer_start"])
            known = isinstance(text, str)
        except (KeyError, TypeError, ValueError):
            known = False
        if not known:
            raise ValueError(f"{place}: an answer is {{text, answer_start}}, not {answer!r}")
        if not text or start < 0 or context[start : start + len(text)] != text:
            there = context[max(start, 0) : max(start, 0) + len(text)]
            raise ValueError(f"{place}: the answer {text!r} does not stand at character {start}; there is {there!r}")
        found.append((text, start))
    return found
