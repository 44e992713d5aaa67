"""What a model and its artefact are tried on."""

from pathlib import Path
from typing import Any

from keras_plm.models import Embedder, QuestionAnswerer, Tagger
from keras_plm.text import Examples, LabelledTexts, Questions, TaggedSentences, list_of_texts, read_rows
from keras_plm.text.rows import check_limit

from .tasks import TaskModel


def read_data(
    model: TaskModel, data: Any, columns: tuple, limit: int | None, tag_column: int | str = -1
) -> tuple[list, Examples | None]:
    """Texts or pairs to run, and the rows with their answers if they have any.

    Args:
        model: what they are for: it decides what a file holds.
        data: a path, `Examples`, or texts or pairs as `list_of_texts` takes them.
        columns: of the first texts, the second texts and the labels; None for one that there is not.
        limit: the first so many rows only, 1 or more.
        tag_column: of a tagger's file, as of `TaggedSentences.read`.
    """
    check_limit(limit)
    text_column, second_column, label_column = columns
    if isinstance(data, str | Path):
        if isinstance(model, Tagger):
            data = TaggedSentences.read(str(data), tag_column)
        elif isinstance(model, QuestionAnswerer):
            data = Questions.read(str(data))
        elif label_column is None:
            names = [name for name in (text_column, second_column) if name is not None]
            table = read_rows(str(data), names, limit)
            data = list(zip(*table.values(), strict=True)) if second_column else table[text_column]
        else:
            data = LabelledTexts.read(str(data), text_column, second_column, label_column, limit)
    if not isinstance(data, Examples):
        texts = list_of_texts(data, "data")[:limit]
        if isinstance(model, Embedder) and texts and not isinstance(texts[0], str):
            texts = [text for pair in zip(*texts, strict=True) for text in pair]
        return texts, None
    data = data.head(limit)
    if isinstance(data, TaggedSentences):
        return [" ".join(words) for words in data.words], data
    if isinstance(data, Questions):
        return list(zip(data.questions, data.contexts, strict=True)), data
    assert isinstance(data, LabelledTexts)
    if isinstance(model, Embedder):
        return [*data.first, *(data.second or [])], data
    return data.first if data.second is None else list(zip(data.first, data.second, strict=True)), data
