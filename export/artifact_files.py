"""The files of an artifact: their names, and how they are written atomically."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from keras_plm.models import check_free
from keras_plm.tasks import TaskModel

from .signature import Signature


def traced(function: Callable, specs: dict[str, tf.TensorSpec]) -> Any:
    """The graph of a function, for `save_module`.

    It must not become an attribute of the module: TensorFlow would trace it a second time, to save it under this name,
    too.
    """
    return tf.function(function, autograph=False).get_concrete_function(**specs)


def save_module(module: tf.Module, folder: str | Path, signatures: dict[str, Any]) -> None:
    """`tf.saved_model.save` without its log line about the temporary folder."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    finally:
        logger.setLevel(level)


def artifact_path(path: str | Path, suffix: str) -> Path:
    """`path` itself if it ends in the suffix, otherwise `model<suffix>` in the folder `path`."""
    path = Path(path)
    return path if path.suffix == suffix else path / f"model{suffix}"


def files_of(model: TaskModel, path: Path) -> list[Path]:
    """The file of an artifact, and the files beside it."""
    names = model.needs_tokenizer().filenames
    return [path, Signature.path(path), *(path.with_name(f"{path.name}.{name}") for name in names)]


def record_path(path: Path) -> Path:
    """The file in which `fit_budget` records how an artifact was made."""
    return path.with_name(f"{path.name}.budget.json")


@contextmanager
def whole_artifact(model: TaskModel, path: Path, signature: Signature, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path for an artifact. At the end, rename it and write its metadata and tokenizer beside it.

    `model.tflite` has the files `model.tflite.json` and `model.tflite.vocab.txt` beside it. Their names start with the
    full name of the artifact, so two artifacts in one folder do not share them. On an exception, no files are left.

    Raises:
        FileExistsError: one of the files exists and `overwrite` is False.
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
        # If the process is killed from here on, the artifact is missing. This is better than a wrong artifact.
        path.unlink(missing_ok=True)
        record_path(path).unlink(missing_ok=True)  # the record of the old artifact
        for file in (*beside, path):
            os.replace(Path(folder) / file.name, file)
