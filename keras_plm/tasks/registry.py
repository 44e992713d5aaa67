"""The tasks that there are."""

from typing import Any

from .task import Task

_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known to recipes, evaluation, export and commands; returns it.

    Raises:
        ValueError: another task has that name.
    """
    if task.name in _TASKS and type(_TASKS[task.name]) is not type(task):
        raise ValueError(f"there is a task {task.name!r} already: {type(_TASKS[task.name]).__name__}")
    _TASKS[task.name] = task
    return task


def registered() -> list[Task]:
    """All tasks, in the order of their registration."""
    return list(_TASKS.values())


def task_of(model: Any) -> Task:
    """The task of a Keras model, or of an artifact that `load_artifact` opened.

    Raises:
        TypeError: a model without a task, such as an `Encoder`.
    """
    for task in _TASKS.values():
        if isinstance(model, task.methods):
            return task
    kinds = ", ".join(task.model.__name__ for task in _TASKS.values())
    raise TypeError(f"a model of class {type(model).__name__} has no task; one of {kinds} has")


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in _TASKS:
        raise ValueError(f"task is {name!r:.60}; it is one of {', '.join(_TASKS)}")
    return _TASKS[name]


def task_of_class(kind: type) -> Task | None:
    """The task whose Keras models are of that class; None for a class without a task."""
    return next((task for task in _TASKS.values() if task.model is kind), None)
