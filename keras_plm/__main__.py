"""The command line: `keras-plm pretrain | classify | predict | compare | export | vocabulary`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from keras_plm.export import (
    Artifact,
    compare,
    to_onnx,
    to_saved_model,
    to_tflite,
)
from keras_plm.export.quantization import Scheme
from keras_plm.models import Classifier, check_free, load
from keras_plm.recipes import Classify, Pretrain
from keras_plm.text import Tokenizer, learn_vocabulary, read_documents, read_rows
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
        model: folder of a saved classifier.
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
        model: folder of a saved classifier.
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
    write_whole(Path(save_to), Tokenizer(pieces, lowercase).to_text())
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
        model: folder of a saved classifier.
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
        model: folder of a saved classifier.
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
        model: folder of a saved classifier.
        folder: where to; TF Serving wants a version number as its last part.
        max_length: longest row in tokens; by default the model's limit.
        pairs: the model takes pairs of texts.
        overwrite: replace the folder if it exists.
    """
    _report(to_saved_model(_classifier(model), folder, max_length, pairs, overwrite))


def _report(path: Path) -> None:
    print(f"{path}: {Artifact(path).size_bytes / 1e6:.2f} MB, answers as the model does")


_COMMANDS: dict[str, Callable] = {
    "pretrain": Pretrain,
    "classify": Classify,
    "predict": predict,
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
