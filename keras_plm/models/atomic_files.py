"""Atomic file writes: a temporary name first, the right one when everything is there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MODELS = ("config.json", "saved_model.pb", "adapter_config.json")  # one of them is in every folder that we write


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path; at the end the file takes its name, and on an exception nothing is left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


@contextmanager
def whole_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder that takes its name only when everything in it is written.

    Yields:
        A temporary folder beside `folder`. At the end it is renamed; on an exception it is removed and the
        old folder, if there was one, is still whole.

    Raises:
        FileExistsError: the folder exists and is not empty, and `overwrite` is False or it is no model's; or it is a
            file.
    """
    folder = Path(folder)
    check_free(folder, overwrite, is_folder=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp's 0o700 would shut out a server that runs as another user
        yield temporary
        if folder.exists():
            # two renames: between them the old folder is whole under its temporary name
            old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            os.replace(folder, old)
            try:
                os.replace(temporary, folder)
            except BaseException:
                os.replace(old, folder)
                raise
            shutil.rmtree(old)
        else:
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: str | Path, overwrite: bool = False, is_folder: bool = False) -> None:
    """Raise FileExistsError if something would be overwritten, before hours of work and not after.

    Args:
        path: of the file or folder to write.
        overwrite: one of the same kind may be replaced: a file, or the folder of a model.
        is_folder: a folder is to be written there.
    """
    path = Path(path)
    if is_folder and path.exists() and not path.is_dir():
        raise FileExistsError(f"{path} exists and is a file; choose another name for the folder")
    if not is_folder and path.is_dir():
        raise FileExistsError(f"{path} is a folder; choose the name of a file")
    if path.is_file() and not overwrite:
        raise FileExistsError(f"{path} exists; pass overwrite=True (--overwrite) or choose another name")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not overwrite:
        raise FileExistsError(f"{path} exists and is not empty; pass overwrite=True (--overwrite) or choose another")
    if not any((path / name).exists() for name in _MODELS):
        raise FileExistsError(f"{path} holds other things than a model, which would be lost; choose another folder")
