"""What a model and its artefact are tried on."""

from pathlib import Path
from typing import Any

from keras_plm.models import Embedder, QuestionAnswerer, Tagger
from keras_plm.text import (
    Examples,
    LabelledTexts,
    OnBadRow,
    Questions,
    TaggedSentences,
    check_limit,
    list_of_texts,
    read_rows,
)
from keras_plm.text.readers.labelled_texts import Kind

from .tasks import TaskModel


def read_data(
    model: TaskModel,
    data: Any,
    columns: tuple,
    limit: int | None,
    tag_column: int | str = -1,
    on_bad_row: OnBadRow = "error",
) -> tuple[list, Examples | None]:
    """Texts or pairs to run, and the rows with their answers if they have any.

    Args:
        model: what they are for: it decides what a file holds.
        data: a path, `Examples`, or texts or pairs as `list_of_texts` takes them.
        columns: of the first texts, the second texts and the labels; None for one that there is not.
        limit: the first so many rows only, 1 or more.
        tag_column: of a tagger's file, as of `TaggedSentences.read`.
        on_bad_row: "error", or "skip" to leave out rows that cannot be used, unknown labels among them.
    """
    check_limit(limit)
    if isinstance(data, str | Path):
        data = _read(model, str(data), columns, limit, tag_column, on_bad_row)
    if not isinstance(data, Examples):
        texts = list_of_texts(data, "data")[:limit]
        if isinstance(model, Embedder) and texts and not isinstance(texts[0], str):
            texts = [text for pair in zip(*texts, strict=True) for text in pair]
        return texts, None
    if on_bad_row == "skip":
        data = data.known(getattr(model, "labels", None))
    data = data.head(limit)
    if isinstance(model, Embedder) and isinstance(data, LabelledTexts):
        return [*data.first, *(data.second or [])], data
    return data.texts(), data


def _read(
    model: TaskModel, file: str, columns: tuple, limit: int | None, tag_column: int | str, on_bad_row: OnBadRow
) -> Any:
    text_column, second_column, label_column = columns
    if isinstance(model, Tagger):
        return TaggedSentences.read(file, tag_column, on_bad_row)
    if isinstance(model, QuestionAnswerer):
        return Questions.read(file, on_bad_row)
    if label_column is None:
        table = read_rows(file, [name for name in (text_column, second_column) if name is not None], limit)
        return list(zip(*table.values(), strict=True)) if second_column else table[text_column]
    return LabelledTexts.read(file, text_column, second_column, label_column, limit, kind_of_values(model), on_bad_row)


def kind_of_values(model: Any) -> Kind:
    """What stands in the column of labels of a table for this model or artifact."""
    if getattr(model, "labels", None) is None:
        return "score"
    return "labels" if model.multi_label else "label"
