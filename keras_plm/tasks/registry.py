"""The registry of all tasks."""

from typing import Any

from .task import Task

_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Register a task for recipes, evaluation, export and commands, and return it.

    If the same task is registered again, for example by a notebook cell, it replaces the earlier object.

    Raises:
        ValueError: another task has the same name.
    """
    known = _TASKS.get(task.name)
    if known is not None and _home(known) != _home(task):
        raise ValueError(f"the task name {task.name!r} is already used by {'.'.join(_home(known))}")
    _TASKS[task.name] = task
    return task


def _home(task: Task) -> tuple[str, str]:
    return type(task).__module__, type(task).__qualname__


def registered() -> list[Task]:
    """All tasks, in the order of their registration."""
    return list(_TASKS.values())


def task_of(model: Any, keras: bool = False) -> Task:
    """The task of a model, or of an artifact that `load_artifact` opened.

    Args:
        model: the model or artifact.
        keras: True if it must be a Keras model, not an artifact.

    Raises:
        TypeError: the model has no task, such as an `Encoder`, or it is an artifact but `keras` is True.
    """
    task = task_of_class(type(model))
    if task is None:
        kinds = ", ".join(task.model.__name__ for task in _TASKS.values())
        raise TypeError(f"a model of class {type(model).__name__} has no task; use one of {kinds}")
    if keras and not isinstance(model, task.model):
        raise TypeError(f"a Keras model is needed, not a {type(model).__name__}")
    return task


def task_of_class(kind: type) -> Task | None:
    """The task of a model class: the first base class with a task decides. None if there is no such class."""
    for base in kind.__mro__:
        for task in _TASKS.values():
            if base in (task.model, task.methods):
                return task
    return None


def task_named(name: str) -> Task:
    """The task with this name.

    Raises:
        ValueError: there is no such task.
    """
    if name not in _TASKS:
        known = ", ".join(_TASKS)
        raise ValueError(
            f"task is {name!r:.60}; it must be one of {known}. For your own task, import the module that registers it"
        )
    return _TASKS[name]
