"""The file format of llama.cpp: metadata, then tensors, most of them quantized in blocks.

The package `gguf` dequantizes the blocks. But the header is read here, because the package trusts the counts in a file:
if the file is truncated or a count is wrong, the package never stops reading.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from keras_plm.models import StoredTensor

# types of values in the metadata → format codes of `struct`
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class GGUFFile(NamedTuple):
    """The content of a file.

    Attributes:
        metadata: numbers, texts, and lists of them, by name.
        tensors: the tensors by name; each is read as float32, only when it is needed.
    """

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]


def read_gguf(path: Path) -> GGUFFile:
    """The metadata and the tensors of a file.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the package `gguf` is not installed.
        ValueError: the file is not a GGUF file or is truncated, or a type of numbers is not supported.
    """
    try:
        import gguf
    except ImportError:
        raise ImportError("GGUF files need the extra gguf: pip install 'keras-plm[gguf]'") from None
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            return _read(_Reader(file, size), path, gguf)
        except (EOFError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a whole GGUF file: {error}") from None


class _Reader:
    """Reads values from a file, but never beyond its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size

    def take(self, count: int) -> bytes:
        left = self.size - self.file.tell()
        if count > left:
            raise EOFError(f"{count:,} bytes are needed at byte {self.file.tell():,}, but only {left:,} are left")
        return self.file.read(count)

    def number(self, code: str) -> Any:
        value = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]
        return float(str(np.float32(value))) if code == "f" else value  # 1e-05, not 9.999999747378752e-06

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind])
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            raise EOFError(f"its metadata has a value of type {kind}, which does not exist")
        inner, count = self.number("I"), self.number("Q")
        if inner in _NUMBERS:
            code = _NUMBERS[inner]
            return np.frombuffer(self.take(count * struct.calcsize(code)), f"<{code}").tolist()
        if inner != _STRING:
            raise EOFError(f"its metadata has a list of values of type {inner}, which is not supported")
        if count > self.size // 8:  # the length of each text takes eight bytes
            raise EOFError(f"a list of {count:,} texts cannot be in {self.size:,} bytes")
        return [self.text() for _ in range(count)]


def _read(reader: _Reader, path: Path, gguf: Any) -> GGUFFile:
    if reader.take(4) != b"GGUF":
        raise ValueError(f"{path} is not a GGUF file: it does not begin with GGUF")
    version, num_tensors, num_values = reader.number("I"), reader.number("Q"), reader.number("Q")
    if version not in (2, 3):
        raise ValueError(f"{path} has GGUF version {version}; 2 and 3 are supported")
    metadata = {}
    for _ in range(num_values):
        name = reader.text()
        metadata[name] = reader.value(reader.number("I"))
    found = []
    for _ in range(num_tensors):
        name, rank = reader.text(), reader.number("I")
        if rank > 4:
            raise EOFError(f"the tensor {name!r} has {rank} axes")
        shape = tuple(reader.number("Q") for _ in range(rank))[::-1]  # in the file, the last axis is first
        found.append((name, shape, reader.number("I"), reader.number("Q")))
    unit = metadata.get("general.alignment", 32)
    if not isinstance(unit, int) or unit < 1:
        raise ValueError(f"{path}: general.alignment is {unit!r}")
    start = -(-reader.file.tell() // unit) * unit
    tensors = {}
    for name, shape, kind, offset in found:
        decode, count = _decoder(name, shape, kind, gguf)
        if start + offset + count > reader.size:
            raise EOFError(f"the tensor {name!r} extends beyond the end of the file")
        tensors[name] = StoredTensor(shape, partial(_tensor, path, start + offset, count, decode))
    return GGUFFile(metadata, tensors)


def _decoder(name: str, shape: tuple[int, ...], kind: int, gguf: Any) -> tuple[Callable[[np.ndarray], np.ndarray], int]:
    """A function that converts the bytes of a tensor to float32, and the number of these bytes."""
    try:
        quantization = gguf.GGMLQuantizationType(kind)
        in_block, block_bytes = gguf.GGML_QUANT_SIZES[quantization]
    except (ValueError, KeyError):
        raise ValueError(f"the tensor {name!r} has numbers of the unknown type {kind}") from None
    dense = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}.get(quantization.name)
    if not shape or shape[-1] % in_block:
        raise ValueError(f"the tensor {name!r} of shape {shape} does not consist of blocks of {in_block} numbers")
    count = prod(shape) // in_block * block_bytes
    rows = (*shape[:-1], shape[-1] // in_block * block_bytes)
    if dense is not None:
        return lambda data: data.view(dense).reshape(shape).astype("float32"), count
    probe = np.zeros((1, block_bytes), np.uint8)
    try:
        gguf.dequantize(probe, quantization)
    except NotImplementedError:
        raise ValueError(f"the tensor {name!r} has numbers of type {quantization.name}, which is unsupported") from None
    return lambda data: gguf.dequantize(data.reshape(rows), quantization).reshape(shape).astype("float32"), count


def _tensor(path: Path, start: int, count: int, decode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return decode(np.fromfile(path, np.uint8, count, offset=start))
