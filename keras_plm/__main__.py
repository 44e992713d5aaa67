"""The command line: `keras-plm choose | pretrain | classify | predict | embed | compare | export | vocabulary`."""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from keras_plm.checkpoints import choose, load
from keras_plm.checkpoints.choice import Size, Task
from keras_plm.export import (
    Artifact,
    compare,
    to_onnx,
    to_saved_model,
    to_tflite,
)
from keras_plm.export.quantization import Scheme
from keras_plm.models import Classifier, Embedder, check_free
from keras_plm.recipes import Classify, Pretrain
from keras_plm.text import WordPieceTokenizer, learn_vocabulary, read_documents, read_rows
from keras_plm.training import write_whole


def main(arguments: list[str] | None = None) -> None:
    """Run a command; an error of the input is one line and exit status 1, not a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["export"]:
            _command(_EXPORTS, arguments[1:], "keras-plm export", "Write a model for a runtime.")
        else:
            _command(_COMMANDS, arguments, "keras-plm", __doc__ or "")
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        Console(stderr=True).print(f"keras-plm: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


def _command(commands: dict[str, Any], arguments: list[str], prog: str, description: str) -> None:
    result = tyro.extras.subcommand_cli_from_dict(commands, args=arguments, prog=prog, description=description)
    if isinstance(result, Pretrain | Classify):
        result.run()


def _classifier(folder: str) -> Classifier:
    model = load(folder)
    if not isinstance(model, Classifier):
        raise ValueError(f"{folder} is a {type(model).__name__}; this command needs a Classifier")
    return model


def predict(
    model: str,
    texts: tyro.conf.Positional[tuple[str, ...]] = (),
    data: str | None = None,
    text_column: str = "text",
    second_column: str | None = None,
) -> None:
    """Label texts, and show how sure the model is. Prints tab-separated lines.

    Args:
        model: a classifier: a folder, or "hf:" and a Hugging Face folder or repository.
        texts: texts to label; none reads lines from standard input.
        data: a .tsv, .csv or .jsonl file to label in place of texts.
        text_column: its column of texts.
        second_column: its column of second texts, for a model of pairs.
    """
    classifier = _classifier(model)
    second: list[str] | None = None
    if data is not None:
        columns = [text_column] if second_column is None else [text_column, second_column]
        table = read_rows(data, columns)
        first = table[text_column]
        second = None if second_column is None else table[second_column]
    else:
        first = list(texts) or [line.rstrip("\n") for line in sys.stdin]
    if classifier.labels is None:
        for text, score in zip(first, classifier.predict_logits(first, second)[:, 0], strict=True):
            print(f"{score:.4f}\t{text}")
        return
    for text, row in zip(first, classifier.predict_probabilities(first, second), strict=True):
        print(f"{classifier.labels[row.argmax()]}\t{row.max():.4f}\t{text}")


def embed(
    model: str,
    texts: tyro.conf.Positional[tuple[str, ...]] = (),
    save_to: str | None = None,
    overwrite: bool = False,
) -> None:
    """Turn texts into vectors: how alike they are, or a .npy file for a search index.

    Args:
        model: an Embedder: a folder, "hf:" and a Hugging Face folder or repository.
        texts: texts; none reads lines from standard input.
        save_to: a .npy file for the vectors, (rows, D) float32; without, the cosines of all pairs are printed.
        overwrite: replace the file if it exists.
    """
    if save_to is not None:
        check_free(save_to, overwrite)
    embedder = load(model)
    if not isinstance(embedder, Embedder):
        raise ValueError(f"{model} is a {type(embedder).__name__}; this command needs an Embedder")
    rows = list(texts) or [line.rstrip("\n") for line in sys.stdin]
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


def choose_checkpoint(
    task: Task = "classification",
    max_megabytes: float | None = None,
    max_latency_ms: float | None = None,
    languages: tuple[str, ...] = ("en",),
    quantization: Size = "dynamic_int8",
) -> None:
    """Recommend a published checkpoint to start from, and say why. Nothing is downloaded.

    Args:
        task: what it is to be a start for.
        max_megabytes: largest exported file, in 10⁶ bytes.
        max_latency_ms: longest time of a row of 128 tokens in TFLite on one thread.
        languages: ISO 639-1 codes; the checkpoint must know all of them.
        quantization: of the exported file, for both bounds.
    """
    print(choose(task, max_megabytes, max_latency_ms, languages, quantization))


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
        model: a classifier: a folder, or "hf:" and a Hugging Face folder or repository.
        artifact: a .tflite, a .onnx or a SavedModel folder.
        data: a .tsv, .csv or .jsonl file with labels.
        text_column: its column of texts.
        second_column: its column of second texts, for a model of pairs.
        label_column: its column of labels.
        max_length: row length in tokens, where the artefact leaves it free; by default the model's limit.
        limit: use the first so many rows only.
    """
    names = (text_column, second_column, label_column, max_length, limit)
    print(compare(_classifier(model), Artifact(artifact), data, *names, progress=True))


def vocabulary(
    corpus: tyro.conf.Positional[tuple[str, ...]],
    save_to: str,
    size: int = 30_522,
    lowercase: bool = True,
    overwrite: bool = False,
) -> None:
    """Learn a WordPiece vocabulary from text and write it as a vocab.txt.

    Args:
        corpus: paths or globs of text files.
        save_to: the file to write.
        size: largest number of pieces, the 5 special tokens included.
        lowercase: lower-case and strip accents.
        overwrite: replace the file if it exists.
    """
    check_free(save_to, overwrite)
    sentences = (s for document in read_documents(list(corpus)) for s in document)
    pieces = learn_vocabulary(sentences, size, lowercase, progress=True)
    write_whole(Path(save_to), WordPieceTokenizer(pieces, lowercase).files()["vocab.txt"].decode())
    print(f"{len(pieces):,} pieces → {save_to}")


def export_tflite(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    quantization: Scheme = "float32",
    length: int | None = None,
    calibration: str | None = None,
    text_column: str = "text",
    second_column: str | None = None,
    calibration_rows: int = 200,
    overwrite: bool = False,
) -> None:
    """Write a .tflite of built-in operators for phones, and prove it in ai-edge-litert.

    Args:
        model: a classifier: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .tflite file, or a folder for model.tflite.
        quantization: how to store weights and compute.
        length: fixed number of tokens; by default the model's limit.
        calibration: a table of texts for static_int8.
        text_column: its column of texts.
        second_column: its column of second texts, for a model of pairs.
        calibration_rows: how many of its rows to use.
        overwrite: replace the file if it exists.
    """
    texts: list | None = None
    if calibration is not None:
        columns = [text_column] if second_column is None else [text_column, second_column]
        table = read_rows(calibration, columns, calibration_rows)
        texts = list(zip(*table.values(), strict=True)) if second_column else table[text_column]
    _report(to_tflite(_classifier(model), path, quantization, length, texts, overwrite))


def export_onnx(
    model: tyro.conf.Positional[str],
    path: tyro.conf.Positional[str],
    length: int | None = None,
    overwrite: bool = False,
) -> None:
    """Write an ONNX file, and prove it in onnxruntime.

    Args:
        model: a classifier: a folder, or "hf:" and a Hugging Face folder or repository.
        path: the .onnx file, or a folder for model.onnx.
        length: fixed number of tokens; by default batch and length are free.
        overwrite: replace the file if it exists.
    """
    _report(to_onnx(_classifier(model), path, length, overwrite))


def export_saved_model(
    model: tyro.conf.Positional[str],
    folder: tyro.conf.Positional[str],
    max_length: int | None = None,
    pairs: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a SavedModel for TF Serving that takes raw text, and prove it.

    Args:
        model: a classifier: a folder, or "hf:" and a Hugging Face folder or repository.
        folder: where to; TF Serving wants a version number as its last part.
        max_length: longest row in tokens; by default the model's limit.
        pairs: the model takes pairs of texts.
        overwrite: replace the folder if it exists.
    """
    _report(to_saved_model(_classifier(model), folder, max_length, pairs, overwrite))


def _report(path: Path) -> None:
    print(f"{path}: {Artifact(path).size_bytes / 1e6:.2f} MB, answers as the model does")


_COMMANDS: dict[str, Callable] = {
    "choose": choose_checkpoint,
    "pretrain": Pretrain,
    "classify": Classify,
    "predict": predict,
    "embed": embed,
    "compare": compare_artifact,
    "vocabulary": vocabulary,
    # for the list of commands; main() hands `export` to its own commands
    "export": lambda: None,
}
_COMMANDS["export"].__doc__ = "Write a model for a runtime: `export tflite | onnx | saved-model`."
_EXPORTS: dict[str, Callable] = {
    "tflite": export_tflite,
    "onnx": export_onnx,
    "saved-model": export_saved_model,
}

if __name__ == "__main__":
    main()
