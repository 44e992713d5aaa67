"""The one place that fixes the names, dtypes and shapes of what an artefact takes and gives."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.compression.watching import text_rows
from keras_plm.models import INPUTS, copy_model, merge_lora, tokenizer_settings
from keras_plm.text import pack
from keras_plm.training import dtype_policy

from .quantization import prepare
from .schemes import Scheme
from .tasks import TaskModel, artifact_outputs, output_names, task_of, task_settings


@dataclass(frozen=True)
class Signature:
    """What an exported model takes and gives.

    Attributes:
        length: T of the fixed input shape (1, T), in tokens; None where batch and length are free.
        max_length: most tokens that the model can take.
        tokenizer: the class of the tokenizer and its settings.
        quantization: the scheme, "float32" if there is none.
        task: class of the Keras model.
        settings: what its methods that take texts need, such as the labels.
        strings: names of the strings that a `.tflite` with a tokenizer inside takes; none of other artefacts.
    """

    length: int | None
    max_length: int
    tokenizer: dict[str, Any]
    quantization: str = "float32"
    task: str = "Classifier"
    settings: dict[str, Any] = field(default_factory=dict)
    strings: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        model: TaskModel,
        length: int | None,
        quantization: str = "float32",
        fixed: bool = False,
        strings: list[str] | None = None,
    ) -> "Signature":
        """The signature of a model at a fixed length (None: the model's limit if `fixed`, else free).

        Raises:
            TypeError: no task model.
            ValueError: no tokenizer, or a length that the model does not have positions for.
        """
        task = task_of(model)
        if model.tokenizer is None:
            raise ValueError("the model has no tokenizer: nobody could feed the artefact")
        limit, least = model.config.max_sequence_length, least_length(model)
        if fixed and length is None:
            length = limit
        if length is not None and not least <= length <= limit:
            raise ValueError(f"length={length}; the model takes {least} to {limit} tokens")
        tokenizer = tokenizer_settings(model.tokenizer)
        return cls(length, length or limit, tokenizer, quantization, task, task_settings(model), strings or [])

    @property
    def labels(self) -> list[str] | None:
        """Names of the classes or tags; None where there are none."""
        return self.settings.get("labels")

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs."""
        return output_names(self.task, self.settings)

    def input_specs(self) -> dict[str, tf.TensorSpec]:
        """(1, T) int32 for each input, or (None, None) where free."""
        shape = (None, None) if self.length is None else (1, self.length)
        return {name: tf.TensorSpec(shape, tf.int32, name=name) for name in INPUTS}

    @staticmethod
    def path(artifact: Path) -> Path:
        """Where the facts of an artefact lie: inside a SavedModel folder, else beside the file."""
        return artifact / "signature.json" if artifact.is_dir() else artifact.with_name(f"{artifact.name}.json")

    def write(self, path: Path) -> None:
        """Write the facts as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def read(cls, path: Path) -> "Signature":
        """The inverse of `write`."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; it belongs beside the artefact")
        return cls(**json.loads(path.read_text("utf-8")))


def least_length(model: TaskModel) -> int:
    """Fewest tokens of a row: a pair of one token each."""
    return model.needs_tokenizer().num_special(pair=True) + 2


def float32_copy(model: TaskModel) -> TaskModel:
    """The same weights under float32: mixed-precision graphs convert to operators that phones do not have.

    Low-rank updates are merged: beside the kernels they would only cost time.
    """
    with dtype_policy("float32"):
        return merge_lora(model) if model.config.lora_rank else copy_model(model)


def float32_function(model: TaskModel, signature: Signature) -> tuple[tf.Module, Any]:
    """A function of token ids that gives {output: …}, and a module that holds what it needs.

    The module tracks the bare `tf.Variable`s: TFLite's converter drops, without a word, the weights of a tracked Keras
    model.
    """
    copy = float32_copy(model)
    prepare(copy, Scheme.parse(signature.quantization))
    module = tf.Module()
    module.weights = [variable.value for variable in copy.variables]

    def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return artifact_outputs(signature.task, signature.settings, copy(inputs, training=False))

    return module, serve


def example_rows(model: TaskModel, texts: Any, length: int) -> list[dict[str, np.ndarray]]:
    """Each text, or (first, second) pair, as inputs of shape (1, length)."""
    if not len(texts):
        return []
    rows = text_rows(model, texts, length)
    packed = pack(model.needs_tokenizer(), rows.first, rows.second, length, pad_to=length)
    arrays = {name: value.numpy() for name, value in packed.items()}
    return [{name: a[i : i + 1] for name, a in arrays.items()} for i in range(len(rows))]


def num_truncated(model: TaskModel, texts: Any, length: int) -> int:
    """How many of these texts, or pairs, are longer than `length` tokens."""
    return text_rows(model, texts, length).num_truncated
