"""Folders that appear whole or not at all, one writer at a time.

What a killed process left beside a folder (`.part`, `.old`, `.gone` and `.lock` behind its hidden name) is put right by
the next one that writes or asks for it.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from ..errors import InputError
from ..locks import locked

Ours = Callable[[Path], tuple[str, ...]] | tuple[str, ...]

_WORKING = ("part", "old", "gone", "lock")


@contextmanager
def replacing(folder: Path, markers: tuple[str, ...], ours: Ours) -> Iterator[Path]:
    """Gives an empty folder to write into, and puts it in place of `folder` when all is written.

    It is written beside its place as `.<name>.part`. An older folder is moved to `.<name>.old` for the moment of the
    change; what a person put into it is carried over. After an error, everything is as it was. What a killed process
    left is put right first. Whoever else replaces the same folder meanwhile waits.

    Parameters
    ----------
    folder
        Where it belongs: nothing, an empty folder, or one that holds one of `markers`.
    markers
        The files by which a folder that earmark wrote is known.
    ours
        Names that earmark writes, which are not carried over; or a function that returns them for an older folder.

    Raises
    ------
    InputError
        If `folder` is a file, or a folder that was not written by earmark.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(_beside(folder, "lock")):
        _recover(folder, ours)
        check_free(folder, markers)
        part = _beside(folder, "part")
        try:
            part.mkdir()
            yield part
            _swap(part, folder, ours)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def recover(folder: Path, ours: Ours) -> None:
    """Puts right what a killed process left of a folder: it is then the older or the newer one, whole, or nothing."""
    folder = folder.resolve()
    if any(_beside(folder, ending).exists() for ending in _WORKING):
        with locked(_beside(folder, "lock")):
            _recover(folder, ours)


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


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(f".{folder.name}.{ending}")


def _recover(folder: Path, ours: Ours) -> None:
    """Undoes or finishes a replacement that was killed."""
    shutil.rmtree(_beside(folder, "part"), ignore_errors=True)
    shutil.rmtree(_beside(folder, "gone"), ignore_errors=True)
    old = _beside(folder, "old")
    if not old.is_dir():
        return
    if folder.exists():
        _carry_over(old, folder, ours)
    else:
        old.rename(folder)


def _swap(part: Path, folder: Path, ours: Ours) -> None:
    if not folder.exists():
        part.rename(folder)
        return
    old = _beside(folder, "old")
    folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    _carry_over(old, folder, ours)


def _carry_over(old: Path, folder: Path, ours: Ours) -> None:
    """Moves what a person put into an old folder to the new one, and removes the old one.

    It is renamed before it is emptied: what tells ours from a person's files is in it, and must not go first.
    """
    names = ours(old) if callable(ours) else ours
    for entry in list(old.iterdir()):
        if entry.name not in names:
            entry.rename(_unused(folder / entry.name))
    gone = _beside(folder, "gone")
    old.rename(gone)
    shutil.rmtree(gone)


def _unused(path: Path) -> Path:
    """Returns the path, or with a number behind it, one where nothing is."""
    numbered = (path.with_name(f"{path.name}-{n}") for n in count(2))
    return path if not path.exists() else next(p for p in numbered if not p.exists())
