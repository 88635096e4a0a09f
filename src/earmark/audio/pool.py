"""Child processes that decode sound (`isolation.py`), each used for many files, by one thread at a time.

A child that dies is replaced, and the file gets a second chance in a fresh one, since the child may have died of
another cause.
"""

import atexit
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from .isolation import Decoder, DecoderError, Limits

T = TypeVar("T")


class Pool:
    """Children that wait for work; any number of threads may use it, and so may a fork of this process.

    Parameters
    ----------
    limits
        What each file may take.
    n_idle
        How many children are kept.
    """

    def __init__(self, limits: Limits | None = None, n_idle: int = 4) -> None:
        self.limits, self.n_idle = limits or Limits(), n_idle
        self._all: set[Decoder] = set()
        self._idle: list[Decoder] = []
        self.forget()
        _POOLS.add(self)

    @property
    def children(self) -> list[int]:
        """The process ids of all living children."""
        with self._lock:
            return [decoder.process.pid for decoder in self._all if decoder.process.poll() is None]

    def run(self, job: Callable[[Decoder], T]) -> T:
        """Returns what a job returns that uses one child; a job whose child dies is run once more, in a fresh one.

        Raises
        ------
        DecoderError
            If that one dies too, or if the job took too long.
        """
        try:
            with self._borrowed(fresh=False) as decoder:
                return job(decoder)
        except DecoderError as failure:
            if failure.reason in ("time", "start"):
                raise
        with self._borrowed(fresh=True) as decoder:
            return job(decoder)

    def close(self) -> None:
        """Ends all children."""
        with self._lock:
            decoders, self._all, self._idle = self._all, set(), []
        for decoder in decoders:
            decoder.close()

    def forget(self) -> None:
        """Starts anew without children; after a fork these are the parent's, so they are left alone."""
        for decoder in self._all:
            decoder.abandon()
            decoder.process.returncode = 0  # not this process's child: nothing to wait for, nothing to warn of
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._all, self._idle = set(), []

    @contextlib.contextmanager
    def _borrowed(self, *, fresh: bool) -> Iterator[Decoder]:
        decoder = self._take(fresh)
        try:
            yield decoder
        finally:
            self._give_back(decoder)

    def _take(self, fresh: bool) -> Decoder:
        if self._pid != os.getpid():
            self.forget()
        with self._lock:
            decoder = self._idle.pop() if self._idle and not fresh else None
        if decoder is None:
            decoder = Decoder(self.limits)
            with self._lock:
                self._all.add(decoder)
        return decoder

    def _give_back(self, decoder: Decoder) -> None:
        """Keeps a child that has answered all it was asked, and ends any other."""
        usable = not decoder.busy and not decoder.expired
        with self._lock:
            keep = usable and decoder in self._all and len(self._idle) < self.n_idle
            self._idle += [decoder] if keep else []
            self._all -= set() if keep else {decoder}
        if not keep:
            decoder.close()


def decoders() -> Pool:
    """Returns the children that `earmark.audio.files` uses."""
    return _SHARED


def _forget_all() -> None:
    for pool in list(_POOLS):
        pool.forget()


def _close_all() -> None:
    for pool in list(_POOLS):
        pool.close()


_POOLS: set[Pool] = set()  # all, for forks and for the end
_SHARED = Pool()
atexit.register(_close_all)
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_all)
