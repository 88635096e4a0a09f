"""Folders that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import InputError


@contextmanager
def replacing(folder: Path, markers: tuple[str, ...], ours: tuple[str, ...]) -> Iterator[Path]:
    """Gives an empty folder to write into, and puts it in place of `folder` when all is written.

    It is written beside its place as `.<name>.part`. An older folder is moved to `.<name>.old` for the moment of the
    change; what a person put into it is carried over. After an error, everything is as it was.

    Parameters
    ----------
    folder
        Where it belongs: nothing, an empty folder, or one that holds one of `markers`.
    markers
        The files by which a folder that earmark wrote is known.
    ours
        Names that earmark writes, which are not carried over.

    Raises
    ------
    InputError
        If `folder` is a file, or a folder that was not written by earmark.
    """
    folder = folder.resolve()
    check_free(folder, markers)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part, old = (folder.with_name(f".{folder.name}.{ending}") for ending in ("part", "old"))
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        yield part
        _swap(part, folder, old, ours)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_free(folder: Path, markers: tuple[str, ...]) -> None:
    """Refuses a place that holds something else.

    Raises
    ------
    InputError
        See `replacing`.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and a folder is to be written there; choose another place.")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / marker).is_file() for marker in markers):
        raise InputError(
            f"{folder} holds other files and no {markers[0]}, so it was not written by earmark and is left alone; "
            "choose a new or an empty folder."
        )


def _swap(part: Path, folder: Path, old: Path, ours: tuple[str, ...]) -> None:
    if not folder.exists():
        part.rename(folder)
        return
    shutil.rmtree(old, ignore_errors=True)
    folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    for entry in old.iterdir():
        if entry.name not in ours:
            entry.rename(folder / entry.name)
    shutil.rmtree(old)
