"""An artifact with the text-level methods of its Keras model: texts in, answers out."""

from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from keras_plm.generation import GenerationSession, JoiningSession
from keras_plm.models import load_tokenizer
from keras_plm.tasks import Task, TextModel

from .runtime import Artifact


class _Exported(TextModel):
    def __init__(self, artifact: Artifact, max_length: int | None) -> None:
        signature = artifact.signature
        self.artifact = artifact
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length={max_length}; it is a number of tokens, or None for the artifact's limit")
        self._longest_row = signature.max_length if max_length is None else min(max_length, signature.max_length)
        try:
            self.tokenizer = load_tokenizer(signature.tokenizer, self._checked)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{artifact.path}: its .json describes no valid tokenizer: {error!r}") from None
        for name, value in signature.settings.items():
            setattr(self, name, value)

    def _checked(self, name: str) -> Path:
        path = self.artifact.beside(name)
        self.artifact.signature.check_file(path, name)
        return path

    @property
    def longest_row(self) -> int:
        return self._longest_row

    @cached_property
    def num_outputs(self) -> int:
        signature = self.artifact.signature
        known = signature.spec.num_outputs(signature.settings)
        if known is not None:
            return known
        ones = np.ones((1, signature.length or self.longest_row), "int32")
        return self.artifact({name: ones for name in signature.inputs} | {"segment_ids": 0 * ones}).shape[-1]

    def open_session(self, max_new_tokens: int, sources: list[list[int]] | None = None) -> GenerationSession:
        """The session of a model that generates text, see `Artifact.open_session`."""
        return self.artifact.open_session(sources)

    def open_joining_session(self) -> JoiningSession:
        """The session for continuous batching, see `Artifact.open_session`."""
        methods: Any = self
        return self.artifact.open_session(start=None if methods.continues_prompts else methods.start_ids)

    def predict_on_batch(self, inputs: dict[str, Any]) -> Any:
        arrays = {name: np.asarray(value, "int32") for name, value in inputs.items()}
        width, length = arrays["token_ids"].shape[1], self.artifact.signature.length
        if length is not None and not self.artifact.signature.spec.generates:
            empty = {"token_ids": self.needs_tokenizer().pad_id}
            arrays = {
                name: np.pad(array, ((0, 0), (0, length - width)), constant_values=empty.get(name, 0))
                for name, array in arrays.items()
            }
        signature = self.artifact.signature
        return signature.spec.from_outputs(signature.settings, self.artifact.outputs(arrays))


@cache
def _exported_class(task: Task) -> Any:
    """A class with the text-level methods of a task, computed by an artifact."""
    name = f"Exported{task.model.__name__}"
    return type(name, (task.methods, _Exported), {"__doc__": f"An exported {task.model.__name__}."})


def load_artifact(artifact: str | Path | Artifact, num_threads: int = 1, max_length: int | None = None) -> Any:
    """Open an artifact in its own runtime, with its own tokenizer, to call it with texts.

    Args:
        artifact: a `.tflite` or `.onnx` file or a SavedModel folder that this package wrote, or an open `Artifact`.
        num_threads: threads of its runtime.
        max_length: maximum number of tokens of a row; None, or a value above the artifact's limit, means the limit.

    Returns:
        An object with the text-level methods of the Keras model: `predict_labels`, `tag`, `answer`, `embed`, …

    Several threads may call it. A `.tflite` runs one call at a time; the other runtimes run calls in parallel.

    Raises:
        FileNotFoundError: the artifact, or a file that belongs to it, is missing.
        ValueError: its `.json` is damaged, or a tokenizer file was changed after the export.
        ImportError: the runtime is not installed; the message names the extra.

    Example:
        >>> load_artifact("saved_models/phone/model.tflite").predict_labels(["A quiet film."])  # doctest: +SKIP
        ['positive']
    """
    if not isinstance(artifact, Artifact):
        artifact = Artifact(artifact, num_threads)
    return _exported_class(artifact.signature.spec)(artifact, max_length)
