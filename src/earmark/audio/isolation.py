"""Decodes sound files in a child process, so that a hostile file cannot take this one down.

The child runs `decoder.py`. It has limits of memory and processor time; when it takes too long, it is killed.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from .decoder import REPLY, REQUEST

PROGRAM = Path(__file__).with_name("decoder.py")
START_S = 60.0  # a child that is not ready by then never will be
LONGEST_JSON = 1 << 16
PIPE_BYTES = 1 << 20  # fewer turns between parent and child than with the usual 64 KiB

Buffer = TypeVar("Buffer", bytearray, memoryview)
Reason = Literal["crash", "time", "memory", "start"]


@dataclass(frozen=True)
class Limits:
    """What decoding one file may take.

    Parameters
    ----------
    seconds
        On the clock, for opening a file and for reading nothing from it.
    bytes_per_second
        More seconds are granted by the size of the file and of the decoded samples.
    memory
        Bytes beyond the decoded samples.
    """

    seconds: float = 30.0
    bytes_per_second: float = 5e6
    memory: int = 256 * 1024**2

    def seconds_for(self, n_bytes: int) -> float:
        """Returns the seconds granted to so many bytes."""
        return self.seconds + n_bytes / self.bytes_per_second


@dataclass(frozen=True)
class Header:
    """What a child found out about a file.

    Parameters
    ----------
    n_samples
        How many samples can be read as far as is known without decoding.
    promised
        How many the header promises; `None` if the file's end is missing and nobody knows how many.
    sample_rate, n_channels, format
        Of the header.
    """

    n_samples: int
    promised: int | None
    sample_rate: int
    n_channels: int
    format: str


class DecoderError(Exception):
    """Says that a child crashed, took too long or too much memory, or could not be started."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class UndecodableError(Exception):
    """Says that the child does its work and the file is at fault.

    Parameters
    ----------
    message
        The decoder's own.
    intact
        Samples that can be read from where reading began; `None` if unknown.
    """

    def __init__(self, message: str, intact: int | None = None) -> None:
        super().__init__(message)
        self.intact = intact


class Decoder:
    """One child process.

    Parameters
    ----------
    limits
        What each file may take.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.busy, self.expired, self._file_bytes = limits, False, False, 0
        self.process = _start()
        _widen(self.process)
        try:
            path = [str(Path(place).resolve()) for place in sys.path if place]
            self._ask({"path": path, "memory": limits.memory}, START_S)
        except DecoderError as error:
            self.close()
            raise DecoderError("start") from error
        except BaseException:
            self.close()
            raise

    def open(self, path: Path, *, keep: bool = False) -> Header:
        """Returns what the header of a file says; `keep` leaves it open for `read`.

        Raises
        ------
        UndecodableError
            If it is not a sound file.
        DecoderError
            If the child failed.
        """
        self._file_bytes = path.stat().st_size
        place = os.fsencode(path.absolute()).hex()
        seconds = self.limits.seconds_for(self._file_bytes)
        reply, _ = self._ask({"do": "open", "path": place, "keep": keep}, seconds)
        return Header(**reply)

    def read(self, start: int, n_samples: int, n_channels: int) -> np.ndarray:
        """Returns samples of the open file, float32 `[sample, channel]`; the file is closed then.

        Raises
        ------
        UndecodableError
            If the file breaks off or is damaged in this part.
        DecoderError
            If the child failed.
        """
        n_bytes = 4 * n_samples * n_channels
        seconds = self.limits.seconds_for(n_bytes + self._file_bytes)
        request = {"do": "read", "start": start, "n_samples": n_samples, "n_bytes": n_bytes}
        reply, samples = self._ask(request, seconds, n_bytes)
        if not reply["whole"]:
            raise UndecodableError("it ends early", reply["n_samples"])
        return samples.reshape(-1, n_channels)

    def close(self) -> None:
        """Ends the child and leaves nothing of it."""
        self.process.kill()
        self.abandon()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)

    def abandon(self) -> None:
        """Closes this side's pipes."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _ask(self, request: dict[str, Any], seconds: float, most: int = 0) -> tuple[dict[str, Any], np.ndarray]:
        """Sends a request and returns the reply with at most so many bytes of samples."""
        self.busy = True
        watch = threading.Timer(seconds, self._expire)
        watch.daemon = True
        watch.start()
        try:
            self._send({**request, "seconds": seconds})
            reply, samples = self._receive(most)
        except (OSError, ValueError) as error:
            raise DecoderError("time" if self.expired else "crash") from error
        finally:
            watch.cancel()
        self.busy = reply.get("error") == "memory"  # what is left in the child then is not trusted
        _raise_for(reply)
        return reply, samples

    def _expire(self) -> None:
        self.expired = True
        self.process.kill()

    def _send(self, request: dict[str, Any]) -> None:
        text = json.dumps(request).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(REQUEST.pack(len(text)) + text)  # below the size that a pipe takes at once

    def _receive(self, most: int) -> tuple[dict[str, Any], np.ndarray]:
        n_json, n_bytes = REPLY.unpack(self._take_in(bytearray(REPLY.size)))
        if n_json > LONGEST_JSON or n_bytes > most:
            raise ConnectionError("the child sent more than it was asked for")
        reply = json.loads(self._take_in(bytearray(n_json)))
        samples = np.empty(n_bytes // 4, np.float32)
        self._take_in(samples.data.cast("B"))
        return reply, samples

    def _take_in(self, buffer: Buffer) -> Buffer:
        """Fills a buffer from the child's output."""
        assert self.process.stdout is not None
        rest = memoryview(buffer)
        while rest:
            got = self.process.stdout.readinto(rest)  # type: ignore[attr-defined]  # a raw file
            if not got:
                raise ConnectionError("the child is gone")
            rest = rest[got:]
        return buffer


def _start() -> "subprocess.Popen[bytes]":
    # -I and -S: neither the user's environment nor start-up hooks of installed packages; the search path comes by pipe.
    command = [sys.executable, "-I", "-S", str(PROGRAM)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows
    options: dict[str, Any] = {"env": os.environ | single, "cwd": PROGRAM.parent, "creationflags": flags, **pipes}
    try:
        return subprocess.Popen(command, bufsize=0, **options)
    except (OSError, ValueError) as error:
        raise DecoderError("start") from error


def _widen(process: "subprocess.Popen[bytes]") -> None:
    """Lets the pipe of samples hold more, where the system can."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        assert process.stdout is not None
        fcntl.fcntl(process.stdout.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _raise_for(reply: dict[str, Any]) -> None:
    if reply.get("error") == "memory":
        raise DecoderError("memory")
    if "error" in reply:
        raise UndecodableError(reply["message"], reply.get("intact"))
