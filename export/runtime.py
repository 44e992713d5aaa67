import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from .optional_imports import import_extra
from .signature import Signature
from .tflite.interpreter import TFLite
from .tflite.text_generator import TFLiteTextGenerator


class Artifact:
    """An exported model, opened in its real runtime and called with numpy.

    `.tflite` runs in ai-edge-litert, `.onnx` in onnxruntime, a SavedModel folder in TensorFlow.

    Args:
        path: a `.tflite` or `.onnx` file, or a SavedModel folder, that this package wrote.
        num_threads: CPU threads of the runtime (TFLite and ONNX only).

    Call args:
        batch: dict of `token_ids`, `segment_ids` and `padding_mask`, (rows, T) int32. An artifact with a fixed shape
            runs the rows one by one.

    Returns:
        float32. Classifier: (rows, C) probabilities or (rows, 1) scores. Tagger: (rows, T, C) probabilities. Embedder:
        (rows, D) vectors. Question answerer: a dict of `start` and `end` logits, (rows, T) each.

    Raises:
        FileNotFoundError: the artifact or its `.json` is missing.
        ImportError: the runtime is not installed; the message names the extra.
        ValueError: the length of the inputs differs from the fixed length, or the file is of an unknown kind.

    Example:
        >>> Artifact("saved_models/phone/model.tflite")(batch)  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, num_threads: int = 1) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"no artifact at {self.path}")
        runtimes: dict[str, Any] = {".tflite": TFLite, ".onnx": _ONNX}
        if not self.path.is_dir() and self.path.suffix not in runtimes:
            raise ValueError(f"{self.path}: not a .tflite, a .onnx or a SavedModel folder")
        self.signature = Signature.read(Signature.path(self.path))
        runtime = _SavedModel if self.path.is_dir() else runtimes[self.path.suffix]
        if runtime is TFLite and self.signature.spec.generates:
            runtime = TFLiteTextGenerator
        self._runtime: Any = runtime(self.path, num_threads, bool(self.signature.strings))

    @property
    def kind(self) -> str:
        """The runtime: "TFLite", "ONNX" or "SavedModel"."""
        return "TFLite" if isinstance(self._runtime, TFLite) else type(self._runtime).__name__.removeprefix("_")

    @property
    def size_bytes(self) -> int:
        """Bytes on disk; for a SavedModel, all files of the folder."""
        if self.path.is_file():
            return self.path.stat().st_size
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def beside(self, name: str) -> Path:
        """The path of a tokenizer file: inside the SavedModel folder, or beside the artifact file."""
        if self.path.is_dir():
            return self.path / "assets.extra" / name
        return self.path.with_name(f"{self.path.name}.{name}")

    def operators(self) -> Counter[str]:
        """How often each operator occurs (SavedModel: in the signature `token_ids`)."""
        return self._runtime.operators()

    def delegated(self) -> Counter[str]:
        """How many of these operators XNNPACK computes; empty unless the runtime is TFLite."""
        return self._runtime.delegated() if self.kind == "TFLite" else Counter()

    def open_session(self, sources: list[list[int]] | None = None, start: list[int] | None = None) -> Any:
        """A `GenerationSession` of a `.tflite` that generates text.

        Args:
            sources: token ids that an encoder reads, one for each prompt; None for a decoder.
            start: for an encoder-decoder whose sources join later: the token ids that its decoder begins with.

        Raises:
            TypeError: the artifact is something else.
        """
        if not isinstance(self._runtime, TFLiteTextGenerator):
            raise TypeError(f"{self.path} has no functions for generation; to_tflite makes them")
        return self._runtime.open_session(sources, start)

    def latency_ms(self, runs: int = 30, length: int = 128) -> float:
        """Median latency of one row without padding.

        Args:
            runs: number of timed calls; some warm-up calls come before them.
            length: T if the artifact does not fix it, up to its limit.
        """
        shape = (1, self.signature.length or min(length, self.signature.max_length))
        row = {name: np.ones(shape, "int32") for name in self.signature.inputs}
        row |= {"segment_ids": np.zeros(shape, "int32")}
        times = []
        for _ in range(runs + 3):
            start = time.perf_counter()
            self.outputs(row)
            times.append(1e3 * (time.perf_counter() - start))
        return float(np.median(times[3:]))

    def __call__(self, batch: dict[str, np.ndarray]) -> Any:
        found = self.outputs(batch)
        return found if len(found) > 1 else next(iter(found.values()))

    def strings(self, **texts: list[str]) -> dict[str, np.ndarray]:
        """The outputs, by name, for texts. Needs a SavedModel, or a `.tflite` made with `strings=True`.

        Args:
            **texts: the inputs of the string signature: `text`; `first` and `second`; for a SavedModel also `question`
                and `context`.

        Raises:
            ValueError: the names differ from the artifact's inputs, the lists have different lengths, or the artifact
                takes token ids only.
        """
        if not self._takes_strings:
            raise ValueError(f"{self.path} takes token ids only; to_saved_model and to_tflite(strings=True) take texts")
        if any(isinstance(value, str) for value in texts.values()):
            raise ValueError("pass lists of texts, not single strings")
        if set(texts) != set(names := self.signature.strings or self._runtime.text_names()):
            raise ValueError(f"{self.path} takes {' and '.join(names)}, not {' and '.join(texts)}")
        lengths = [len(values) for values in texts.values()]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"{' and '.join(names)} must have the same length, but they have {' and '.join(map(str, lengths))}"
            )
        if lengths[0]:
            return self._runtime.strings(texts)
        dtypes = self.signature.spec.argument_dtypes()
        one = {name: [dtypes[name].as_numpy_dtype(0)] if name in dtypes else ["a"] for name in names}
        return {name: values[:0] for name, values in self._runtime.strings(one).items()}

    @property
    def _takes_strings(self) -> bool:
        return bool(self.signature.strings) or self.path.is_dir()

    def outputs(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name; see the class."""
        inputs = self.signature.inputs
        arrays = {name: np.asarray(batch[name], np.int32) for name in inputs}
        shapes = {name: array.shape for name, array in arrays.items()}
        # an encoder-decoder has two texts, each with its own length
        texts = {name: shape for name, shape in shapes.items() if not name.startswith("decoder_")}
        if len(set(texts.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
            raise ValueError(f"{self.path} takes {', '.join(inputs)} of one shape (rows, T), not {shapes}")
        length, names = self.signature.length, self.signature.outputs
        given = max(shape[1] for shape in shapes.values())
        if length is None or self.signature.spec.generates and given <= length:
            return self._runtime.run(arrays, names)
        if given != length:
            raise ValueError(f"{self.path} takes {length} tokens, not {given}; pad or pack to {length}")
        count = len(arrays["token_ids"])
        arrays = arrays if count else {name: np.zeros((1, length), np.int32) for name in inputs}
        rows = [
            self._runtime.run({k: v[i : i + 1] for k, v in arrays.items()}, names)
            for i in range(len(arrays["token_ids"]))
        ]
        return {name: np.concatenate([row[name] for row in rows])[:count] for name in names}


class _ONNX:
    def __init__(self, path: Path, num_threads: int, has_strings: bool) -> None:
        onnxruntime = import_extra("onnxruntime", "onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        self.path = path
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def operators(self) -> Counter[str]:
        import onnx

        return Counter(node.op_type for node in onnx.load(str(self.path)).graph.node)

    def run(self, arrays: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        # the exporter leaves out unused inputs
        taken = {node.name for node in self.session.get_inputs()}
        found = self.session.run(names, {name: array for name, array in arrays.items() if name in taken})
        return dict(zip(names, found, strict=True))


class _SavedModel:
    def __init__(self, path: Path, num_threads: int, has_strings: bool) -> None:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  registers the operators of the string signature

        self.loaded = tf.saved_model.load(str(path))  # keep the object: its signatures do not work without it
        self.function = self.loaded.signatures["token_ids"]

    def operators(self) -> Counter[str]:
        graph = self.function.graph.as_graph_def()
        functions = [node for function in graph.library.function for node in function.node_def]
        left_out = ("Placeholder", "NoOp", "Identity", "Const", "StatefulPartitionedCall", "ReadVariableOp")
        return Counter(node.op for node in [*graph.node, *functions] if node.op not in left_out)

    def run(self, arrays: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        found = self.function(**{name: tf.constant(array) for name, array in arrays.items()})
        return {name: found[name].numpy() for name in names}

    def text_names(self) -> list[str]:
        return list(self.loaded.signatures["serving_default"].structured_input_signature[1])

    def strings(self, texts: dict[str, list[str]]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        function = self.loaded.signatures["serving_default"]
        found = function(**{name: tf.constant(list(values)) for name, values in texts.items()})
        return {name: value.numpy() for name, value in found.items()}
