import importlib
from typing import Any


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional dependency.

    Raises:
        ImportError: the package is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(f'{module.split(".")[0]} is not installed: pip install "keras-plm[{extra}]"') from None
