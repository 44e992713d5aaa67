import importlib
from typing import Any


def import_extra(module: str, extra: str) -> Any:
    """A module of a package that only some users need.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImportError(f'{module.split(".")[0]} is not installed: pip install "keras-plm[{extra}]"') from None
