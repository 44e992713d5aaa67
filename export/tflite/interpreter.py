"""A `.tflite` in LiteRT."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from keras_plm.export.optional_imports import import_extra

_DELEGATE = "DELEGATE"


class TFLite:
    """A LiteRT interpreter. It stores inputs and outputs between the steps of a call, so it is not thread-safe.

    A lock protects it. There is no pool of interpreters, because each one would need its own copy of the kernels.
    """

    def __init__(self, path: Path, num_threads: int, has_strings: bool) -> None:
        litert = import_extra("ai_edge_litert.interpreter", "edge")
        options: dict[str, Any] = {"model_path": str(path), "num_threads": num_threads}
        if has_strings:
            from tensorflow_text import tflite_registrar

            self.interpreter = litert.InterpreterWithCustomOps(tflite_registrar.SELECT_TFTEXT_OPS, **options)
        else:
            self.interpreter = litert.Interpreter(**options)
        # read before the delegate replaces operators
        self.names = Counter(op["op_name"] for op in self.interpreter._get_ops_details() if op["op_name"] != _DELEGATE)
        self.interpreter.allocate_tensors()
        self.runner = self._runner(has_strings)
        self.lock = threading.Lock()

    def _runner(self, has_strings: bool) -> Any:
        return self.interpreter.get_signature_runner("token_ids" if has_strings else None)

    def operators(self) -> Counter[str]:
        return self.names

    def delegated(self) -> Counter[str]:
        """The operators that the delegate runs: those between the inputs and outputs of each delegated subgraph."""
        operators = self.interpreter._get_ops_details()
        maker = {int(o): op for op in operators if op["op_name"] != _DELEGATE for o in op["outputs"]}
        taken: dict[int, str] = {}
        for part in operators:
            if part["op_name"] != _DELEGATE:
                continue
            given, wanted = set(part["inputs"].tolist()), part["outputs"].tolist()
            while wanted:
                tensor = wanted.pop()
                made_by = maker.get(tensor)
                if made_by is not None and tensor not in given and made_by["index"] not in taken:
                    taken[made_by["index"]] = made_by["op_name"]
                    wanted += made_by["inputs"].tolist()
        return Counter(taken.values())

    def run(self, arrays: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        with self.lock:
            found = self.runner(**arrays)
        return {name: found[name] for name in names}

    def strings(self, texts: dict[str, list[str]]) -> dict[str, np.ndarray]:
        with self.lock:
            runner = self.interpreter.get_signature_runner("serving_default")
            rows = [runner(**dict(zip(texts, map(np.array, row), strict=True))) for row in _rows(texts)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def _rows(texts: dict[str, list[str]]) -> list[list[list[str]]]:
    return [[[part] for part in row] for row in zip(*texts.values(), strict=True)]
