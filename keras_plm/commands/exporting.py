"""A model → an artifact, and how the two differ."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import tyro

from keras_plm.checkpoints import load
from keras_plm.export import (
    Artifact,
    BudgetError,
    compare,
    fit_budget,
    to_onnx,
    to_saved_model,
    to_tflite,
    write_report,
    write_tokenizer_vectors,
)
from keras_plm.export.artifact_files import artifact_path
from keras_plm.export.budget.attempts import search_folder
from keras_plm.export.budget.pareto import check_plot
from keras_plm.export.optional_imports import import_extra
from keras_plm.models import check_free
from keras_plm.tasks import Columns, read_texts
from keras_plm.text import OnBadRow

from .columns import columns_of


def export_tflite(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    quantization: str = "float32",
    max_length: int | None = None,
    calibration: str | None = None,
    text_column: str = "text",
    second_column: str | None = None,
    calibration_rows: int = 200,
    metadata: bool = False,
    strings: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a .tflite of built-in operators for phones, and prove it in ai-edge-litert.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .tflite file, or a folder for model.tflite.
        quantization: float32, float16, dynamic_int8, static_int8, int8x16, int4 or int4_block32.
        max_length: fixed number of tokens; by default the model's limit.
        calibration: a table of texts like those it will see; static_int8 and int8x16 need it.
        text_column: its column of texts.
        second_column: its column of second texts, for a model of pairs.
        calibration_rows: how many of its rows to use.
        metadata: put vocabulary and labels into the file, for MediaPipe Tasks and the TFLite Task Library.
        strings: put the tokenizer into the file, as operators of TensorFlow Text that the app registers.
        overwrite: replace the file if it exists.
    """
    texts = (
        None if calibration is None else read_texts(calibration, Columns(text_column, second_column), calibration_rows)
    )
    takes = "pairs" if strings and second_column else strings
    _report(to_tflite(load(model), path, quantization, max_length, texts, metadata, takes, overwrite, progress=True))


def export_onnx(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    max_length: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write an ONNX file, and prove it in onnxruntime.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .onnx file, or a folder for model.onnx.
        max_length: fixed number of tokens; by default batch and length are free.
        overwrite: replace the file if it exists.
    """
    _report(to_onnx(load(model), path, max_length, overwrite))


def export_saved_model(
    model: tyro.conf.Positional[str],
    folder: tyro.conf.Positional[str],
    max_length: int | None = None,
    pairs: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a SavedModel for TF Serving that takes raw text, and prove it.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        folder: where to; TF Serving wants a version number as its last part.
        max_length: longest row in tokens; by default the model's limit.
        pairs: it takes pairs of texts, also where the model does not know that it was trained on them.
        overwrite: replace the folder if it exists.
    """
    _report(to_saved_model(load(model), folder, max_length, pairs or None, overwrite))


def export_tokenizer_vectors(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    texts: str | None = None,
    text_column: str = "text",
    limit: int = 200,
    overwrite: bool = False,
) -> None:
    """Write texts with their tokens as JSON, to check a tokenizer in another language against.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: of the file.
        texts: a table of texts of your own; they come before those that ports get wrong most often.
        text_column: its column of texts.
        limit: use at most this number of its rows.
        overwrite: replace the file if it exists.
    """
    own = () if texts is None else read_texts(texts, Columns(text_column), limit)
    print(write_tokenizer_vectors(load(model), path, own, overwrite))


def _report(path: Path) -> None:
    print(f"{path}: {Artifact(path).size_bytes / 1e6:.2f} MB, matches the Keras model")


def compare_artifact(
    model: tyro.conf.Positional[str],
    artifacts: tyro.conf.Positional[tuple[str, ...]],
    data: str,
    text_column: str | None = None,
    second_column: str | None = None,
    label_column: str | None = None,
    tag_column: str | None = None,
    on_bad_row: OnBadRow = "error",
    max_length: int | None = None,
    limit: int | None = None,
    report: str | None = None,
    overwrite: bool = False,
) -> None:
    """Run a model and its artifacts on the same examples; show scores, agreement, error, bytes and latency.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        artifacts: .tflite and .onnx files, SavedModel folders.
        data: a .tsv, .csv or .jsonl file with labels; of a tagger CoNLL, of a question answerer SQuAD's JSON.
        text_column: its column of texts; by default each column is that of the training.
        second_column: its column of second texts, for a model of pairs.
        label_column: its column of labels.
        tag_column: of CoNLL the number of the column, of JSONL its key.
        on_bad_row: skip leaves out rows that cannot be used.
        max_length: row length in tokens, where the artifact leaves it free; by default the model's limit.
        limit: use at most this number of rows.
        report: write a page about them, by class and by length, to this file (needs the extra "plots").
        overwrite: replace that page if it exists.
    """
    if not artifacts:
        raise ValueError("no artifact to compare the model with")
    if report is not None:
        check_free(report, overwrite)
        import_extra("matplotlib", "plots")
    keras, found = load(model), []
    columns = columns_of(model, keras, text_column, second_column, label_column, tag_column)
    names = (columns.text, columns.second, columns.label, max_length, limit)
    for artifact in artifacts:
        options: dict[str, Any] = {"progress": True, "tag_column": columns.tag, "on_bad_row": on_bad_row}
        found.append(compare(keras, artifact, data, *names, **options))
        print(found[-1])
    if report is not None:
        print(write_report(found, report, overwrite))


def budget(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    data: str,
    max_megabytes: float | None = None,
    max_latency_ms: float | None = None,
    max_loss: float | None = None,
    texts: str | None = None,
    alternatives: tuple[str, ...] = (),
    schemes: tuple[str, ...] = (),
    metric: str | None = None,
    text_column: str | None = None,
    second_column: str | None = None,
    label_column: str | None = None,
    tag_column: str | None = None,
    max_length: int | None = None,
    limit: int | None = None,
    num_threads: int = 1,
    plot: str | None = None,
    overwrite: bool = False,
) -> None:
    """Search trimming, schemes and smaller models for the best .tflite within bounds of bytes, time and loss.

    Killed in the middle? The same command resumes where it was.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .tflite file, or a folder for model.tflite.
        data: validation rows with labels; of a tagger CoNLL, of a question answerer SQuAD's JSON.
        max_megabytes: most bytes of the file, in 10⁶.
        max_latency_ms: longest time of one row of full length.
        max_loss: most points of the metric below the model.
        texts: a table of texts like those it will see, for the vocabulary and for calibration.
        alternatives: folders of smaller models for the same task.
        schemes: those to try; by default float16, dynamic_int8, int4, int4_block32, and with texts static_int8.
        metric: a score of `evaluate`; by default the first.
        text_column: the column of texts; by default each column is that of the training.
        second_column: the column of second texts, for a model of pairs.
        label_column: the column of labels.
        tag_column: of CoNLL the number of the column, of JSONL its key.
        max_length: fixed number of tokens; by default the model's limit.
        limit: use at most this number of rows.
        num_threads: of the runtime.
        plot: draw the attempts into this file (needs the extra "plots").
        overwrite: replace the file if it exists.
    """
    if plot is not None:
        # the plot of a budget that was missed is replaced by the next
        check_free(plot, overwrite or search_folder(artifact_path(path, ".tflite")).exists())
        check_plot(plot)
    given = load(model)
    columns = columns_of(model, given, text_column, second_column, label_column, tag_column)
    try:
        found = fit_budget(
            given, path, data, max_megabytes=max_megabytes, max_latency_ms=max_latency_ms, max_loss=max_loss,
            alternatives={folder: load(folder) for folder in alternatives},
            texts=None if texts is None else read_texts(texts, columns),
            schemes=schemes or None, metric=metric, max_length=max_length, limit=limit, num_threads=num_threads,
            overwrite=overwrite, progress=True, text_column=columns.text, second_column=columns.second,
            label_column=columns.label, tag_column=columns.tag,
        )  # fmt: skip
    except BudgetError as error:
        print(error.budget)
        if plot is not None:
            with suppress(OSError):  # which bound fails is what counts
                error.budget.plot(plot)
        raise
    print(found)
    if plot is not None:
        found.plot(plot)
    print(found.path)
