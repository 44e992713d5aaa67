import json
import math
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_plm.config import BackboneConfig
from keras_plm.layers import uninitialized

from .atomic_files import whole_folder
from .tensor_files import WEIGHTS, StoredTensor, read_safetensors, stored_weights, write_json, write_weights
from .tokenizer_assets import KeepsTokenizer, load_tokenizer, tokenizer_settings

CONFIG = "config.json"
_FORMAT = 4


def save(
    model: keras.Model,
    folder: str | Path,
    overwrite: bool = False,
    extra_files: dict[str, str] | None = None,
) -> None:
    """Write a model as config.json, model.safetensors and the files of its tokenizer.

    Writes are atomic: the folder appears when it is complete. Weights of more than 5 GB are split into several files.

    Args:
        model: one of this package's models.
        folder: path of the new folder.
        overwrite: replace an existing folder; if False, an existing folder is an error.
        extra_files: additional text files by name, e.g. a model card.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False.
        OSError: the disk is full or permission is missing; the old folder is unchanged.
        ValueError: the class is not registered with Keras.

    Example:
        >>> plm.save(model, "saved_models/reviews")  # doctest: +SKIP
    """
    name = keras.saving.get_registered_name(type(model))
    if keras.saving.get_registered_object(name) is not type(model):
        raise ValueError(
            f"{name} could not be loaded again: decorate the class with keras.saving.register_keras_serializable()"
        )
    tokenizer = model.tokenizer
    config: dict[str, Any] = {
        "format": _FORMAT,
        "class": name,
        "keras_plm": version("keras-plm"),
        "model": model.get_config(),
        "tokenizer": None if tokenizer is None else tokenizer_settings(tokenizer),
    }
    with whole_folder(folder, overwrite) as temporary:
        write_json(temporary / CONFIG, config)
        write_weights({name: partial(np.asarray, v) for name, v in named_weights(model).items()}, temporary)
        for name, content in ({} if tokenizer is None else tokenizer.files()).items():
            (temporary / name).write_bytes(content)
        for name, text in (extra_files or {}).items():
            (temporary / name).write_text(text, "utf-8")


def load_folder(folder: str | Path) -> Any:
    """Load a model that `save` wrote.

    Nothing in the folder is executed, and no module is imported by name. The class must be one of this package's, or
    one that is already registered with `keras.saving.register_keras_serializable`.

    Raises:
        FileNotFoundError: the folder or one of its files does not exist.
        ValueError: the folder has no model or another format, or weights do not fit; the error names each of them.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG}; is it a folder that plm.save wrote?")
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        if "model_type" in config:
            raise ValueError(f"{folder} is a Hugging Face folder; load it as 'hf:{folder}'")
        if config.get("format") != _FORMAT:
            raise ValueError(f"{folder / CONFIG} has format {config.get('format')}; this version reads {_FORMAT}")
        kind = _registered_class(config["class"])
        settings = config["tokenizer"]
        tokenizer = None if settings is None else load_tokenizer(settings, lambda name: folder / name)
        shape = BackboneConfig.from_dict(config["model"]["config"])
        stored = stored_weights(folder)
        if stored is None:
            raise FileNotFoundError(f"{folder} has no {WEIGHTS}")
        check_sizes(shape, sum(math.prod(tensor.shape) for tensor in stored.values()))
        with uninitialized():
            model = kind.from_config(config["model"] | {"tokenizer": tokenizer})
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / CONFIG} is not a model config: {error!r}") from None
    except ValueError as error:
        raise error if str(folder) in str(error) else ValueError(f"{folder / CONFIG}: {error}") from None
    _assign_stored(model, stored, str(folder / WEIGHTS))
    return model


def _registered_class(name: Any) -> Any:
    kind = keras.saving.get_registered_object(name) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, KeepsTokenizer)):
        raise ValueError(f"unknown class {name!r}; first import the module that registers it")
    return kind


def check_sizes(config: BackboneConfig, stored: int) -> None:
    """Raise ValueError if a config needs far more weights than the file has. Nothing is allocated before this check.

    If only a few weights are missing, this check passes, because a later error names them.

    Args:
        config: config of the model to create.
        stored: number of values in all tensors of the file.
    """
    if config.least_numbers > 2 * stored + 2**22:
        raise ValueError(
            f"a model of num_layers={config.num_layers}, hidden_dim={config.hidden_dim}, "
            f"intermediate_dim={config.intermediate_dim}, vocabulary_size={config.vocabulary_size} and "
            f"max_sequence_length={config.max_sequence_length} has at least {config.least_numbers:,} numbers, but "
            f"there are only {stored:,}"
        )


def set_weights(model: keras.Model, path: Path) -> None:
    """Read the weights of a safetensors file into a model, tensor by tensor.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated, or tensors are missing, unexpected or misshapen; the error names each of
            them.
    """
    _assign_stored(model, read_safetensors(path), str(path))


def _assign_stored(model: keras.Model, stored: dict[str, StoredTensor], source: str) -> None:
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    assign(named_weights(model), shapes, lambda name: stored[name].read(), source)


def assign(
    variables: dict[str, Any],
    shapes: dict[str, tuple[int, ...]],
    read: Callable[[str], np.ndarray],
    source: str,
) -> None:
    """Assign a tensor to each variable, one at a time. All names and shapes are compared first.

    Args:
        variables: the variables, by name.
        shapes: the shapes of the available tensors, by name.
        read: takes a name and returns the tensor.
        source: the source of the tensors, for error messages.

    Raises:
        ValueError: tensors are missing, unexpected or misshapen; the error names each of them. Nothing was assigned.
    """
    check_shapes({name: tuple(variable.shape) for name, variable in variables.items()}, shapes, source)
    # the largest first: each tensor is in memory twice while it is read
    for name in sorted(variables, key=lambda name: -math.prod(shapes[name])):
        variables[name].assign(read(name))


def check_shapes(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], source: str) -> None:
    """Raise ValueError unless the names and shapes of the tensors fit the model.

    Args:
        wanted: the shapes of the model's variables, by name.
        found: the shapes of the available tensors, by name.
        source: the source of the tensors, for error messages.
    """
    missing, unexpected = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    misshapen = [
        f"{name} is {found[name]}, not {shape}" for name, shape in wanted.items() if found.get(name, shape) != shape
    ]
    if missing or unexpected or misshapen:
        raise ValueError(
            f"{source} does not fit the model; missing: {_some(missing)}, unexpected: {_some(unexpected)}, "
            f"misshapen: {_some(misshapen)}"
        )


def _some(names: list[str]) -> str:
    """The first of many names."""
    return f"{names}" if len(names) <= 8 else f"{names[:8]} and {len(names) - 8} more"


def named_weights(model: keras.Model) -> dict[str, Any]:
    """The model's variables by path, without dropout's random states, which are not weights."""
    named = {variable.path: variable for variable in model.weights}
    if len(named) != len(model.weights):
        raise ValueError("two weights of the model have the same path")
    return named
