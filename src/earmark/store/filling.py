"""Folders that one command at a time fills, over a long time: a marker says that what is in them is whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..errors import InputError
from ..locks import locked


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keeps other commands out of a folder inside the block.

    The lock lies beside the folder, or in it where nothing can be written beside it.

    Raises
    ------
    InputError
        If another command is writing there.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = os.access(folder.parent, os.W_OK) or not folder.is_dir()
    lock = folder.with_name(f".{folder.name}.busy") if beside else folder / ".busy"
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock, wait=False))
        except BlockingIOError:
            raise InputError(
                f"Another earmark is writing to {folder} at this moment, and only one at a time can; "
                "wait until it is done, or choose another --out."
            ) from None
        yield


@contextmanager
def filling(folder: Path, marker: str, ours: tuple[str, ...]) -> Iterator[Path]:
    """Gives an empty folder to write into, and moves what is written there into `folder` at the end, the marker last.

    It lies inside `folder`, as `.part`, so that nothing has to be written beside it. While files are moved, the folder
    has no marker; until then it is as it was. After an error, everything is as it was. A kill leaves `.part`, which
    the next one removes.

    Parameters
    ----------
    folder
        Where the results belong; other files there stay.
    marker
        The file by which a folder counts as whole.
    ours
        Names that may be there of an earlier time, and go: all folders that are written, and what may not be anew.
    """
    part, is_new = folder / ".part", not folder.exists()
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        _move(part, folder, marker, ours)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                folder.rmdir()  # if nothing came into it


def _move(part: Path, folder: Path, marker: str, ours: tuple[str, ...]) -> None:
    (folder / marker).unlink(missing_ok=True)
    for name in ours:
        _remove(folder / name)
    for entry in sorted(part.iterdir(), key=lambda entry: entry.name == marker):
        entry.replace(folder / entry.name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
