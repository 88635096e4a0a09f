"""What a disk refuses, in words; and the remains of files that a killed process was writing."""

import errno
import os
import re
from contextlib import suppress
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)

_AT_PATH = re.compile(r'at path "([^"]*)"')
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how safetensors tells it
_REMAINS = re.compile(r"\..*\.part|\.tmp[A-Za-z0-9]{6}")  # the latter are safetensors' own


def problem(error: BaseException) -> str | None:
    """Returns the sentence for an error by which a full or unwritable disk shows, or `None` for any other error."""
    number, place = _number(error), _place(error)
    if number in FULL:
        return (
            f"{place or 'A file'} cannot be written: {os.strerror(number).lower()}; free some space, or choose a "
            "place on another disk, and run the same command again."
        )
    if number in REFUSED:
        return (
            f"{place or 'A file'} cannot be read or written: {os.strerror(number).lower()}; choose a place that you "
            "may write to, or change the permissions."
        )
    return None


def sweep(folder: Path) -> None:
    """Removes files below a folder that a killed process had not finished; nobody else may be writing there."""
    for path in folder.rglob(".*"):
        if _REMAINS.fullmatch(path.name) and path.is_file():
            with suppress(OSError):
                path.unlink()


def _number(error: BaseException) -> int:
    if isinstance(error, OSError):
        return error.errno or 0
    said = _OS_ERROR.search(str(error))
    return int(said[1]) if said else 0


def _place(error: BaseException) -> str:
    if isinstance(error, OSError):
        return "" if error.filename is None else os.fsdecode(error.filename)
    said = _AT_PATH.search(str(error))
    return str(Path(said[1]).parent) if said else ""
