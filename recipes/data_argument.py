"""The type of a recipe's data fields: names of files, or a table in memory."""

from typing import Annotated, Any

import tyro

from keras_plm.text.readers.memory import is_in_memory

from .serialization import recorded

_FILES = tyro.constructors.PrimitiveConstructorSpec(
    nargs="*",
    metavar="FILE…",
    instance_from_str=lambda words: None if words == ["None"] else words[0] if len(words) == 1 else tuple(words),
    is_instance=lambda value: value is None or not is_in_memory(value),
    str_from_instance=lambda value: [str(value)] if value is None or isinstance(value, str) else list(map(str, value)),
)
# paths or globs; a dict of columns, a list of dicts, a DataFrame or a `datasets.Dataset`; or `Examples`
Data = Annotated[Any, _FILES]


def named(data: Any) -> str:
    """The data as one line of a model card."""
    found = recorded(data)
    if isinstance(found, dict):
        return f"{found['rows']} rows in memory"
    return found if isinstance(found, str) else ", ".join(found)
