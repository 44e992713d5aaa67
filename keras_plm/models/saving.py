import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from keras_plm.config import ModelConfig
from keras_plm.text import Tokenizer

from .classifier import Classifier
from .encoder import Encoder
from .pretrainer import Pretrainer

CONFIG, WEIGHTS, VOCABULARY = "config.json", "model.safetensors", "vocab.txt"
_FORMAT = 1


@contextmanager
def whole_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder that takes its name only when everything in it is written.

    Yields:
        A temporary folder beside `folder`. At the end it is renamed; on an exception it is removed and the
        old folder, if there was one, is still whole.

    Raises:
        FileExistsError: the folder exists and is not empty, and `overwrite` is False; or it is a file.
    """
    folder = Path(folder)
    check_free(folder, overwrite, is_folder=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp's 0o700 would shut out a server that runs as another user
        yield temporary
        if folder.exists():
            # two renames: between them the old folder is whole under its temporary name
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            os.replace(folder, old)
            try:
                os.replace(temporary, folder)
            except BaseException:
                os.replace(old, folder)
                raise
            shutil.rmtree(old)
        else:
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: str | Path, overwrite: bool = False, is_folder: bool = False) -> None:
    """Raise FileExistsError if something would be overwritten, before hours of work and not after.

    Args:
        path: of the file or folder to write.
        overwrite: one of the same kind may be replaced.
        is_folder: a folder is to be written there.
    """
    path = Path(path)
    if is_folder and path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} exists and is a file; choose another name for the folder")
    if path.is_file() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True or choose another name")
    if path.is_dir() and any(path.iterdir()) and not overwrite:
        raise FileExistsError(f"{path} exists and is not empty; pass overwrite=True or choose another")


def save(
    model: Encoder | Pretrainer | Classifier,
    folder: str | Path,
    overwrite: bool = False,
    extra_files: dict[str, str] | None = None,
) -> None:
    """Write a model as config.json, model.safetensors and vocab.txt.

    Nothing is half-written: the folder appears when it is complete.

    Args:
        model: one of this package's models.
        folder: where to.
        overwrite: replace a folder that is there; False is an error instead.
        extra_files: more text files by name, e.g. a model card.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
        OSError: no room, no permission; the old folder is still whole.

    Example:
        >>> plm.save(model, "saved_models/reviews")  # doctest: +SKIP
    """
    config: dict[str, Any] = {
        "format": _FORMAT,
        "class": type(model).__name__,
        "keras_plm": version("keras-plm"),
        "config": model.config.to_dict(),
        "lowercase": None if model.tokenizer is None else model.tokenizer.lowercase,
    }
    if isinstance(model, Classifier):
        config["labels"] = model.labels
    with whole_folder(folder, overwrite) as temporary:
        (temporary / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
        try:
            save_file(weights_of(model), temporary / WEIGHTS)
        except SafetensorError as error:  # its name for a full disk
            raise OSError(f"{folder} could not be written: {error}") from None
        if model.tokenizer is not None:
            model.tokenizer.save(temporary / VOCABULARY)
        for name, text in (extra_files or {}).items():
            (temporary / name).write_text(text, "utf-8")


def load(folder: str | Path) -> Encoder | Pretrainer | Classifier:
    """The model that `save` wrote.

    Nothing in the folder is executed; the class is one of this package's.

    Raises:
        FileNotFoundError: no such folder, or a file missing in it.
        ValueError: not a model folder, another format, weights that do not fit (each named).
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}; is it a folder that plm.save wrote?")
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        name, shape = config["class"], ModelConfig.from_dict(config["config"])
        labels = config["labels"] if name == "Classifier" else None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG} is not a model config: {error!r}") from None
    if config.get("format") != _FORMAT:
        raise ValueError(f"{folder / CONFIG} has format {config.get('format')}; this version reads {_FORMAT}")
    tokenizer = None
    if config.get("lowercase") is not None:
        tokenizer = Tokenizer.from_file(folder / VOCABULARY, config["lowercase"])
    model: Encoder | Pretrainer | Classifier
    if name == "Classifier":
        model = Classifier(shape, labels, tokenizer)
    elif name in ("Encoder", "Pretrainer"):
        model = (Encoder if name == "Encoder" else Pretrainer)(shape, tokenizer)
    else:
        raise ValueError(f"{folder / CONFIG}: unknown class {name!r}")
    set_weights(model, folder / WEIGHTS)
    return model


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    """The model's weights by path, float32; dropout's random states are not weights."""
    return {name: np.asarray(v) for name, v in _named(model).items()}


def set_weights(model: keras.Model, path: Path) -> None:
    """Read weights into a model, tensor by tensor.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a truncated file; missing, unexpected or misshapen tensors, each named.
    """
    variables = _named(model)
    try:
        with safe_open(path, "numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            missing = sorted(set(variables) - set(found))
            unexpected = sorted(set(found) - set(variables))
            misshapen = [
                f"{name} is {found[name]}, not {tuple(v.shape)}"
                for name, v in variables.items()
                if name in found and found[name] != tuple(v.shape)
            ]
            if missing or unexpected or misshapen:
                raise ValueError(
                    f"{path} does not fit the model; missing: {missing}, unexpected: {unexpected}, "
                    f"misshapen: {misshapen}"
                )
            for name, variable in variables.items():
                variable.assign(file.get_tensor(name))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from None


def _named(model: keras.Model) -> dict[str, Any]:
    named = {variable.path: variable for variable in model.weights}
    if len(named) != len(model.weights):
        raise ValueError("two weights of the model have the same path")
    return named
