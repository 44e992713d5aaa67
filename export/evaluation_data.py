"""The data on which a model and its artifact are compared."""

from pathlib import Path
from typing import Any

from keras_plm.tasks import Columns, TaskModel, read_texts, task_of
from keras_plm.text import Examples, OnBadRow, check_limit, list_of_texts


def read_data(
    model: TaskModel, data: Any, columns: Columns, limit: int | None, on_bad_row: OnBadRow = "error"
) -> tuple[list, Examples | None]:
    """The inputs for the model, and the examples with their answers, or None if there are no answers.

    Args:
        model: its task determines the format of a file.
        data: a path, `Examples`, or texts or pairs as for `list_of_texts`.
        columns: the columns of a file; without a label column, only the texts are read.
        limit: read at most this number of rows, 1 or more.
        on_bad_row: "error", or "skip" to leave out rows that cannot be used, including rows with unknown labels.
    """
    check_limit(limit)
    task = task_of(model)
    if isinstance(data, str | Path):
        if columns.label is None and task.labels_optional:
            data = read_texts(str(data), columns, limit)
        else:
            # if bad rows are skipped, the limit counts the good rows only, so all rows are read first
            data = task.read(str(data), columns, on_bad_row, None if on_bad_row == "skip" else limit, model)
    if not isinstance(data, Examples):
        return task.inputs(list_of_texts(data, "data")[:limit]), None
    if on_bad_row == "skip":
        data = data.known(getattr(model, "labels", None))
    data = data.head(limit)
    return task.inputs(data.texts()), data
