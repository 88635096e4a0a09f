"""Locks that die with their process: one writer at a time, and nothing that a kill leaves locked.

A lock is `flock` on a hidden file, which is removed when the lock is given back. A file that a killed process left is
locked by nobody, so the next process takes it over. Where the system has no such locks (Windows, some network disks),
writers are not kept apart.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock of a hidden file inside the block; threads of one process keep each other out as well.

    Parameters
    ----------
    path
        The file, in a folder that exists.
    wait
        Whether to wait for whoever holds it.

    Raises
    ------
    BlockingIOError
        If another holds it and `wait` is false.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = _acquired(path, wait)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # still locked: whoever waits for this file finds it gone, and makes its own
        os.close(descriptor)


def _acquired(path: Path, wait: bool) -> int:
    """Returns a descriptor of the locked file that lies at `path` now."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor, wait)
            if _lies_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _lies_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
