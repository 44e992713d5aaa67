"""Ask a model or an artefact."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_plm.checkpoints import load
from keras_plm.evaluation import evaluate
from keras_plm.export import load_artifact
from keras_plm.export.data import kind_of_values
from keras_plm.models import Answering, Classifying, Embedding, Tagging, check_free
from keras_plm.text import LabelledTexts, OnBadRow, Questions, TaggedSentences
from keras_plm.training import write_whole

from .columns import Columns, read_texts


def _open(where: str, kind: Any = None) -> Any:
    """A model, or an artefact, which has the same methods.

    Raises:
        ValueError: of another kind than the command needs.
    """
    is_artifact = where.endswith((".tflite", ".onnx")) or (Path(where) / "saved_model.pb").exists()
    model = load_artifact(where) if is_artifact else load(where)
    if kind is not None and not isinstance(model, kind):
        needed = {Classifying: "a classifier", Embedding: "an embedder"}[kind]
        raise ValueError(f"{where} is a {type(model).__name__}; this command needs {needed}")
    return model


def predict(
    model: str,
    texts: tyro.conf.Positional[tuple[str, ...]] = (),
    data: str | None = None,
    text_column: str | None = None,
    second_column: str | None = None,
    question: str | None = None,
) -> None:
    """Label texts, tag them, or answer a question about them. Prints tab-separated lines.

    A classifier gives label, probability and text; a tagger the number of the row, label, characters, probability and
    text of each entity; a question answerer, given a --question, answer, probability and characters.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, or an artefact.
        texts: texts; none reads lines from standard input.
        data: a .tsv, .csv or .jsonl file in place of texts.
        text_column: its column of texts; by default that of the training.
        second_column: its column of second texts, for a model of pairs.
        question: what to ask of each text.
    """
    opened = _open(model)
    if question is not None and not isinstance(opened, Answering):
        raise ValueError(f"--question is for a question answerer; {model} is a {type(opened).__name__}")
    columns = Columns.of(model, opened, text_column, second_column)
    if data is None and second_column is not None:
        raise ValueError("--second-column is of the table that --data names")
    first, second = _given(texts, data, columns)
    if isinstance(opened, Tagging):
        for row, spans in enumerate(opened.tag(first), 1):
            for span in spans:
                print(f"{row}\t{span.label}\t{span.start}-{span.end}\t{span.score:.4f}\t{span.text}")
    elif isinstance(opened, Answering):
        if question is None:
            raise ValueError("what is the question? Give it with --question; the texts are where the answer stands")
        for answers in opened.answer_all([question] * len(first), first):
            print(f"{answers[0].text}\t{answers[0].score:.4f}\t{answers[0].start}-{answers[0].end}")
    elif isinstance(opened, Classifying):
        _print_labels(opened, first, second)
    else:
        raise ValueError(
            f"{model} is a {type(opened).__name__}; this command needs a classifier, tagger or question answerer"
        )


def _given(
    texts: tuple[str, ...], data: str | None = None, columns: Columns | None = None
) -> tuple[list[str], list[str] | None]:
    """The texts of the command, those of a table, or the lines of standard input."""
    if data is not None and texts:
        raise ValueError("texts and --data are given; which of them?")
    if data is not None and columns is not None:
        return read_texts(data, columns.text, columns.second)
    return list(texts) or [line.rstrip("\n") for line in sys.stdin], None


def _print_labels(model: Classifying, first: list[str], second: list[str] | None) -> None:
    if model.labels is None:
        for text, score in zip(first, model.predict_logits(first, second)[:, 0], strict=True):
            print(f"{score:.4f}\t{text}")
        return
    for text, row in zip(first, model.predict_probabilities(first, second), strict=True):
        if model.multi_label:
            found = [f"{label} {p:.4f}" for label, p in zip(model.labels, row, strict=True) if p >= 0.5]
            print(f"{'; '.join(found)}\t{text}")
        else:
            print(f"{model.labels[row.argmax()]}\t{row.max():.4f}\t{text}")


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
    """Score a saved model or an artefact on rows whose answer is known, by the metric of its task.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, or an artefact.
        data: a table, CoNLL or SQuAD file, as the recipe of the task takes it.
        text_column: the (first) text; by default each column is that of the training.
        second_column: the second text of pairs.
        label_column: labels or scores.
        tag_column: of CoNLL the number of the column, of JSONL its key.
        on_bad_row: skip leaves out rows that cannot be used.
        predictions: a .jsonl file to write all answers to.
        errors: a .md file to write the worst errors to.
        overwrite: replace these files if they exist.
    """
    for path in (predictions, errors):
        if path is not None:
            check_free(path, overwrite)
    opened = _open(model)
    columns = Columns.of(model, opened, text_column, second_column, label_column, tag_column)
    examples: Any
    if isinstance(opened, Tagging):
        examples = TaggedSentences.read(data, columns.tag, on_bad_row)
    elif isinstance(opened, Answering):
        examples = Questions.read(data, on_bad_row)
    else:
        kind = kind_of_values(opened)
        examples = LabelledTexts.read(data, *columns[:3], kind=kind, on_bad_row=on_bad_row)
    if on_bad_row == "skip":
        examples = examples.known(getattr(opened, "labels", None))
        print(f"{len(examples.skipped):,} rows were skipped", *examples.skipped[:10], sep="\n  ")
    found = evaluate(opened, examples)
    for path, content in ((predictions, found.predictions()), (errors, found.errors())):
        if path is not None:
            write_whole(Path(path), content)
    table = Table(title=escape(f"{model} on {len(examples):,} rows"))
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in found.scores.items():
        table.add_row(name, f"{value:.4f}")
    Console(width=100).print(table)


def embed(
    model: str,
    texts: tyro.conf.Positional[tuple[str, ...]] = (),
    save_to: str | None = None,
    overwrite: bool = False,
) -> None:
    """Turn texts into vectors: how alike they are, or a .npy file for a search index.

    Args:
        model: an embedder: a folder, "hf:" and a Hugging Face folder or repository, or an artefact.
        texts: texts; none reads lines from standard input.
        save_to: a .npy file for the vectors, (rows, D) float32; without, the cosines of all pairs are printed.
        overwrite: replace the file if it exists.
    """
    if save_to is not None:
        check_free(save_to, overwrite)
    embedder = _open(model, Embedding)
    rows, _ = _given(texts)
    vectors = embedder.embed(rows)
    if save_to is not None:
        content = io.BytesIO()
        np.save(content, vectors)
        write_whole(Path(save_to), content.getvalue())
        print(f"{vectors.shape[0]:,} vectors of {vectors.shape[1]} → {save_to}")
        return
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = vectors / np.maximum(lengths, 1e-12)
    for text, cosines in zip(rows, unit @ unit.T, strict=True):
        print("\t".join([*(f"{cosine:.3f}" for cosine in cosines), text]))
