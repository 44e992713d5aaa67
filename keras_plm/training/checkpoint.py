import hashlib
import json
import os
import signal
import threading
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from .cluster import cluster
from .divergence import Diverged

_KEPT = 2  # files of each worker: if the newest one is damaged, the one before is used
_SUFFIX = ".safetensors"
_AGREED = 20  # batches after which several workers ask each other about SIGTERM
_STOPPED = 128 + signal.SIGTERM  # exit status of a process that SIGTERM ended


class _File(NamedTuple):
    """A checkpoint on disk, with the number of batches and the hash of its content in its name."""

    path: Path
    batches: int
    digest: str


class Checkpoint(keras.callbacks.Callback):
    """Saves weights, optimizer, metrics and dropout states at the end of each epoch and on SIGTERM, and restores them.

    The position in the training is the optimizer's step count, in the same file as the weights. The file is written
    atomically, and its name has its checksum. The newest two files are kept. After SIGTERM, which clusters send before
    they stop a process, the file is written at the end of the batch, and the process ends with status 143. Several
    workers stop together, after at most 20 batches. Weights that are not finite are not written.

    Args:
        folder: folder for the files.
        name: beginning of their names; each worker of a distributed training needs its own.

    Differs: `keras.callbacks.BackupAndRestore` keeps the position in a second file. If it is killed between the two
        writes, it repeats an epoch. It also overwrites the only good copy, and does not save the states of dropout.
    """

    def __init__(self, folder: str | Path, name: str = "checkpoint") -> None:
        super().__init__()
        self.folder, self.name = Path(folder), name
        self._sums: list[np.ndarray] = []  # of the metrics, if the training resumes inside an epoch
        self._terminated = False
        self._handler: Any = None

    def files(self) -> list[_File]:
        """The files of this worker, the newest first."""
        found = []
        for path in self.folder.glob(f"{self.name}.*{_SUFFIX}"):
            parts = path.name.removeprefix(f"{self.name}.").removesuffix(_SUFFIX).split(".")
            if len(parts) == 2 and parts[0].isdigit():
                found.append(_File(path, int(parts[0]), parts[1]))
        return sorted(found, key=lambda file: -file.batches)

    def restore(self, model: keras.Model, before: int | None = None) -> int:
        """Load the newest file that is not damaged and that all workers have, if there is one.

        Args:
            model: a built and compiled model.
            before: use no file of a later batch, and delete such files; None uses all. Of only later files, the oldest
                is used.

        Returns:
            The number of batches on which the model was trained.

        Raises:
            ValueError: the file is of another model, or there are files, but none that all workers can use.
        """
        model.optimizer.build(model.trainable_variables)
        files = self.files()
        if before is not None:
            good = [file for file in files if file.batches <= before] or files[-1:]
            for file in set(files) - set(good):
                file.path.unlink()
            files = good
        whole = {}
        for file in files:
            if _digest(file.path) == file.digest:
                whole[file.batches] = file.path
            else:
                warnings.warn(f"{file.path} is damaged and is not used", stacklevel=2)
        batches = _newest_of_all([*whole], bool(files), self.folder)
        if batches is not None:
            self._load(model, whole[batches])
        # with gradient accumulation, `iterations` counts updates, not batches
        return int(model.optimizer._iterations.numpy())

    def _load(self, model: keras.Model, path: Path) -> None:
        try:
            tensors = {name: _array(one) for name, one in deserialize(path.read_bytes())}
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file: {error}") from None
        wanted = _variables(model)
        stored = {name: value for name, value in tensors.items() if not name.startswith("metrics/")}
        shapes = {name: tuple(variable.shape) for name, variable in wanted.items()}
        if {name: value.shape for name, value in stored.items()} != shapes:
            raise ValueError(f"{path} is of another model: its tensors have other names or shapes")
        for name, variable in wanted.items():
            variable.assign(stored[name])
        self._sums = [value for name, value in sorted(tensors.items()) if name.startswith("metrics/")]

    def save(self, inside_epoch: bool = False) -> None:
        """Write a file, and delete old ones.

        Args:
            inside_epoch: store the metrics of the epoch, too.

        Raises:
            Diverged: a weight is not finite.
        """
        tensors = {name: keras.ops.convert_to_numpy(value) for name, value in _variables(self.model).items()}
        metrics = self.model.metrics_variables if inside_epoch else []
        tensors |= {f"metrics/{i:03d}": keras.ops.convert_to_numpy(value) for i, value in enumerate(metrics)}
        batches = int(self.model.optimizer._iterations.numpy())
        # a sum of accumulated gradients may be infinite in float16: that step will be skipped
        weights = (value for name, value in tensors.items() if not name.startswith(("optimizer/", "metrics/")))
        if not all(np.isfinite(value).all() for value in weights if value.dtype.kind == "f"):
            raise Diverged("a weight became infinite or no number", batches)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f"new.{self.name}{_SUFFIX}"
        try:
            save_file({name: np.require(value, requirements="C") for name, value in tensors.items()}, temporary)
            os.replace(temporary, self.folder / f"{self.name}.{batches:09d}.{_digest(temporary)}{_SUFFIX}")
        finally:
            temporary.unlink(missing_ok=True)  # an incomplete file, if the disk was full
        for file in self.files():
            if file.batches > batches:  # of a training that this one has left
                file.path.unlink()
        for file in self.files()[_KEPT:]:
            file.path.unlink()

    def delete(self) -> None:
        """Delete all files of this worker."""
        for file in self.files():
            file.path.unlink()

    def on_train_begin(self, logs: Any = None) -> None:
        """Wait for SIGTERM."""
        if self._handler is None and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, self._terminate)

    def on_train_end(self, logs: Any = None) -> None:
        """Leave SIGTERM to the program."""
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Add the metrics of the batches before the interruption. Save after SIGTERM, but not after the last batch."""
        if self._sums:
            for variable, value in zip(self.model.metrics_variables, self._sums, strict=True):
                # metrics are sums over batches; a sum over replicas cannot be added to, only assigned
                variable.assign(keras.ops.convert_to_numpy(variable) + value)
            self._sums = []
        if batch + 1 < self.params["steps"] and self._all_terminated(batch):
            self.save(inside_epoch=True)
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write a file."""
        self.save()
        if self._all_terminated():
            self._stop()

    def _all_terminated(self, batch: int | None = None) -> bool:
        """Whether this process, or any of several workers, received SIGTERM. They agree about it now and then."""
        if self._num_workers() == 1:
            return self._terminated
        if batch is not None and (batch + 1) % _AGREED:
            return False
        return any(row[0] for row in of_all_workers([int(self._terminated)]))

    def _num_workers(self) -> int:
        return sum(map(len, cluster().values())) or 1

    def _terminate(self, number: int, frame: Any) -> None:
        self._terminated = True

    def _stop(self) -> None:
        self.on_train_end()
        print(
            f"stopped by SIGTERM; the training is saved in {self.folder}, and the same command resumes it", flush=True
        )
        raise SystemExit(_STOPPED)


def _variables(model: keras.Model) -> dict[str, Any]:
    """The variables of a model and its optimizer, by names that depend on their order only."""
    return {f"model/{i:05d}": variable for i, variable in enumerate(model.variables)} | {
        f"optimizer/{i:05d}": variable for i, variable in enumerate(model.optimizer.variables)
    }


def _array(tensor: dict[str, Any]) -> np.ndarray:
    names = {"F32": "float32", "F64": "float64", "I64": "int64", "I32": "int32", "U32": "uint32", "BOOL": "bool"}
    if tensor["dtype"] == "BF16":
        import ml_dtypes

        return np.frombuffer(tensor["data"], ml_dtypes.bfloat16).reshape(tensor["shape"])
    return np.frombuffer(tensor["data"], names[tensor["dtype"]]).reshape(tensor["shape"])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _newest_of_all(batches: list[int], any_file: bool, folder: Path) -> int | None:
    """The largest number that all workers have; None if no worker has any file."""
    mine = [*sorted(batches, reverse=True)[:_KEPT], *[-1] * _KEPT][:_KEPT]
    rows = of_all_workers([*mine, int(any_file)])
    common = set.intersection(*({number for number in row[:_KEPT] if number >= 0} for row in rows))
    if common:
        return max(common)
    if any(row[_KEPT] for row in rows) and len(rows) == 1:
        raise ValueError(f"all checkpoints in {folder} are damaged; delete the folder to start again")
    if any(row[_KEPT] for row in rows):
        held = json.dumps([sorted({number for number in row[:_KEPT] if number >= 0}) for row in rows])
        raise ValueError(
            f"no checkpoint in {folder} can be used by all workers: they have whole files of these batches: {held}; "
            "copy the files of one worker to the others under their names, or delete all of them to start again"
        )
    return None


def of_all_workers(row: list[int]) -> list[list[int]]:
    """The numbers of all workers. Each worker must call it at the same point of the program."""
    strategy = tf.distribute.get_strategy()
    values = strategy.experimental_distribute_values_from_function(lambda _: tf.constant([row], tf.int64))
    return strategy.gather(values, axis=0).numpy().tolist()
