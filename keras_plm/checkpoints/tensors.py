import json
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from .torch_pickle import StoredTensor, read_torch


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError, PermissionError: as the system says.
        ValueError: not UTF-8, not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object")
    return content


def inside(folder: Path, name: str) -> Path:
    """The file of that name in the folder or below it.

    Raises:
        ValueError: a name that leads out of the folder.
    """
    path = PurePosixPath(name)
    # not resolved: the cache of huggingface_hub is made of links to files elsewhere
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise ValueError(f"{folder} names the file {name!r}, which leads out of the folder")
    return folder / path


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a Hugging Face folder by name, each read only when asked for.

    In this order: `model.safetensors`, its parts by `model.safetensors.index.json`, `pytorch_model.bin`, its parts.

    Raises:
        FileNotFoundError: none of them is there, or a part is missing.
        ValueError: a truncated file, a pickle with code in it, a part outside the folder, a tensor that the index puts
            into a part that has no such tensor.
    """
    for name, read in (("model.safetensors", read_safetensors), ("pytorch_model.bin", read_torch)):
        if (folder / name).is_file():
            return read(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            return _read_parts(folder, index, read)
    raise FileNotFoundError(f"{folder} has neither model.safetensors nor pytorch_model.bin, nor an index of parts")


def _read_parts(folder: Path, index: Path, read: Callable) -> dict[str, StoredTensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{index} has no weight_map of names of files")
    parts = {name: read(inside(folder, name)) for name in sorted(set(weight_map.values()))}
    lost = [tensor for tensor, part in weight_map.items() if tensor not in parts[part]]
    if lost:
        raise ValueError(f"{index} names tensors that are not in their parts: {lost[:5]}")
    return {tensor: parts[part][tensor] for tensor, part in weight_map.items()}


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name, each read only when asked for.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a truncated file.
    """

    def read(name: str) -> np.ndarray:
        # opened for each tensor: a map of the whole file would count as memory while it is open
        with safe_open(path, "numpy") as file:
            return file.get_tensor(name)

    try:
        with safe_open(path, "numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file: {error}") from None
    return {name: StoredTensor(shape, partial(read, name)) for name, shape in shapes.items()}
