"""The tasks that there are."""

from typing import Any

from .task import Task

_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Make a task known to recipes, evaluation, export and commands; returns it.

    Registered again, as by a cell of a notebook that runs twice, it replaces itself.

    Raises:
        ValueError: another task has that name.
    """
    known = _TASKS.get(task.name)
    if known is not None and _home(known) != _home(task):
        raise ValueError(f"there is a task {task.name!r} already: {'.'.join(_home(known))}")
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
        model: it.
        keras: it must be a Keras model, not an artifact.

    Raises:
        TypeError: a model without a task, such as an `Encoder`, or an artifact where a Keras model is needed.
    """
    task = task_of_class(type(model))
    if task is None:
        kinds = ", ".join(task.model.__name__ for task in _TASKS.values())
        raise TypeError(f"a model of class {type(model).__name__} has no task; one of {kinds} has")
    if keras and not isinstance(model, task.model):
        raise TypeError(f"a Keras model is needed, not a {type(model).__name__}")
    return task


def task_of_class(kind: type) -> Task | None:
    """The task of a class of models: that of the first of its bases that has one; None if none has."""
    for base in kind.__mro__:
        for task in _TASKS.values():
            if base in (task.model, task.methods):
                return task
    return None


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in _TASKS:
        known = ", ".join(_TASKS)
        raise ValueError(
            f"task is {name!r:.60}; it is one of {known}. For another, import the module that registers it"
        )
    return _TASKS[name]
