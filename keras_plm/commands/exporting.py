"""A model → an artefact, and how the two differ."""

from pathlib import Path

import tyro

from keras_plm.checkpoints import load
from keras_plm.export import Artifact, compare, to_onnx, to_saved_model, to_tflite
from keras_plm.text import read_rows


def export_tflite(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    quantization: str = "float32",
    length: int | None = None,
    calibration: str | None = None,
    text_column: str = "text",
    second_column: str | None = None,
    calibration_rows: int = 200,
    metadata: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a .tflite of built-in operators for phones, and prove it in ai-edge-litert.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .tflite file, or a folder for model.tflite.
        quantization: how to store weights and compute: float32, float16, dynamic_int8, static_int8, int4, int4_block32,
            or with some parts in eight bits int4+int8:table,block_0.
        length: fixed number of tokens; by default the model's limit.
        calibration: a table of texts for static_int8.
        text_column: its column of texts.
        second_column: its column of second texts, for a model of pairs.
        calibration_rows: how many of its rows to use.
        metadata: put vocabulary and labels into the file, for MediaPipe Tasks and the TFLite Task Library.
        overwrite: replace the file if it exists.
    """
    texts: list | None = None
    if calibration is not None:
        columns = [text_column] if second_column is None else [text_column, second_column]
        table = read_rows(calibration, columns, calibration_rows)
        texts = list(zip(*table.values(), strict=True)) if second_column else table[text_column]
    _report(to_tflite(load(model), path, quantization, length, texts, metadata, overwrite))


def export_onnx(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    length: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write an ONNX file, and prove it in onnxruntime.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .onnx file, or a folder for model.onnx.
        length: fixed number of tokens; by default batch and length are free.
        overwrite: replace the file if it exists.
    """
    _report(to_onnx(load(model), path, length, overwrite))


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
        pairs: the model takes pairs of texts.
        overwrite: replace the folder if it exists.
    """
    _report(to_saved_model(load(model), folder, max_length, pairs, overwrite))


def _report(path: Path) -> None:
    print(f"{path}: {Artifact(path).size_bytes / 1e6:.2f} MB, answers as the model does")


def compare_artifact(
    model: tyro.conf.Positional[str],
    artifact: tyro.conf.Positional[str],
    data: str,
    text_column: str = "text",
    second_column: str | None = None,
    label_column: str = "label",
    max_length: int | None = None,
    limit: int | None = None,
) -> None:
    """Run a model and its artefact on the same rows; show scores, agreement, error, bytes and latency.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        artifact: a .tflite, a .onnx or a SavedModel folder.
        data: a .tsv, .csv or .jsonl file with labels.
        text_column: its column of texts.
        second_column: its column of second texts, for a model of pairs.
        label_column: its column of labels.
        max_length: row length in tokens, where the artefact leaves it free; by default the model's limit.
        limit: use the first so many rows only.
    """
    names = (text_column, second_column, label_column, max_length, limit)
    print(compare(load(model), Artifact(artifact), data, *names, progress=True))
