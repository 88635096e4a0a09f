"""What a feature cache keeps on disk: shards, their index, and the pooled vectors of many clips as they lie there.

A shard is a safetensors file with the pooled vectors of some clips, `[clip, channel]`, and the features of those that
are kept. Its index, in its metadata, has one list for each field of `Entry`. Shards are memory-mapped: of a million
clips only hashes and a few numbers are in memory.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, overload

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..types import Clip

Kind = Literal["map", "marginals"]
Block = tuple[Int[Tensor, " _row"], Float[Tensor, "_row channel"]]  # positions and as many pooled vectors

SCHEMA = 2
READ_AHEAD = 8  # shards
IN_MEMORY_BYTES = 256_000_000  # a larger table of pooled vectors is assembled in a file


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of a clip: its hash, cells of its map, length for the classifier, and whether it is kept."""

    sha256: str
    n_freq: int
    n_frames: int
    n_samples: int
    duration_s: float
    kept: bool


_COLUMNS: dict[str, type[np.generic]] = {
    "n_freq": np.int32,
    "n_frames": np.int32,
    "n_samples": np.int64,
    "duration_s": np.float64,
    "kept": np.bool_,
}


@dataclass(frozen=True, eq=False)
class Shard:
    """One file: where it is, what it keeps of maps, and its index.

    Parameters
    ----------
    path, kind
        The file, and which features its kept clips have.
    sha256
        Of each clip, in the order of the rows.
    columns
        The other fields of `Entry`, each an array over rows.
    """

    path: Path
    kind: Kind
    sha256: list[str]
    columns: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, path: Path, kind: Kind, about: Mapping[str, Any]) -> "Shard":
        """Returns a shard from its index."""
        columns = {name: np.array(about[name], dtype) for name, dtype in _COLUMNS.items()}
        return cls(path, kind, about["sha256"].split("\n"), columns)

    @classmethod
    def read(cls, path: Path, kind: Kind, fingerprint: str) -> "Shard | None":
        """Returns the shard at a path, or None if it is damaged, or of another version or classifier."""
        try:
            about = json.loads(safe_open(path, "pt").metadata()["index"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError):
            return None
        known = (about["schema"], about["fingerprint"]) == (SCHEMA, fingerprint)
        return cls.of(path, kind, about) if known else None

    @cached_property
    def file(self) -> Any:
        """The open file; tensors that are read from it are memory-mapped."""
        return safe_open(self.path, "pt")

    def entry(self, row: int) -> Entry:
        """Returns what the index says of a row."""
        return Entry(self.sha256[row], *(self.columns[name][row].item() for name in _COLUMNS))

    @property
    def n_cells(self) -> np.ndarray:
        """Cells of each clip's map."""
        return self.columns["n_freq"].astype(np.int64) * self.columns["n_frames"]

    @cached_property
    def pooled(self) -> Float[Tensor, "row channel"]:
        """The pooled vectors, memory-mapped."""
        return self.file.get_tensor("pooled")

    def read_ahead(self) -> None:
        """Tells the system that the vectors will be read soon; page by page, the disk would be waited for each time."""
        if not hasattr(os, "posix_fadvise") or self.columns["kept"].any():
            return  # maps would be read as well
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def write_shard(
    folder: Path, kind: Kind, fingerprint: str, entries: Sequence[Entry], tensors: Mapping[str, Tensor]
) -> Shard:
    """Writes a shard in one rename; its name is the hash of its clips and of which are kept."""
    about: dict[str, Any] = {name: [getattr(entry, name) for entry in entries] for name in _COLUMNS}
    about |= {"schema": SCHEMA, "fingerprint": fingerprint, "sha256": "\n".join(entry.sha256 for entry in entries)}
    clips = "".join(f"{entry.sha256}{int(entry.kept)}" for entry in entries)
    path = folder / f"shard-{hashlib.sha256(clips.encode()).hexdigest()[:16]}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    save_file(dict(tensors), temporary, {"index": json.dumps(about)})
    temporary.replace(path)
    return Shard.of(path, kind, about)


class Index(Mapping[str, tuple[Shard, int]]):
    """Where the clips of a cache lie: shard and row by hash."""

    def __init__(self) -> None:
        self.shards: list[Shard] = []
        self._places: dict[str, int] = {}  # shard << 32 | row

    def add(self, shard: Shard) -> None:
        """Enters the clips of a shard; a place with a map wins over one without."""
        first = len(self.shards) << 32
        self.shards.append(shard)
        kept = shard.columns["kept"].tolist()
        for row, sha256 in enumerate(shard.sha256):
            known = self._places.setdefault(sha256, first | row)
            if known != first | row and kept[row] and not self.entry(sha256).kept:
                self._places[sha256] = first | row

    def __getitem__(self, sha256: str) -> tuple[Shard, int]:
        place = self._places[sha256]
        return self.shards[place >> 32], place & 0xFFFFFFFF

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def entry(self, sha256: str) -> Entry:
        """Returns what is known of a clip."""
        shard, row = self[sha256]
        return shard.entry(row)

    def rows(self, sha256s: Sequence[str]) -> "Rows":
        """Returns the pooled vectors and entries of some clips, in their order."""
        places = np.fromiter(map(self._places.__getitem__, sha256s), np.int64, len(sha256s))
        used, shard = np.unique(places >> 32, return_inverse=True)
        return Rows(tuple(self.shards[i] for i in used), shard.astype(np.int32), (places & 0xFFFFFFFF).astype(np.int32))


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Entry]):
    """The entries of some clips, made when asked for, and where their pooled vectors lie.

    Parameters
    ----------
    shards
        The files.
    shard, row
        `[clip]`, the place of each.
    """

    shards: tuple[Shard, ...]
    shard: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.row)

    @overload
    def __getitem__(self, position: int) -> Entry: ...

    @overload
    def __getitem__(self, position: slice) -> Sequence[Entry]: ...

    def __getitem__(self, position: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(position, slice):
            return Rows(self.shards, self.shard[position], self.row[position])
        return self.shards[self.shard[position]].entry(int(self.row[position]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def vector(self, position: int) -> Float[Tensor, " channel"]:
        """Returns one pooled vector, memory-mapped."""
        return self.shards[self.shard[position]].pooled[int(self.row[position])]

    def column(self, of: Callable[[Shard], np.ndarray]) -> Int[Tensor, " clip"]:
        """Returns a whole number of each clip, given those of a shard's rows."""
        values = np.empty(len(self), np.int64)
        for positions, shard in self._by_shard():
            values[positions] = of(shard)[self.row[positions]]
        return torch.from_numpy(values)

    def blocks(self) -> Iterator[Block]:
        """Yields positions and pooled vectors, shard by shard; memory-mapped where all rows of a shard are wanted."""
        for i, (positions, shard) in enumerate(self._by_shard()):
            for coming in self.shards[i + READ_AHEAD if i else 0 : i + READ_AHEAD + 1]:
                coming.read_ahead()
            rows, pooled = self.row[positions], shard.pooled
            whole = len(rows) == len(pooled) and bool((rows == np.arange(len(rows))).all())
            yield torch.from_numpy(positions), pooled if whole else pooled[torch.from_numpy(rows).long()]

    def _by_shard(self) -> Iterator[tuple[np.ndarray, Shard]]:
        """Yields the positions of the clips in each shard, by row."""
        order = np.lexsort((self.row, self.shard))
        ends = np.searchsorted(self.shard[order], np.arange(len(self.shards)), side="right")
        for first, end, shard in zip([0, *ends[:-1]], ends, self.shards, strict=True):
            yield order[first:end], shard


@dataclass(frozen=True, eq=False)
class ScannedClips:
    """The usable clips of a data set, sorted by id, with their pooled vectors.

    Parameters
    ----------
    clips, entries
        In the same order.
    broken
        A sentence for each clip that was skipped, by id.
    folder
        For a table of pooled vectors that is too large for memory.
    """

    clips: Sequence[Clip]
    entries: Rows
    broken: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.clips)

    @cached_property
    def n_cells(self) -> Int[Tensor, " clip"]:
        """Cells of each clip's map."""
        return self.entries.column(lambda shard: shard.n_cells)

    def blocks(self) -> Iterator[Block]:
        """Yields positions and pooled vectors in parts, as they lie on disk: nothing is assembled."""
        return self.entries.blocks()

    @cached_property
    def pooled(self) -> Float[Tensor, "clip channel"]:
        """`[clip, channel]`, the mean over cells of the lifted map.

        Assembled when first asked for: in memory or, beyond `IN_MEMORY_BYTES`, in a memory-mapped file without a name.
        """
        blocks = self.blocks()
        first = next(blocks)
        table = _table((len(self), first[1].shape[1]), first[1].dtype, self.folder)
        for positions, vectors in chain([first], blocks):
            table[positions] = vectors
        return table


def _table(shape: tuple[int, int], dtype: torch.dtype, folder: Path | None) -> Float[Tensor, "clip channel"]:
    """Returns room for a table, in memory or in a file that goes with its last user."""
    table = torch.empty(shape, dtype=dtype, device="meta")
    if table.nbytes <= IN_MEMORY_BYTES:
        return torch.empty(shape, dtype=dtype)
    with TemporaryFile(dir=folder) as file:
        file.truncate(table.nbytes)
        return torch.from_numpy(np.memmap(file, np.dtype(str(dtype).removeprefix("torch.")), "r+", shape=shape))
