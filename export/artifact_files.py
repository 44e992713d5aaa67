"""The files of an artifact: their names, and how they are written all or none."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_plm.models import check_free
from keras_plm.tasks import TaskModel

from .signature import Signature


def save_module(module: tf.Module, folder: str | Path, signatures: dict[str, Any]) -> None:
    """`tf.saved_model.save` without its line about the temporary folder that it writes to."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    finally:
        logger.setLevel(level)


def artifact_path(path: str | Path, suffix: str) -> Path:
    """`path` itself if it ends in the suffix, else `model<suffix>` in that folder."""
    path = Path(path)
    return path if path.suffix == suffix else path / f"model{suffix}"


def files_of(model: TaskModel, path: Path) -> list[Path]:
    """The file of an artifact, and those that come beside it."""
    names = model.needs_tokenizer().filenames
    return [path, Signature.path(path), *(path.with_name(f"{path.name}.{name}") for name in names)]


def record_path(path: Path) -> Path:
    """Where `fit_budget` says what made an artifact."""
    return path.with_name(f"{path.name}.budget.json")


@contextmanager
def whole_artifact(model: TaskModel, path: Path, signature: Signature, overwrite: bool) -> Iterator[Path]:
    """Yields a temporary path for an artifact; at the end it takes its name, beside it its facts and tokenizer.

    `model.tflite` gets `model.tflite.json` and `model.tflite.vocab.txt`: named after the whole file, so that two
    artifacts in one folder do not share them. On an exception nothing is left.

    Raises:
        FileExistsError: one of them exists and `overwrite` is False.
    """
    _, *beside = files_of(model, path)
    for file in (path, *beside):
        check_free(file, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}.") as folder:
        temporary = Path(folder) / path.name
        signature.write(Signature.path(temporary))
        for name, content in model.needs_tokenizer().files().items():
            temporary.with_name(f"{path.name}.{name}").write_bytes(content)
        yield temporary
        path.unlink(missing_ok=True)  # killed from here on, an artifact is missing, which is better than a wrong one
        record_path(path).unlink(missing_ok=True)  # it told of the old one
        for file in (*beside, path):
            os.replace(Path(folder) / file.name, file)
