"""One large array in a safetensors file, written row by row through a memory map."""

import json
import os
import struct
from pathlib import Path

import numpy as np

_DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


def create(path: Path, shape: tuple[int, ...], dtype: str = "F32", name: str = "array") -> np.memmap:
    """Returns a writable memory map of a new safetensors file that holds one zero-filled tensor."""
    size = int(np.prod(shape)) * _DTYPES[dtype].itemsize
    header = json.dumps({name: {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}}).encode()
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
        if hasattr(os, "posix_fallocate"):  # a full disk is an error here, and the end of the process when mapped
            os.posix_fallocate(file.fileno(), 0, 8 + len(header) + size)
    return np.memmap(path, _DTYPES[dtype], "r+", 8 + len(header), shape)
