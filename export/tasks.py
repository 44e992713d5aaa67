"""What an artefact of each task gives, and what it must know beside its weights to answer texts."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_plm.models import Classifier, Embedder, QuestionAnswerer, Tagger

TASKS = {kind.__name__: kind for kind in (Classifier, Tagger, QuestionAnswerer, Embedder)}
TaskModel = Classifier | Tagger | QuestionAnswerer | Embedder

# outputs with a value for each token, of which those of padding mean nothing
PER_TOKEN = {"Tagger", "QuestionAnswerer"}
# the settings in which two models agree that can take each other's place
ANSWERS = ("labels", "multi_label")


def task_of(model: Any) -> str:
    """The name of a model's task.

    Raises:
        TypeError: no task model.
    """
    name = type(model).__name__
    if name not in TASKS:
        raise TypeError(f"cannot export a {name}, only a {', '.join(TASKS)}")
    return name


def task_settings(model: TaskModel) -> dict[str, Any]:
    """What the methods that take texts need, as JSON types."""
    if isinstance(model, Classifier):
        return {"labels": model.labels, "multi_label": model.multi_label, "pairs": model.pairs}
    if isinstance(model, Tagger):
        steps = model.transitions
        learned = None if steps is None else [part.tolist() for part in steps]
        return {
            "labels": model.labels,
            "transitions": learned,
            "i_begins": model.i_begins,
            "splits_words": model.splits_words,
        }
    if isinstance(model, QuestionAnswerer):
        return {"null_threshold": model.null_threshold}
    return {"max_length": model.max_length, "prompt": model.prompt}


# the settings of each task, and what they are
_SETTINGS: dict[str, dict[str, Any]] = {
    "Classifier": {"labels": list | None, "multi_label": bool, "pairs": bool | None},
    "Tagger": {"labels": list, "transitions": list | None, "i_begins": bool, "splits_words": bool},
    "QuestionAnswerer": {"null_threshold": int | float | None},
    "Embedder": {"max_length": int | None, "prompt": str},
}


def check_settings(task: str, settings: dict[str, Any]) -> None:
    """Raise ValueError unless these are the settings of a task, each of its type."""
    if task not in _SETTINGS:
        raise ValueError(f"task is {task!r:.60}; it is one of {', '.join(_SETTINGS)}")
    kinds = _SETTINGS[task]
    if set(settings) != set(kinds):
        raise ValueError(f"the settings of a {task} are {sorted(kinds)}, not {sorted(map(str, settings))}")
    for name, kind in kinds.items():
        if not isinstance(settings[name], kind):
            raise ValueError(f"{name} is {settings[name]!r:.60}, a {type(settings[name]).__name__}")
    labels = settings.get("labels")
    if labels is not None and not (labels and all(isinstance(label, str) for label in labels)):
        raise ValueError(f"labels is {labels!r:.60}; it is a list of names")
    if settings.get("transitions") is not None:
        _check_transitions(settings["transitions"], len(settings["labels"]))


def _check_transitions(transitions: list, count: int) -> None:
    try:
        shapes = [np.asarray(part, "float32").shape for part in transitions]
    except (ValueError, TypeError):
        shapes = []
    if shapes != [(count,), (count, count), (count,)]:
        raise ValueError(f"transitions must be {count}, {count} x {count} and {count} numbers, not {shapes}")


def artifact_outputs(task: str, settings: dict[str, Any], outputs: Any) -> dict[str, Any]:
    """Named outputs of an artefact from those of the Keras model, as tensors.

    A classifier's `probabilities` (B, C), or `score` (B, 1) of a regression; a tagger's `probabilities` (B, T, C); the
    `start` and `end` logits (B, T) of a question answerer; an embedder's `vectors` (B, D).
    """
    if task == "Classifier" and settings["labels"] is None:
        return {"score": outputs}
    if task == "Classifier":
        return {"probabilities": tf.sigmoid(outputs) if settings["multi_label"] else tf.nn.softmax(outputs)}
    if task == "Tagger":
        return {"probabilities": tf.nn.softmax(outputs)}
    return outputs if task == "QuestionAnswerer" else {"vectors": outputs}


def output_names(task: str, settings: dict[str, Any]) -> list[str]:
    """The names of `artifact_outputs`."""
    if task == "QuestionAnswerer":
        return ["start", "end"]
    if task == "Embedder":
        return ["vectors"]
    return ["score"] if settings["labels"] is None else ["probabilities"]


def keras_outputs(task: str, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """The inverse of `artifact_outputs`, but for a constant in the logits of each softmax."""
    if task == "QuestionAnswerer":
        return arrays
    if "probabilities" not in arrays:
        return next(iter(arrays.values()))
    logits = np.log(np.maximum(arrays["probabilities"], 1e-30))
    if task == "Classifier" and settings["multi_label"]:
        logits -= np.log(np.maximum(1 - arrays["probabilities"], 1e-30))
    return logits
