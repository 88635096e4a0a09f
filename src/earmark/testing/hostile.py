"""Sound files that are damaged on purpose, to try a reader on: small real ones, mutated reproducibly.

    for mutant in mutants(1000, seed=0):
        path.write_bytes(mutant.data)
        ...  # read it: expect an error of the reader's own, or finite samples

Formats take turns, so any run of four holds each; mutant `i` of a seed is always the same.
"""

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import soundfile

#: Format, ending and encoding of the files that are mutated.
FORMATS = (
    ("WAV", ".wav", "PCM_16"),
    ("FLAC", ".flac", "PCM_16"),
    ("OGG", ".ogg", "VORBIS"),
    ("MP3", ".mp3", "MPEG_LAYER_III"),
)

HEADER_BYTES = 96  # where fields are edited: the headers of WAV and FLAC, the first pages of OGG, a frame of MP3
VALUES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Mutant:
    """A damaged sound file.

    Parameters
    ----------
    index
        Its number among the mutants of a seed.
    format, ending
        What it was before: `WAV` and `.wav`, and so on.
    mutations
        What was done to it, in this order; half of the OGG files get right checksums in the end.
    data
        Its bytes.
    """

    index: int
    format: str
    ending: str
    mutations: tuple[str, ...]
    data: bytes = field(repr=False)


def mutants(n: int, seed: int = 0) -> Iterator[Mutant]:
    """Yields `n` damaged files, formats in turn; each has one to three mutations.

    Examples
    --------
    >>> [mutant.format for mutant in mutants(5, seed=1)]
    ['WAV', 'FLAC', 'OGG', 'MP3', 'WAV']
    """
    return (mutant(index, seed) for index in range(n))


def mutant(index: int, seed: int = 0) -> Mutant:
    """Returns one damaged file, always the same for the same numbers."""
    draw = np.random.default_rng([seed, index])
    kind, ending, _ = FORMATS[index % len(FORMATS)]
    names = tuple(draw.choice(list(MUTATIONS), size=draw.integers(1, 4)).tolist())
    data = bytearray(whole_file(kind, int(draw.integers(1, 3))))
    for name in names:
        data = MUTATIONS[name](data, draw)
    if kind == "OGG" and draw.integers(2):  # its readers skip pages with a wrong checksum, and what is in them
        data, names = mend_checksums(data), (*names, "mend_checksums")
    return Mutant(index, kind, ending, names, bytes(data))


@cache
def whole_file(kind: str, channels: int = 1, duration_s: float = 0.3, sample_rate: int = 16000) -> bytes:
    """Returns the bytes of a sound file that is in order: a tone in noise.

    Parameters
    ----------
    kind
        A format of `FORMATS`.
    """
    n_samples = round(duration_s * sample_rate)
    tone = 0.4 * np.sin(2 * np.pi * 440 / sample_rate * np.arange(n_samples))
    noise = np.random.default_rng(zlib.crc32(kind.encode())).normal(0, 0.05, (n_samples, channels))
    subtype = {name: subtype for name, _, subtype in FORMATS}[kind]
    buffer = io.BytesIO()
    soundfile.write(buffer, (tone[:, None] + noise).astype(np.float32), sample_rate, subtype, format=kind)
    return buffer.getvalue()


def flip_bits(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Flips 1 to 32 bits anywhere."""
    for at in draw.integers(0, len(data), draw.integers(1, 33)) if data else ():
        data[at] ^= 1 << int(draw.integers(8))
    return data


def overwrite_run(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Sets a run of up to 512 bytes to zeros, ones or noise."""
    start, stop = _span(data, draw, 512)
    data[start:stop] = (bytes, lambda n: b"\xff" * n, draw.bytes)[draw.integers(3)](stop - start)
    return data


def truncate(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Cuts the end off."""
    return data[: draw.integers(0, len(data) + 1)]


def edit_header(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Sets 1 to 4 fields of 1, 2, 4 or 8 bytes near the start to numbers that are apt to be mishandled."""
    for _ in range(draw.integers(1, 5)):
        width = int(2 ** draw.integers(4))
        value = int(draw.choice(VALUES)) & (256**width - 1)
        at = int(draw.integers(0, HEADER_BYTES))
        data[at : at + width] = value.to_bytes(width, "little" if draw.integers(2) else "big")
    return data


def duplicate(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Repeats a piece of up to 1024 bytes, once to 8 times."""
    start, stop = _span(data, draw, 1024)
    data[stop:stop] = data[start:stop] * int(draw.integers(1, 9))
    return data


def remove(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Takes a piece of up to 1024 bytes out."""
    start, stop = _span(data, draw, 1024)
    del data[start:stop]
    return data


def insert_garbage(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Puts up to 512 random bytes in."""
    at = int(draw.integers(0, len(data) + 1))
    data[at:at] = draw.bytes(int(draw.integers(1, 513)))
    return data


def splice(data: bytearray, draw: np.random.Generator) -> bytearray:
    """Goes on with the rest of a file of any format."""
    other = whole_file(FORMATS[draw.integers(len(FORMATS))][0])
    return data[: draw.integers(0, len(data) + 1)] + other[draw.integers(0, len(other)) :]


def mend_checksums(data: bytearray) -> bytearray:
    """Returns an OGG file in which each page has the checksum of what it holds."""
    at = data.find(b"OggS")
    while 0 <= at <= len(data) - 27:
        n_segments = data[at + 26]
        stop = at + 27 + n_segments + sum(data[at + 27 : at + 27 + n_segments])
        data[at + 22 : at + 26] = bytes(4)
        data[at + 22 : at + 26] = ogg_checksum(bytes(data[at:stop])).to_bytes(4, "little")
        at = data.find(b"OggS", at + 4)
    return data


def ogg_checksum(page: bytes) -> int:
    """Returns the CRC of an OGG page: zlib's polynomial with bits the other way round, starting and ending plainly.

    Examples
    --------
    >>> hex(ogg_checksum(b"123456789"))
    '0x89a1897f'
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

#: All mutations by name: functions of bytes and a generator.
MUTATIONS: dict[str, Callable[[bytearray, np.random.Generator], bytearray]] = {
    function.__name__: function
    for function in (flip_bits, overwrite_run, truncate, edit_header, duplicate, remove, insert_garbage, splice)
}


def _span(data: bytearray, draw: np.random.Generator, most: int) -> tuple[int, int]:
    """Returns the bounds of a piece of at most so many bytes."""
    start = int(draw.integers(0, len(data) + 1))
    return start, min(len(data), start + int(draw.integers(1, most + 1)))
