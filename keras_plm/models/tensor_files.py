"""Named tensors in one or several safetensors files (shards). Each tensor is read only when it is needed."""

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
# the usual size in Hugging Face's Hub and Transformers: downloads can be resumed, and a shard fits in memory
_SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file, not yet read.

    Attributes:
        shape: sizes of the axes.
        read: reads the tensor and returns it.
    """

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


def write_weights(tensors: Mapping[str, Callable[[], np.ndarray]], folder: Path) -> None:
    """Write `model.safetensors`, or shards of at most 5 GB and `model.safetensors.index.json`.

    Args:
        tensors: functions that return the tensors, by name. All tensors of one shard are in memory at the same time.
        folder: folder of the files.

    Raises:
        OSError: the disk is full.
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
        folder: folder of the file.
        name: name of the file; `{name}.index.json` lists its shards.
        read: takes the path of a file and returns its tensors; None means `read_safetensors`.

    Returns:
        The tensors, or None if neither the file nor the index exists.

    Raises:
        FileNotFoundError: a shard is missing.
        ValueError: a file is truncated, a shard is outside the folder, or a shard does not have a tensor that the index
            says it has.
    """
    read = read or read_safetensors
    if (folder / name).is_file():
        return read(folder / name)
    index = folder / f"{name}.index.json"
    if not index.is_file():
        return None
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise ValueError(f"{index} has no weight_map with the names of files")
    shards = {file: read(inside(folder, file)) for file in sorted(set(weight_map.values()))}
    lost = [tensor for tensor, file in weight_map.items() if tensor not in shards[file]]
    if lost:
        raise ValueError(f"{index} names tensors that are not in their shards: {lost[:5]}")
    return {tensor: shards[file][tensor] for tensor, file in weight_map.items()}


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file by name. Each is read only when it is needed.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is truncated.
    """

    def read(name: str) -> np.ndarray:
        # opened for each tensor: while a file is open, its whole memory map counts as used memory
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
        OSError: the disk is full.
    """
    try:
        save_file(tensors, path, metadata={"format": "pt"})
        # safetensors makes the file readable for its owner only, but another user may serve it
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)
    except SafetensorError as error:  # safetensors' error for a full disk
        raise OSError(f"{path} could not be written: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError, PermissionError: the file does not exist or is not readable.
        ValueError: the file is not UTF-8, not JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not an object")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write human-readable JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def inside(folder: Path, name: str) -> Path:
    """The path of a file with this name in the folder or below it.

    Raises:
        ValueError: the name leads out of the folder.
    """
    path = PurePosixPath(name)
    # do not resolve the path: the cache of huggingface_hub consists of links to files elsewhere
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise ValueError(f"{folder} names the file {name!r}, which leads out of the folder")
    return folder / path
