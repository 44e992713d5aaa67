"""The signature of an artifact: names, dtypes and shapes of its inputs and outputs. They are defined only here."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.compression.activation_capture import text_rows
from keras_plm.layers.export_hooks import tracing_with
from keras_plm.models import copy_model, merge_lora, tokenizer_settings
from keras_plm.tasks import Task, TaskModel, task_named, task_of
from keras_plm.text import pack
from keras_plm.training import dtype_policy

from .tflite.quantization import hooks_of
from .tflite.schemes import Scheme


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of an exported model.

    Attributes:
        length: T of the fixed input shape (1, T), in tokens; None if batch size and length are not fixed.
        max_length: maximum number of tokens of a row.
        tokenizer: the class of the tokenizer and its settings.
        inputs: names of the inputs, (rows, T) int32 each.
        task: name of the task.
        quantization: the scheme; "float32" means no quantization.
        settings: settings for the text-level methods, such as the labels.
        strings: names of the string inputs of a `.tflite` that contains its tokenizer; empty for other artifacts.
        files: size in bytes and SHA-256 of each tokenizer file beside the artifact.
    """

    length: int | None
    max_length: int
    tokenizer: dict[str, Any]
    inputs: list[str]
    task: str
    quantization: str = "float32"
    settings: dict[str, Any] = field(default_factory=dict)
    strings: list[str] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise ValueError(f"{name} is {value!r:.60}, a {type(value).__name__}")
        for name in ("length", "max_length"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; it must be at least 1")
        task_named(self.task).check_settings(self.settings)
        Scheme.parse(self.quantization)
        if "token_ids" not in self.inputs or len(set(map(str, self.inputs))) < len(self.inputs):
            raise ValueError(f"inputs is {self.inputs!r:.60}; it must contain token_ids, and no name twice")
        for name in ("inputs", "strings"):
            if not all(isinstance(part, str) for part in getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r:.60}; it is a list of names")

    @classmethod
    def of(
        cls,
        model: TaskModel,
        length: int | None,
        quantization: str = "float32",
        fixed: bool = False,
        strings: list[str] | None = None,
    ) -> "Signature":
        """The signature of a model at a fixed length. None means the model's limit if `fixed`, else any length.

        Raises:
            TypeError: `model` has no task, or is an artifact.
            ValueError: the model has no tokenizer, or too few positions for this length.
        """
        task = task_of(model, keras=True)
        if model.tokenizer is None:
            raise ValueError("the model has no tokenizer, but an artifact needs one")
        limit, least = model.longest_row, least_length(model)
        if fixed and length is None:
            length = limit
        if length is not None and not least <= length <= limit:
            raise ValueError(f"max_length={length}; the model takes {least} to {limit} tokens")
        tokenizer = tokenizer_settings(model.tokenizer)
        files = {name: _facts(content) for name, content in model.tokenizer.files().items()}
        inputs, settings = list(model.input), task.settings(model)
        return cls(length, length or limit, tokenizer, inputs, task.name, quantization, settings, strings or [], files)

    def check_file(self, path: Path, name: str) -> None:
        """Raise an error unless a tokenizer file is the file that was written at the export.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: its content has changed.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; it belongs beside the artifact")
        if (found := _facts(path.read_bytes())) != self.files.get(name):
            raise ValueError(
                f"{path} is not the file that the artifact was written with: {found['bytes']:,} bytes of SHA-256 "
                f"{found['sha256'][:12]}…, not {self.files.get(name)}; copy the original, or export again"
            )

    @property
    def labels(self) -> list[str] | None:
        """Names of the classes or tags; None if the task has none."""
        return self.settings.get("labels")

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return self.spec.output_names(self.settings)

    @property
    def scheme(self) -> Scheme:
        """The quantization scheme."""
        return Scheme.parse(self.quantization, self.spec.generates)

    @property
    def spec(self) -> Task:
        """The task."""
        return task_named(self.task)

    def input_specs(self) -> dict[str, tf.TensorSpec]:
        """(1, T) int32 for each input, or (None, None) if the shape is not fixed."""
        shape = (None, None) if self.length is None else (1, self.length)
        return {name: tf.TensorSpec(shape, tf.int32, name=name) for name in self.inputs}

    @staticmethod
    def path(artifact: Path) -> Path:
        """The JSON file of the signature: inside the SavedModel folder, or beside the artifact file."""
        return artifact / "signature.json" if artifact.is_dir() else artifact.with_name(f"{artifact.name}.json")

    def write(self, path: Path) -> None:
        """Write the signature as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Signature":
        """The inverse of `write`.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not JSON, or a field is missing, unknown or of the wrong type.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; it belongs beside the artifact")
        try:
            content = json.loads(path.read_text("utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"it holds a {type(content).__name__}")
            names = {f.name for f in fields(cls)}
            if set(content) != names:
                lost, more = sorted(names - set(content)), sorted(set(content) - names)
                raise ValueError(f"missing fields: {lost}, unknown fields: {more}; was it written by another version?")
            return cls(**content)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is not a valid signature of an artifact: {error}") from None


# the types of the fields
_KINDS: Mapping[str, Any] = {
    "length": int | None, "max_length": int, "tokenizer": dict, "inputs": list, "task": str, "quantization": str,
    "settings": dict, "strings": list, "files": dict,
}  # fmt: skip


def _facts(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def least_length(model: TaskModel) -> int:
    """Minimum number of tokens of a row: a pair of texts with one token each."""
    template = model.needs_tokenizer().template
    return template.num_special(pair=template.pair is not None) + 2


def float32_copy(model: TaskModel) -> TaskModel:
    """A float32 copy of a model, because mixed-precision graphs convert to operators that phones do not have.

    LoRA updates are merged, because separate ones would only cost time.
    """
    with dtype_policy("float32"):
        return merge_lora(model) if model.adaptation.lora_rank else copy_model(model)


def float32_function(model: TaskModel, signature: Signature) -> tuple[tf.Module, Any]:
    """A function from token ids to {output: …}, and a module that holds its variables.

    The module tracks the bare `tf.Variable`s. If it tracked the Keras model, TFLite's converter would silently drop
    the weights.

    Args:
        model: in float32, see `float32_copy`.
        signature: the signature of the artifact.
    """
    task, hooks = signature.spec, hooks_of(signature.scheme, model.adaptation)
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]

    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        with tracing_with(hooks):
            return task.to_outputs(signature.settings, model(inputs, training=False))

    return module, serve


def example_rows(model: TaskModel, texts: Any, length: int) -> list[dict[str, np.ndarray]]:
    """Each text, or (first, second) pair, as inputs of shape (1, length)."""
    if not len(texts):
        return []
    if task_of(model).generates:
        raise ValueError(
            "compare, sensitivity and fit_budget do not support text generators; evaluate the model and the artifact"
        )
    rows = text_rows(model, texts, length)
    packed = pack(model.needs_tokenizer(), rows.first, rows.second, length, pad_to=length)
    arrays = {name: value.numpy() for name, value in packed.items()}
    return [{name: a[i : i + 1] for name, a in arrays.items()} for i in range(len(rows))]


def num_truncated(model: TaskModel, texts: Any, length: int) -> int:
    """The number of texts, or pairs, that are longer than `length` tokens."""
    return text_rows(model, texts, length).num_truncated
