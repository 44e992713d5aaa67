"""Export a model to an artifact, and compare the two."""

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
    to_litert_lm,
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
    """Write a .tflite with built-in operators for phones, and verify it in ai-edge-litert.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .tflite file, or a folder for model.tflite.
        quantization: float32, float16, dynamic_int8, static_int8, int8x16, int4 or int4_block32.
        max_length: fixed number of tokens; by default the model's limit.
        calibration: a table of texts similar to the texts in production; static_int8 and int8x16 need it.
        text_column: column of the calibration texts.
        second_column: column of the second texts, if the model takes pairs.
        calibration_rows: number of calibration rows to use.
        metadata: put vocabulary and labels into the file, for MediaPipe Tasks and the TFLite Task Library.
        strings: put the tokenizer into the file, as TensorFlow Text operators that the app must register.
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
    """Write an ONNX file, and verify it in onnxruntime.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .onnx file, or a folder for model.onnx.
        max_length: fixed number of tokens; by default batch size and length are not fixed.
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
    """Write a SavedModel for TF Serving that takes raw text, and verify it.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        folder: the output folder; TF Serving needs a version number as its last part.
        max_length: longest row in tokens; by default the model's limit.
        pairs: the SavedModel takes pairs of texts; only needed if the model does not record it.
        overwrite: replace the folder if it exists.
    """
    _report(to_saved_model(load(model), folder, max_length, pairs or None, overwrite))


def export_litert_lm(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    quantization: str = "dynamic_int8",
    max_length: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write a .litertlm of a text generator for LiteRT-LM, and verify it there.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, or a .gguf file.
        path: the .litertlm file, or a folder for model.litertlm.
        quantization: float32, float16, dynamic_int8, int4 or int4_block32.
        max_length: number of tokens of a prompt with its continuation; by default the model's limit.
        overwrite: replace the file if it exists.
    """
    made = to_litert_lm(load(model), path, quantization, max_length, overwrite)
    print(f"{made}: {made.stat().st_size / 1e6:.2f} MB, writes the same texts in LiteRT-LM")


def export_tokenizer_vectors(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    texts: str | None = None,
    text_column: str = "text",
    limit: int = 200,
    overwrite: bool = False,
) -> None:
    """Write texts with their tokens as JSON: test vectors for a tokenizer in another programming language.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the JSON file.
        texts: a table of your own texts; texts that ports often tokenize wrong are added.
        text_column: column of your texts.
        limit: use at most this number of your texts.
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
    """Run a model and its artifacts on the same examples; show scores, agreement, error, size and latency.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        artifacts: .tflite and .onnx files, SavedModel folders.
        data: a .tsv, .csv or .jsonl file with labels; for a tagger CoNLL, for a question answerer SQuAD's JSON.
        text_column: column of the texts; by default all columns are as in the training.
        second_column: column of the second texts, if the model takes pairs.
        label_column: column of the labels.
        tag_column: CoNLL: number of the tag column; JSONL: key of the tags.
        on_bad_row: skip leaves out rows that cannot be used.
        max_length: row length in tokens, if the artifact does not fix it; by default the model's limit.
        limit: use at most this number of rows.
        report: write an HTML report, with results by class and by length, to this file (needs the extra "plots").
        overwrite: replace the report if it exists.
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
    """Try trimming, quantization schemes and smaller models; keep the best .tflite within limits of size, time, loss.

    If the command is killed, the same command resumes the search.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .tflite file, or a folder for model.tflite.
        data: validation rows with labels; for a tagger CoNLL, for a question answerer SQuAD's JSON.
        max_megabytes: largest size of the file, in 10⁶ bytes.
        max_latency_ms: longest time of one row of full length.
        max_loss: largest loss of the metric relative to the model, in points.
        texts: a table of texts similar to the texts in production, for trimming and for calibration.
        alternatives: folders of smaller models for the same task.
        schemes: schemes to try; by default float16, dynamic_int8, int4, int4_block32, and with texts static_int8.
        metric: a score of `evaluate`; by default the first.
        text_column: column of the texts; by default all columns are as in the training.
        second_column: column of the second texts, if the model takes pairs.
        label_column: column of the labels.
        tag_column: CoNLL: number of the tag column; JSONL: key of the tags.
        max_length: fixed number of tokens; by default the model's limit.
        limit: use at most this number of rows.
        num_threads: threads of the runtime.
        plot: plot the attempts to this file (needs the extra "plots").
        overwrite: replace the file if it exists.
    """
    if plot is not None:
        # the plot of a failed search may be replaced by the next search
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
            with suppress(OSError):  # the error of the budget is more important than an error of the plot
                error.budget.plot(plot)
        raise
    print(found)
    if plot is not None:
        found.plot(plot)
    print(found.path)
