"""Predict with a model or an artifact, and evaluate it."""

import io
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_plm.checkpoints import load
from keras_plm.export import load_artifact
from keras_plm.models import check_free
from keras_plm.tasks import evaluate, read_texts, task_of
from keras_plm.text import OnBadRow
from keras_plm.training import write_whole

from .columns import columns_of


def open_model(where: str) -> Any:
    """Open a model, or an artifact, which has the same methods."""
    is_artifact = where.endswith((".tflite", ".onnx")) or (Path(where) / "saved_model.pb").exists()
    return load_artifact(where) if is_artifact else load(where)


def predict(
    model: str,
    texts: tyro.conf.Positional[tuple[str, ...]] = (),
    data: str | None = None,
    text_column: str | None = None,
    second_column: str | None = None,
    question: str | None = None,
    save_to: str | None = None,
    overwrite: bool = False,
) -> None:
    """Label texts, tag them, answer a question about them, or compute their vectors. Prints tab-separated lines.

    The lines depend on the model. Classifier: label, probability, text. Tagger: number of the text, and label,
    characters, probability and text of each entity. Question answerer (needs --question): answer, probability,
    characters. Embedder: cosines of each text with all texts.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, or an artifact.
        texts: texts; without any, lines are read from standard input.
        data: a .tsv, .csv or .jsonl file instead of texts.
        text_column: column of the texts; by default as in the training.
        second_column: column of the second texts, if the model takes pairs.
        question: the question to ask about each text.
        save_to: a .npy file for probabilities (rows, classes) or vectors (rows, width), instead of lines.
        overwrite: replace the file of --save-to if it exists.
    """
    if save_to is not None:
        check_free(save_to, overwrite)
    opened = open_model(model)
    task = task_of(opened)
    if question is not None and not task.takes_question:
        raise ValueError(f"--question is for a question answerer; {model} is a {type(opened).__name__}")
    if data is None and second_column is not None:
        raise ValueError("--second-column needs --data: it names a column of that table")
    if data is None:
        first, second = list(texts) or [line.rstrip("\n") for line in sys.stdin], None
    elif texts:
        raise ValueError("texts and --data exclude each other: give only one of them")
    else:
        first, second = _texts_of(data, model, opened, text_column, second_column)
    if save_to is None:
        for line in task.lines(opened, first, second, question):
            print(line)
        return
    content, numbers = io.BytesIO(), task.arrays(opened, first, second)
    np.save(content, numbers)
    write_whole(Path(save_to), content.getvalue())
    print(f"{' x '.join(map(str, numbers.shape))} numbers → {save_to}")


def _texts_of(
    data: str, folder: str, model: Any, text_column: str | None, second_column: str | None
) -> tuple[list[str], list[str] | None]:
    """The texts of a table, and the second texts if the model takes pairs or `second_column` is given."""
    columns = columns_of(folder, model, text_column, second_column)
    if second_column is None and not task_of(model).takes_pairs:
        columns = replace(columns, second=None)
    found = read_texts(data, columns)
    if columns.second is None:
        return found, None
    return [text for text, _ in found], [text for _, text in found]


def evaluate_model(
    model: tyro.conf.Positional[str],
    data: tyro.conf.Positional[str],
    text_column: str | None = None,
    second_column: str | None = None,
    label_column: str | None = None,
    tag_column: str | None = None,
    on_bad_row: OnBadRow = "error",
    predictions: str | None = None,
    errors: str | None = None,
    overwrite: bool = False,
) -> None:
    """Score a saved model or an artifact on labeled examples, with the metrics of its task.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, or an artifact.
        data: a table, CoNLL or SQuAD file, in the format of the task's recipe.
        text_column: column of the (first) texts; by default all columns are as in the training.
        second_column: column of the second texts of pairs.
        label_column: column of the labels or scores.
        tag_column: CoNLL: number of the tag column; JSONL: key of the tags.
        on_bad_row: skip leaves out rows that cannot be used.
        predictions: a .jsonl file for all predictions.
        errors: a .md file for the worst errors.
        overwrite: replace these files if they exist.
    """
    for path in (predictions, errors):
        if path is not None:
            check_free(path, overwrite)
    opened = open_model(model)
    columns = columns_of(model, opened, text_column, second_column, label_column, tag_column)
    examples = task_of(opened).read(data, columns, on_bad_row, model=opened)
    if on_bad_row == "skip":
        examples = examples.known(getattr(opened, "labels", None))
        print(f"{len(examples.skipped):,} rows were skipped", *examples.skipped[:10], sep="\n  ")
    found = evaluate(opened, examples)
    for path, content in ((predictions, found.predictions()), (errors, found.errors())):
        if path is not None:
            write_whole(Path(path), content)
    table = Table(title=escape(f"{model} on {len(examples):,} examples"))
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in found.scores.items():
        table.add_row(name, f"{value:.4f}")
    Console(width=100).print(table)
