"""Ogg streams that are the same each time: libsndfile numbers them at random, and here they have the number 0."""

import struct
import zlib

_SERIAL, _CHECKSUM, _SEGMENTS = 14, 22, 26  # bytes of a page's header, RFC 3533, section 6
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def with_serial(stream: bytes, serial: int = 0) -> bytes:
    """Returns an Ogg file with another serial number in each of its pages, and their checksums."""
    result, start = bytearray(stream), 0
    while start < len(stream):
        end = start + _page_length(stream, start)
        page = memoryview(result)[start:end]
        struct.pack_into("<I", page, _SERIAL, serial)
        struct.pack_into("<I", page, _CHECKSUM, 0)
        struct.pack_into("<I", page, _CHECKSUM, checksum(bytes(page)))
        start = end
    return bytes(result)


def checksum(page: bytes) -> int:
    """Returns the CRC-32 of Ogg: that of zlib, but from 0, uninverted, and with the highest bit of a byte first."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _page_length(stream: bytes, start: int) -> int:
    n_segments = stream[start + _SEGMENTS]
    table = start + _SEGMENTS + 1
    return _SEGMENTS + 1 + n_segments + sum(stream[table : table + n_segments])
