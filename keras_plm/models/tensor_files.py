"""Named tensors in safetensors files, whole or in shards; each is read only when asked for."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

WEIGHTS = "model.safetensors"
# what Hugging Face's Hub and Transformers have long cut at: downloads can be resumed, and a part fits in memory
_SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in the file.

    Attributes:
        shape: sizes of the axes.
        read: gives its content.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def write_weights(tensors: Mapping[str, Callable[[], np.ndarray]], folder: Path) -> None:
    """Write `model.safetensors`, or shards of at most 5 GB and `model.safetensors.index.json`.

    Args:
        tensors: gives the content of each by name. Of those of one shard all are in memory at a time.
        folder: where to.

    Raises:
        OSError: no room.
    """
    shards: list[list[str]] = [[]]
    sizes, room = {}, _SHARD_BYTES
    for name, read in tensors.items():
        sizes[name] = read().nbytes
        if shards[-1] and sizes[name] > room:
            shards.append([])
            room = _SHARD_BYTES
        shards[-1].append(name)
        room -= sizes[name]
    if len(shards) == 1:
        return write_tensors({name: read() for name, read in tensors.items()}, folder / WEIGHTS)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_tensors({name: tensors[name]() for name in names}, folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    return write_json(folder / f"{WEIGHTS}.index.json", index)


def stored_weights(
    folder: Path, name: str = WEIGHTS, read: Callable[[Path], dict[str, StoredTensor]] | None = None
) -> dict[str, StoredTensor] | None:
    """The tensors of a file or of its shards, by name.

    Args:
        folder: of the file.
        name: of the file; its shards are in `{name}.index.json`.
        read: gives the tensors of one file; None means `read_safetensors`.

    Returns:
        None if neither the file nor the index is there.

    Raises:
        FileNotFoundError: a shard is missing.
        ValueError: a truncated file, a shard outside the folder, a tensor that the index puts into a shard that has no
            such tensor.
    """
    read = read or read_safetensors
    if (folder / name).is_file():
        return read(folder / name)
    index = folder / f"{name}.index.json"
    if not index.is_file():
        return None
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise ValueError(f"{index} has no weight_map of names of files")
    shards = {file: read(inside(folder, file)) for file in sorted(set(weight_map.values()))}
    lost = [tensor for tensor, file in weight_map.items() if tensor not in shards[file]]
    if lost:
        raise ValueError(f"{index} names tensors that are not in their shards: {lost[:5]}")
    return {tensor: shards[file][tensor] for tensor, file in weight_map.items()}


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


def write_tensors(tensors: dict[str, np.ndarray], path: Path) -> None:
    """Write a safetensors file.

    Raises:
        OSError: no room.
    """
    try:
        save_file(tensors, path, metadata={"format": "pt"})
        # safetensors makes it for its owner alone; another user serves it
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)
    except SafetensorError as error:  # its name for a full disk
        raise OSError(f"{path} could not be written: {error}") from None


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


def write_json(path: Path, content: Any) -> None:
    """Write JSON that people can read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


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
