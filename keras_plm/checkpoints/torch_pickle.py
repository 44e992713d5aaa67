"""Read `pytorch_model.bin` without torch and without executing code from the file.

A pickle is a program: it can call any function that it names. Here, only an ordered dictionary, two functions of this
module and the number types are allowed. Any other name is an error, before anything is called. Each tensor is read
from the file only when needed.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from keras_plm.models import StoredTensor

_MAGIC = 0x1950A86A20F9469CFC6C  # at the beginning of files from torch before 1.6
_DTYPES = {
    "FloatStorage": np.float32, "DoubleStorage": np.float64, "HalfStorage": np.float16, "LongStorage": np.int64,
    "IntStorage": np.int32, "ShortStorage": np.int16, "CharStorage": np.int8, "ByteStorage": np.uint8,
    "BoolStorage": np.bool_, "BFloat16Storage": ml_dtypes.bfloat16,
}  # fmt: skip


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: Any


@dataclass(frozen=True)
class _View:
    """A tensor in the pickle: a strided view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def of(self, content: np.ndarray) -> np.ndarray:
        size = content.itemsize
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if min(self.offset, *self.stride, *self.shape, 0) < 0 or (0 not in self.shape and last >= len(content)):
            raise ValueError("a tensor extends beyond its storage")
        strides = tuple(s * size for s in self.stride)
        return np.lib.stride_tricks.as_strided(content[self.offset :], self.shape, strides)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            # new objects each time, because a pickle can set attributes of an object that it gets
            ("torch._utils", "_rebuild_tensor_v2"): partial(_rebuild_tensor),
            ("torch._utils", "_rebuild_parameter"): partial(_rebuild_parameter),
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which a file of weights does not need")
        return allowed[module, name]

    def persistent_load(self, identifier: Any) -> _Storage:
        kind, dtype, key, _, _, *view = identifier
        if kind != "storage" or any(part is not None for part in view):
            raise pickle.UnpicklingError(f"it refers to a {kind!r} with the view {view}")
        return _Storage(str(key), dtype)


def _rebuild_tensor(storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: Any) -> _View:
    return _View(storage, offset, tuple(shape), tuple(stride))


def _rebuild_parameter(view: _View, *_: Any) -> _View:
    return view


def read_torch(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a file that torch wrote, by name. Each tensor is read only when needed.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not from torch, is truncated, calls a function that it does not need, or does not
            contain named tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            views, content = _read_zip(path)
        else:
            views, content = _read_legacy(path)
        return {name: StoredTensor(v.shape, partial(_read_view, path, name, v, content)) for name, v in views.items()}
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise any exception
        raise ValueError(f"{path} was not read: {error or type(error).__name__}") from None


def _read_view(path: Path, name: str, view: _View, content: Callable[[_Storage], np.ndarray]) -> np.ndarray:
    try:
        return view.of(content(view.storage))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: the tensor {name} was not read: {error}") from None


def _tensors(found: Any) -> dict[str, _View]:
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    strange = not isinstance(found, dict) or [n for n, v in found.items() if not isinstance(v, _View)]
    if strange:
        raise ValueError("it does not contain named tensors")
    return dict(found)


def _read_zip(path: Path) -> tuple[dict[str, _View], Callable[[_Storage], np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is a zip file, but not from torch")
        folder, members = pickles[0].removesuffix("data.pkl"), set(archive.namelist())
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        views = _tensors(_Unpickler(io.BytesIO(archive.read(pickles[0]))).load())
        lost = [name for name, view in views.items() if f"{folder}data/{view.storage.key}" not in members]
        if lost:
            raise ValueError(f"the content of {lost[:5]} is missing")

    def content(storage: _Storage) -> np.ndarray:
        with zipfile.ZipFile(path) as archive:
            return np.frombuffer(archive.read(f"{folder}data/{storage.key}"), storage.dtype)

    return views, content


def _read_legacy(path: Path) -> tuple[dict[str, _View], Callable[[_Storage], np.ndarray]]:
    with path.open("rb") as file:
        if _Unpickler(file).load() != _MAGIC:
            raise ValueError("it is not a file from torch")
        _Unpickler(file).load()  # protocol version
        _Unpickler(file).load()  # sizes of C integers
        views = _tensors(_Unpickler(file).load())
        keys = _Unpickler(file).load()
        # a storage that no tensor uses has no dtype here, so such a file causes a KeyError
        dtypes = {view.storage.key: np.dtype(view.storage.dtype) for view in views.values()}
        places: dict[str, tuple[int, int]] = {}
        for key in map(str, keys):
            count = int.from_bytes(file.read(8), "little")
            places[key] = (file.tell(), count)
            file.seek(count * dtypes[key].itemsize, io.SEEK_CUR)
        if file.tell() > path.stat().st_size:
            raise ValueError("it is truncated")

    def content(storage: _Storage) -> np.ndarray:
        place, count = places[storage.key]
        return np.fromfile(path, storage.dtype, count, offset=place)

    return views, content
