"""Atomic file writes: a file gets a temporary name, and its final name when it is complete."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# each folder that this package writes contains one of them
_OURS = ("config.json", "saved_model.pb", "adapter_config.json", "corpus.json")


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path. At the end, the file is renamed to `path`; after an exception, no file is left."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        os.replace(temporary, path)


@contextmanager
def whole_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A new folder that gets its final name only when all its files are written.

    Yields:
        A temporary folder beside `folder`. At the end it is renamed. After an exception it is removed, and an existing
        old folder is unchanged.

    Raises:
        FileExistsError: `folder` is a file. Or it is a folder that is not empty, and `overwrite` is False or the folder
            does not contain a model or a corpus.
    """
    folder = Path(folder)
    check_free(folder, overwrite, is_folder=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        temporary.chmod(0o755)  # with mkdtemp's 0o700, a server of another user could not read it
        yield temporary
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Rename a folder, and delete an existing folder of the final name. Both must be on the same disk."""
    if not folder.exists():
        os.replace(new, folder)
        return
    # two renames: between them, the old folder is complete under a temporary name
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    os.replace(folder, old)
    try:
        os.replace(new, folder)
    except BaseException:
        os.replace(old, folder)
        raise
    shutil.rmtree(old)


def check_free(path: str | Path, overwrite: bool = False, is_folder: bool = False) -> None:
    """Raise FileExistsError if `path` exists and must not be overwritten. Call it before hours of work, not after.

    Args:
        path: the file or folder to write.
        overwrite: allow replacing a file by a file, or the folder of a model by a folder.
        is_folder: whether `path` will be a folder.
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
    if not any((path / name).exists() for name in _OURS):
        raise FileExistsError(
            f"{path} contains files that are not from a model or corpus and would be lost; choose another folder"
        )
