"""FeatureCache: what the backbone says of each clip, computed once, on disk, memory-mapped.

A shard (see `shards`) holds the pooled vectors of some clips and, for each, its lifted map (`map.i`,
`[freq, frame, channel]`) or the map's means over rows (`time.i`, `[frame, channel]`) and over frames (`frequency.i`,
`[freq, channel]`). Shards appear by renaming, so that a killed pass loses at most the last one and goes on from there.
Clips are known by the sha256 of their sound, classifiers by their fingerprint.

Clips of one length go through the backbone together; no clip is ever padded, so that no cell of padding exists. Where
the maps would take more than `cache_gb`, a shard keeps pooled vectors only, and the clips that are selected pass the
backbone once more: what comes of them is kept for good if there is room by then, else as long as the folder `beyond`.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..audio.files import clip_sha256, load_clip
from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..errors import EarmarkError, ModelError
from ..types import Clip, Map, Samples
from .shards import Entry, Index, Kind, ScannedClips, Shard, write_shard

Progress = Callable[[int, int, dict[str, float]], None]  # done, in all, latest values

SHARD_CLIPS = 512
SHARD_BYTES = 64_000_000
BATCH_SAMPLES = 8_000_000  # 250 s at 32 kHz
WAITING_BATCHES = 4  # decoded clips of odd lengths that wait for others of theirs
N_WORKERS = 2


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """What is kept of one clip's map: the map itself, or its two means, channels last."""

    map: Float[Tensor, "freq frame channel"] | None = None
    time: Float[Tensor, "frame channel"] | None = None
    frequency: Float[Tensor, "freq channel"] | None = None

    @classmethod
    def of(cls, maps: Float[Tensor, "channel freq frame"], kind: Kind) -> "ClipFeatures":
        """Returns what a cache of this kind keeps of a map."""
        if kind == "map":
            return cls(map=maps.permute(1, 2, 0).contiguous())
        return cls(time=maps.mean(1).T.contiguous(), frequency=maps.mean(2).T.contiguous())

    def marginals(self) -> "ClipFeatures":
        """Returns the two means."""
        return self if self.map is None else ClipFeatures(time=self.map.mean(0), frequency=self.map.mean(1))

    def tensors(self) -> dict[str, Tensor]:
        """Returns what there is, by name."""
        parts = {"map": self.map, "time": self.time, "frequency": self.frequency}
        return {name: value for name, value in parts.items() if value is not None}

    @property
    def n_bytes(self) -> int:
        """Its size on disk."""
        return sum(value.nbytes for value in self.tensors().values())


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A clip that is ready for the backbone."""

    clip: Clip
    sha256: str
    samples: Samples
    duration_s: float

    @property
    def n_samples(self) -> int:
        return self.samples.shape[1]


class FeatureCache:
    """Features of clips for one classifier, in a folder.

    Parameters
    ----------
    classifier
        Its fingerprint is part of every key.
    folder
        May be shared by classifiers and kinds.
    kind
        `map` for the square view, `marginals` for the others; these also use maps that are there already.
    cache_gb
        Most disk space for maps, in units of 1e9 bytes.
    batch_size
        Clips of equal length in one forward pass.
    beyond
        A folder, the caller's to remove, for the maps of selected clips without room in `cache_gb`; without one these
        clips pass the backbone each time that they are asked for.

    Attributes
    ----------
    n_backbone_passes
        How many clips went through the backbone so far; 0 if all were known.
    root, kept_bytes
        The classifier's own folder, and the size of the maps that are kept for this kind.
    index
        Where known clips lie, by hash.
    """

    def __init__(
        self,
        classifier: Classifier,
        folder: str | Path,
        kind: Kind,
        *,
        cache_gb: float = 4.0,
        batch_size: int = 16,
        beyond: str | Path | None = None,
    ) -> None:
        self.classifier, self.kind, self.batch_size = classifier, kind, batch_size
        self.beyond = None if beyond is None else Path(beyond)
        self.limit_bytes = round(cache_gb * 1e9)
        self.n_backbone_passes = 0
        self.root = Path(folder) / classifier.fingerprint[:16]
        self.index = Index()
        self.kept_bytes = 0
        for known in ("map", "marginals") if kind == "marginals" else ("map",):
            self._read_index(known)

    def scan(self, clips: Iterable[Clip], progress: Progress | None = None) -> ScannedClips:
        """Returns pooled vectors of all clips that can be used, computing those that are not known.

        Raises
        ------
        ModelError
            If not a single clip could be used; the sentence gives the first reason.
        """
        ordered = sorted(clips, key=lambda clip: clip.id)
        broken: dict[str, str] = {}
        known: dict[str, str] = {}
        writer = _Writer(self, self.root / self.kind)
        for decoded in self._batches(self._decoded(ordered, known, broken, progress)):
            for done, features, (vector, n_freq, n_frames) in self._computed(decoded, broken):
                known[done.clip.id] = done.sha256
                kept = self._takes(features)
                entry = Entry(done.sha256, n_freq, n_frames, done.n_samples, done.duration_s, kept)
                writer.add(entry, features, vector)
            writer.flush_if_full()
        writer.flush()
        usable = [clip for clip in ordered if clip.id in known]
        return self.known(usable, [known[clip.id] for clip in usable], broken)

    def features(self, scanned: ScannedClips, positions: Sequence[int]) -> list[ClipFeatures]:
        """Returns what is kept of some clips, memory-mapped; those not kept pass the backbone again."""
        wanted = {scanned.entries[p].sha256: p for p in positions}
        again = self._again(scanned, {s: p for s, p in wanted.items() if not self.index.entry(s).kept})
        found = {s: again[s] if s in again else self._read(s) for s in wanted}
        return [found[scanned.entries[p].sha256] for p in positions]

    def _again(self, scanned: ScannedClips, missing: dict[str, int]) -> dict[str, ClipFeatures]:
        """Passes clips (positions by hash) through the backbone once more; returns what was not put on disk."""
        left: dict[str, ClipFeatures] = {}
        writers = [_Writer(self, self.root / self.kind)] + ([_Writer(self, self.beyond)] if self.beyond else [])
        decoded = (self._decode(scanned.clips[p], sha256) for sha256, p in missing.items())
        for batch in self._batches(decoded):
            for item, maps in zip(batch, self._forward(batch), strict=True):
                features, position = ClipFeatures.of(maps, self.kind), missing[item.sha256]
                entry, vector = replace(scanned.entries[position], kept=True), scanned.entries.vector(position)
                if self._takes(features):
                    writers[0].add(entry, features, vector)
                elif self.beyond:
                    writers[1].add(entry, features, vector)
                else:
                    left[item.sha256] = features
            for writer in writers:
                writer.flush_if_full()
        for writer in writers:
            writer.flush()
        return left

    def _takes(self, features: ClipFeatures) -> bool:
        """Returns whether there is room for features, and counts them if so."""
        if self.kept_bytes + features.n_bytes > self.limit_bytes:
            return False
        self.kept_bytes += features.n_bytes
        return True

    # -- decoding -------------------------------------------------------------------------------------------------

    def _decoded(
        self, clips: list[Clip], known: dict[str, str], broken: dict[str, str], progress: Progress | None
    ) -> Iterator[_Decoded]:
        """Yields the clips that are not in the cache, decoded; fills `known` and `broken`."""
        for done, (clip, result) in enumerate(_ahead(self._inspect, clips, 2 * self.batch_size), start=1):
            if isinstance(result, _Decoded):
                yield result
            elif isinstance(result, str):
                known[clip.id] = result
            else:
                folder = f"{clip.source.parent}{os.sep}" if isinstance(clip.source, Path) else ""
                broken[clip.id] = str(result).replace(folder, "") if folder else str(result)
            if progress:
                progress(done, len(clips), {})

    def _inspect(self, clip: Clip) -> "_Decoded | str | Exception":
        """Returns the hash of a clip that is known, else the clip decoded, or what is wrong with it."""
        try:
            if isinstance(clip.source, Path):
                sha256 = clip_sha256(clip)
                return sha256 if sha256 in self.index else self._decode(clip, sha256)
            waveform = load_clip(clip)  # made once, for its hash and for the backbone
            sha256 = clip_sha256(replace(clip, source=waveform, start_s=None, end_s=None))
            return sha256 if sha256 in self.index else self._prepared(clip, sha256, waveform)
        except (EarmarkError, OSError) as error:
            return error

    def _decode(self, clip: Clip, sha256: str) -> _Decoded:
        return self._prepared(clip, sha256, load_clip(clip))

    def _prepared(self, clip: Clip, sha256: str, waveform: Waveform) -> _Decoded:
        return _Decoded(clip, sha256, self.classifier.prepare(waveform), waveform.duration_s)

    # -- the backbone ---------------------------------------------------------------------------------------------

    def _batches(self, decoded: Iterable[_Decoded]) -> Iterator[list[_Decoded]]:
        """Yields clips of equal length together; a rare length waits until too many clips wait."""
        waiting: dict[int, list[_Decoded]] = {}
        for item in decoded:
            batch = waiting.setdefault(item.n_samples, [])
            batch.append(item)
            if len(batch) >= min(self.batch_size, BATCH_SAMPLES // item.n_samples):
                yield waiting.pop(item.n_samples)
            elif sum(map(len, waiting.values())) >= WAITING_BATCHES * self.batch_size:
                yield waiting.pop(max(waiting, key=lambda n: len(waiting[n])))
        yield from waiting.values()

    def _computed(
        self, batch: list[_Decoded], broken: dict[str, str]
    ) -> Iterator[tuple[_Decoded, ClipFeatures, tuple[Tensor, int, int]]]:
        """Yields features, and the pooled vector with the map's rows and frames; fills `broken`.

        A batch that fails is tried again clip by clip, so that only the clips at fault are named. Running out of memory
        is no clip's fault and ends the pass.
        """
        try:
            maps = self._forward(batch)
        except (EarmarkError, RuntimeError) as error:
            reason = error.__cause__ or error  # the classifier puts a module's error in words of its own
            if _is_out_of_memory(reason):
                raise reason from None
            if len(batch) == 1:
                broken[batch[0].clip.id] = str(error)
                return
            maps = None
        if maps is None:
            for item in batch:
                yield from self._computed([item], broken)
            return
        for item, one in zip(batch, maps, strict=True):
            if not bool(torch.isfinite(one).all()):
                broken[item.clip.id] = "Its map holds NaN or infinity; listen to the clip, or leave it out."
                continue
            yield item, ClipFeatures.of(one, self.kind), (one.mean((1, 2)), one.shape[1], one.shape[2])

    def _forward(self, batch: list[_Decoded]) -> Map:
        """Returns the lifted maps of clips of equal length, on the CPU, without frames of padding."""
        samples = torch.cat([item.samples for item in batch])
        with torch.no_grad():
            maps = self.classifier.tap(samples).map
            lifted = self.classifier.inside(self.classifier.head.lift(maps), samples.shape[-1]).cpu()
        self.n_backbone_passes += len(batch)
        return lifted if lifted.dtype == torch.float64 else lifted.float()

    # -- shards ---------------------------------------------------------------------------------------------------

    def _read_index(self, kind: Kind) -> None:
        """Reads the index of each shard of a kind; a file that is no shard of this version is passed over."""
        for path in sorted((self.root / kind).glob("shard-*.safetensors")):
            shard = Shard.read(path, kind, self.classifier.fingerprint)
            if shard is not None:
                self.index.add(shard)
                self.kept_bytes += path.stat().st_size if kind == self.kind else 0

    def _read(self, sha256: str) -> ClipFeatures:
        """Returns the features that are kept of a clip, without copying."""
        shard, row = self.index[sha256]
        names = ("map",) if shard.kind == "map" else ("time", "frequency")
        features = ClipFeatures(**{name: shard.file.get_tensor(f"{name}.{row}") for name in names})
        return features.marginals() if self.kind == "marginals" else features

    def known(
        self, clips: Sequence[Clip], sha256s: Sequence[str], broken: dict[str, str] | None = None
    ) -> ScannedClips:
        """Returns clips that are in the cache, given their hashes; nothing is computed.

        Raises
        ------
        ModelError
            If there is no clip; the sentence gives the first reason in `broken`.
        """
        broken = broken or {}
        if not clips:
            first = next(iter(broken.items()), ("", "there was no clip"))
            raise ModelError(f"No clip could be used; the first, {first[0]!r}: {first[1]}")
        return ScannedClips(tuple(clips), self.index.rows(sha256s), dict(sorted(broken.items())), self.root)


class _Writer:
    """Collects clips and writes a shard to a folder whenever enough have come."""

    def __init__(self, cache: FeatureCache, folder: Path) -> None:
        self.cache, self.folder = cache, folder
        self._clear()

    def _clear(self) -> None:
        self.entries: list[Entry] = []
        self.pooled: list[Tensor] = []
        self.tensors: dict[str, Tensor] = {}
        self.n_bytes = 0

    def add(self, entry: Entry, features: ClipFeatures, vector: Tensor) -> None:
        """Takes one clip's pooled vector, and its features if the entry says that they are kept."""
        if entry.kept:
            self.n_bytes += features.n_bytes
            row = len(self.entries)
            self.tensors |= {f"{name}.{row}": value for name, value in features.tensors().items()}
        self.entries.append(entry)
        self.pooled.append(vector)

    def flush_if_full(self) -> None:
        """Writes a shard if it is large enough; after a whole batch, so that a killed pass groups clips as before."""
        if len(self.entries) >= SHARD_CLIPS or self.n_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what has come."""
        if not self.entries:
            return
        tensors = {"pooled": torch.stack(self.pooled), **self.tensors}
        fingerprint = self.cache.classifier.fingerprint
        self.cache.index.add(write_shard(self.folder, self.cache.kind, fingerprint, self.entries, tensors))
        self._clear()


def _is_out_of_memory(error: BaseException) -> bool:
    """Returns whether memory ran out; on the CPU, torch says so by a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def _ahead(function: Callable[[Clip], Any], clips: Iterable[Clip], n_ahead: int) -> Iterator[tuple[Clip, Any]]:
    """Yields each clip with the function's result, in order; threads work on the next `n_ahead` clips."""
    with ThreadPoolExecutor(N_WORKERS) as pool:
        waiting: deque[tuple[Clip, Future[Any]]] = deque()
        for clip in clips:
            waiting.append((clip, pool.submit(function, clip)))
            if len(waiting) > n_ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
