"""The commands that are no recipe: one function each, whose arguments are the flags."""

import dataclasses
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from keras_plm.checkpoints import choose, load
from keras_plm.checkpoints.choice import Size, Task
from keras_plm.evaluation import evaluate
from keras_plm.export import Artifact, compare, load_artifact, to_onnx, to_saved_model, to_tflite
from keras_plm.export.quantization import Scheme
from keras_plm.models import Answering, Classifying, Embedding, Tagging, check_free, save, shrink
from keras_plm.recipes import Answer, Classify, Embed, Tag, cross_validate, find_learning_rate
from keras_plm.text import (
    LabelledTexts,
    Questions,
    TaggedSentences,
    WordPieceTokenizer,
    learn_vocabulary,
    read_documents,
    read_rows,
)
from keras_plm.training import write_whole


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
    text_column: str = "text",
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
        text_column: its column of texts.
        second_column: its column of second texts, for a model of pairs.
        question: what to ask of each text.
    """
    opened = _open(model)
    second: list[str] | None = None
    if data is not None:
        columns = [text_column] if second_column is None else [text_column, second_column]
        table = read_rows(data, columns)
        first = table[text_column]
        second = None if second_column is None else table[second_column]
    else:
        first = list(texts) or [line.rstrip("\n") for line in sys.stdin]
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
    text_column: str = "text",
    second_column: str | None = None,
    label_column: str = "label",
    tag_column: str = "-1",
    predictions: str | None = None,
    errors: str | None = None,
    overwrite: bool = False,
) -> None:
    """Score a saved model or an artefact on rows whose answer is known, by the metric of its task.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, or an artefact.
        data: a table, CoNLL or SQuAD file, as the recipe of the task takes it.
        text_column: the (first) text, of a table.
        second_column: the second text of pairs.
        label_column: labels or scores.
        tag_column: of CoNLL the number of the column, of JSONL its key.
        predictions: a .jsonl file to write all answers to.
        errors: a .md file to write the worst errors to.
        overwrite: replace these files if they exist.
    """
    for path in (predictions, errors):
        if path is not None:
            check_free(path, overwrite)
    opened = _open(model)
    examples: Any
    if isinstance(opened, Tagging):
        column = int(tag_column) if tag_column.lstrip("-").isdigit() else tag_column
        examples = TaggedSentences.read(data, column)
    elif isinstance(opened, Answering):
        examples = Questions.read(data)
    else:
        examples = LabelledTexts.read(data, text_column, second_column, label_column)
    found = evaluate(opened, examples)
    for path, content in ((predictions, found.predictions()), (errors, found.errors())):
        if path is not None:
            write_whole(Path(path), content)
    table = Table(title=f"{model} on {len(examples):,} rows")
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in found.scores.items():
        table.add_row(name, f"{value:.4f}")
    Console(width=100).print(table)


def cross_validation(recipe: Classify | Tag | Answer | Embed, folds: int = 5) -> None:
    """Fine-tune once for each part of the training rows, score it on that part, and show how far the score varies.

    Args:
        recipe: the fine-tuning; nothing is saved.
        folds: number of parts.
    """
    print(cross_validate(recipe, folds))


def learning_rate(
    recipe: Classify | Tag | Answer | Embed, lowest: float = 1e-6, highest: float = 1e-2, steps: int = 100
) -> None:
    """Show the loss while the learning rate rises, and a rate to begin with.

    Args:
        recipe: the fine-tuning; nothing is saved.
        lowest: the first rate.
        highest: the last one.
        steps: batches.
    """
    print(find_learning_rate(recipe, lowest, highest, steps))


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


def shrink_model(
    model: tyro.conf.Positional[str],
    save_to: str,
    num_layers: int,
    hidden_dim: int,
    intermediate_dim: int | None = None,
    overwrite: bool = False,
) -> None:
    """Save the part of an encoder that weighs most, as the start of a student for `distill`.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        save_to: folder for the smaller encoder.
        num_layers: blocks, spread evenly over those of the model.
        hidden_dim: width, a multiple of the width of the model's heads.
        intermediate_dim: inner width of the feed-forward; None keeps its ratio to the width.
        overwrite: replace that folder if it exists.
    """
    check_free(save_to, overwrite, is_folder=True)
    large = load(model)
    config = large.config
    sizes = {
        "num_layers": num_layers,
        "hidden_dim": hidden_dim,
        "num_heads": max(hidden_dim * config.num_heads // config.hidden_dim, 1),
        "intermediate_dim": intermediate_dim or hidden_dim * config.intermediate_dim // config.hidden_dim,
    }
    small = shrink(large, dataclasses.replace(config, **sizes))
    save(small, save_to, overwrite)
    print(f"{save_to}: {small.count_params():,} weights of {large.count_params():,}")


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
        model: a folder, or "hf:" and a Hugging Face folder or repository.
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
    _report(to_tflite(load(model), path, quantization, length, texts, overwrite))


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
