"""The program of the child process that decodes sound files; it needs soundfile and knows nothing of earmark.

`isolation.py` starts it by its path. A request is a length (4 bytes) and JSON on standard input; a reply is two
lengths (4 and 8 bytes), JSON, and the samples, float32 `[sample, channel]`, on standard output. The end of standard
input ends the program, so it does not outlive its parent.
"""

import contextlib
import json
import mmap
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

REQUEST, REPLY = struct.Struct(">I"), struct.Struct(">IQ")
COUNTED = 1 << 16  # samples per step where the length of a file is found by decoding it
SCANNED = 64  # steps in which the first damage of a file is looked for
LOSSY_SLACK = 2304  # samples: encoders of MP3 and OGG count their first and last frame differently
HEADER_SLACK = 44  # bytes: some writers count the WAV header as data
UNKNOWN = range(0x7FFF0000, 0x80010000)  # lengths that recorders write who cannot go back; so is all above UNKNOWN_FROM
UNKNOWN_FROM = 0xFFFF0000
ENDLESS = 1 << 40  # samples; libsndfile gives the largest integer for a FLAC stream of unknown length


class Mended:
    """A file of which some bytes are replaced: a header without lengths is given those of the file.

    Parameters
    ----------
    path
        The file.
    patches
        Bytes by position.
    """

    def __init__(self, path: bytes, patches: dict[int, bytes]) -> None:
        self.file, self.patches = open(path, "rb"), patches  # noqa: PTH123, SIM115 (bytes; closed with the object)
        self.seek, self.tell, self.close = self.file.seek, self.file.tell, self.file.close

    def read(self, n: int = -1) -> bytes:
        """Returns the next bytes."""
        start, data = self.tell(), bytearray(self.file.read(n))
        for position, patch in self.patches.items():
            for at, value in enumerate(patch, position - start):
                if 0 <= at < len(data):
                    data[at] = value
        return bytes(data)


def riff_data(file: BinaryIO) -> tuple[int, int, int, int] | None:
    """Returns where the length of the samples stands, that length, the bytes that follow, and the whole's length.

    For WAV and AIFF, whose files are chunks with a name and a length; `None` without samples.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    order = ">" if file.read(4) in (b"FORM", b"RIFX") else "<"
    whole = int.from_bytes(file.read(4), "big" if order == ">" else "little")
    at = 12
    for _ in range(10_000):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return None
        name, length = struct.unpack(order + "4sI", head)
        if name in (b"data", b"SSND"):
            return at + 4, length, size - at - 8, whole
        at += 8 + length + length % 2
    return None


def present_share(path: bytes, kind: str) -> float | None:
    """Returns which share of the promised bytes is there, `None` where an end is missing and nobody knows how much."""
    with open(path, "rb") as file:  # noqa: PTH123 (bytes)
        if kind == "OGG":
            return 1.0 if ogg_ends(file) else None
        if kind == "AU":
            promised, present = au_data(file)
        elif kind in ("WAV", "WAVEX", "AIFF") and (found := riff_data(file)):
            _, promised, present, _ = found
        else:
            return 1.0
    if promised in UNKNOWN or promised >= UNKNOWN_FROM or promised - present <= HEADER_SLACK:
        return 1.0
    return present / promised


def au_data(file: BinaryIO) -> tuple[int, int]:
    """Returns the promised and the present bytes of an AU file."""
    order = "little" if file.read(4) == b"dns." else "big"
    start, promised = (int.from_bytes(file.read(4), order) for _ in range(2))  # type: ignore[arg-type]
    return promised, file.seek(0, os.SEEK_END) - start


def ogg_ends(file: BinaryIO) -> bool:
    """Says whether the last page of an OGG file is whole and marked as the last."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 2 * 65307))  # a page has at most 65307 bytes
    tail = file.read()
    at = tail.rfind(b"OggS\0")
    if at < 0 or len(tail) < at + 27:
        return False
    flags, n_segments = tail[at + 5], tail[at + 26]
    lengths = tail[at + 27 : at + 27 + n_segments]
    return bool(flags & 4) and len(lengths) == n_segments and len(tail) >= at + 27 + n_segments + sum(lengths)


def mp3_says_length(path: bytes) -> bool:
    """Says whether an MP3 file has a Xing or Info frame; without one its length is an estimate."""
    with open(path, "rb") as file:  # noqa: PTH123 (bytes)
        head = file.read(10)
        tagged = head[:3] == b"ID3" and len(head) == 10
        file.seek(10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0))) if tagged else 0)  # noqa: B905 (both four)
        start = file.read(4096)
    return b"Xing" in start or b"Info" in start


class Sound:
    """An open sound file, and what is known about its length.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.file = self._mended() or self._open()
        self.n_samples = self.file.frames
        share = present_share(path, self.file.format)
        self.promised = None if share is None else round(self.n_samples / max(share, 1e-9))
        if self.n_samples > ENDLESS and self.file.format == "FLAC":
            self.file = self._counted()
            self.n_samples = self.promised = self.file.frames

    def header(self) -> dict[str, Any]:
        """Returns what the parent wants to know before it asks for samples."""
        file = self.file
        known = {"n_samples": self.n_samples, "promised": self.promised}
        return {**known, "sample_rate": file.samplerate, "n_channels": file.channels, "format": file.format}

    def read(self, start: int, n_samples: int) -> memoryview:
        """Returns samples from `start` on, float32 `[sample, channel]`; fewer where the file ends."""
        try:
            samples = mmap.mmap(-1, 4 * n_samples * self.file.channels)  # takes memory only where it is written
        except (OSError, OverflowError) as error:
            raise MemoryError from error
        self.file.seek(start)
        got = self.file.buffer_read_into(samples, "float32")
        return memoryview(samples)[: 4 * got * self.file.channels]

    def intact(self, start: int, n_samples: int) -> int:
        """Returns how many samples from `start` on can be read, in steps of 1 / 64 of it, or finer if that is none."""
        step, done = n_samples, 0
        while done == 0 and step > 1:
            step = max(1, step // SCANNED)
            with contextlib.suppress(Exception):
                self.file = Sound(self.path).file
                while done < n_samples and len(self.read(start + done, step)) == 4 * step * self.file.channels:
                    done += step
        return min(done, n_samples)

    def says_length(self) -> bool:
        """Says whether the header's length is exact."""
        return self.file.format != "MP3" or mp3_says_length(self.path)

    def slack(self) -> int:
        """Returns by how many samples a sound may end early and still count as whole."""
        return LOSSY_SLACK if self.file.format in ("MP3", "OGG") else 0

    def _open(self) -> Any:
        import soundfile

        return soundfile.SoundFile(self.path if os.name == "posix" else os.fsdecode(self.path))

    def _mended(self) -> Any:
        """Returns a WAV file whose recorder wrote no lengths with those of the file, or `None`."""
        import soundfile

        with open(self.path, "rb") as file:  # noqa: PTH123 (bytes)
            if file.read(4) != b"RIFF" or not (found := riff_data(file)):
                return None
        at, promised, present, whole = found
        size = at + 4 + present
        if promised != 0 or present == 0 or whole == size - 8:  # nothing to mend; or a finished file without sound
            return None
        lengths = {4: min(size - 8, 0xFFFFFFFF), at: min(present, 0xFFFFFFFF)}
        patches = {position: struct.pack("<I", length) for position, length in lengths.items()}
        return soundfile.SoundFile(Mended(self.path, patches))

    def _counted(self) -> Any:
        """Returns a FLAC stream of unknown length with the number of samples found by decoding all of them."""
        import soundfile

        total = count(self._open())
        with open(self.path, "rb") as file:  # noqa: PTH123 (bytes)
            start = file.read(26)
        if start[:4] != b"fLaC" or not 0 < total < 1 << 36:
            raise ValueError("a FLAC stream of unknown length")
        word = int.from_bytes(start[18:], "big") >> 36 << 36 | total  # rate, channels and depth stand before it
        return soundfile.SoundFile(Mended(self.path, {18: word.to_bytes(8, "big")}))


def count(file: Any) -> int:
    """Returns the number of samples that a sound file gives from where it stands."""
    file.seekable = lambda: False  # soundfile seeks after each step, which fails at an end that nobody knows
    block, total = bytearray(4 * COUNTED * file.channels), 0
    while got := file.buffer_read_into(block, "float32"):
        total += got
    return total


class Server:
    """Answers requests, each within limits of memory and processor time.

    Parameters
    ----------
    memory
        Bytes that decoding may take beyond the samples that are asked for.
    """

    def __init__(self, memory: int) -> None:
        self.memory, self.base = memory, address_space()
        self.sound: Sound | None = None

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes | memoryview]:
        """Returns the reply to a request and its samples."""
        limit(self.base + self.memory + request.get("n_bytes", 0), request["seconds"])
        try:
            return self._open(request) if request["do"] == "open" else self._read(request)
        except MemoryError:
            return {"error": "memory"}, b""
        except Exception as error:  # whatever soundfile raises for what is no sound
            return {"error": "decode", "message": str(getattr(error, "error_string", error))}, b""

    def _open(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        self.sound = None  # closes the one before
        sound = Sound(bytes.fromhex(request["path"]))
        self.sound = sound if request["keep"] else None
        return sound.header(), b""

    def _read(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes | memoryview]:
        sound, self.sound = self.sound, None
        if sound is None:
            raise ValueError("no file is open")
        start, wanted = request["start"], request["n_samples"]
        try:
            samples = sound.read(start, wanted)
        except MemoryError:
            raise
        except Exception as error:
            intact = sound.intact(start, wanted)
            return {"error": "decode", "message": str(getattr(error, "error_string", error)), "intact": intact}, b""
        got = len(samples) // (4 * sound.file.channels)
        whole = got >= wanted - sound.slack() or not sound.says_length()
        return {"n_samples": got, "whole": whole}, samples if whole else b""


def address_space() -> int:
    """Returns the bytes of address space that this process has (a guess where the system does not say)."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (light)
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 1 << 30


def limit(n_bytes: int, seconds: float) -> None:
    """Limits this process to so much address space and, from now on, processor time; nothing on Windows."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    for what, value in ((resource.RLIMIT_AS, n_bytes), (resource.RLIMIT_CPU, int(spent + seconds) + 2)):
        with contextlib.suppress(ValueError, OSError):  # macOS does not limit address space
            resource.setrlimit(what, (value, resource.getrlimit(what)[1]))


def forbid_files() -> None:
    """Forbids this process to write files, core dumps too; nothing on Windows."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        for what in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
            resource.setrlimit(what, (0, 0))


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """Returns the next request, or `None` at the end."""
    head = stream.read(REQUEST.size)
    return json.loads(stream.read(REQUEST.unpack(head)[0])) if len(head) == REQUEST.size else None


def send(output: int, reply: dict[str, Any], samples: bytes | memoryview = b"") -> None:
    """Writes a reply."""
    text = json.dumps(reply).encode()
    for part in (REPLY.pack(len(text), len(samples)) + text, samples):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(output, rest) :]


def main() -> None:
    """Answers requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    output = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not mix with replies
    begin = receive(sys.stdin.buffer)
    if begin is None:
        return
    sys.path[:] = begin["path"]
    import soundfile  # noqa: F401 (before limits count from here)

    forbid_files()
    server = Server(begin["memory"])
    send(output, {"ready": True})
    while request := receive(sys.stdin.buffer):
        send(output, *server.answer(request))


if __name__ == "__main__":
    main()
