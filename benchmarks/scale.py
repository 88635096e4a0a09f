"""The bank scan and the feature cache over a million clips of 1,024 channels, against what disk and memory can do.

    python benchmarks/scale.py [--clips 1000000] [--channels 1024] [--threads 2] [--folder DIR]

Writes the shards of a cache (4.1 GB of pooled vectors, seeded; in each of two bases five strongest and five weakest
clips of each channel are planted), opens the cache, looks all clips up, scans them in both bases, cold (after the
kernel dropped the files) and warm, and removes them. In the same run: plain sequential reads of the same files, sums
over the same memory-mapped vectors, and matrix products of a batch. A share is of the bound: the slower of reading and,
in a basis, the product in float32.
"""

import argparse
import gc
import hashlib
import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch
from tables import markdown, put

from earmark.prototypes.cache import SHARD_CLIPS, FeatureCache
from earmark.prototypes.scan import strongest_and_weakest
from earmark.prototypes.shards import Entry, write_shard
from earmark.types import seeded

PLANTED = 5  # of each channel, sign and basis
PLACES = 20
TWIN_CHANNELS = 8  # compared, to the last place, with sorting float64 scores of all clips
READ_BYTES = 4 << 20
SIMULATED = SimpleNamespace(fingerprint="0" * 64)


def planting(n_clips, bases):
    """Returns the rows that are planted [basis, sign, rank, channel], and their vectors by row."""
    n_channels = len(bases[0])
    rows = torch.randperm(n_clips, generator=seeded(0, 1))[: 4 * PLANTED * n_channels]
    rows = rows.reshape(2, 2, PLANTED, n_channels)
    amplitude = torch.stack([40.0 - torch.arange(PLANTED), torch.arange(PLANTED) - 40.0])  # of noise: about 5 at most
    vectors = amplitude[None, :, :, None, None] * torch.stack(bases)[:, None, None]
    return rows, dict(zip(rows.flatten().tolist(), vectors.flatten(0, 3), strict=True))


def write(folder, n_clips, n_channels, planted):
    """Writes the shards; returns the hash of each clip."""
    hashes = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n_clips)]
    for first in range(0, n_clips, SHARD_CLIPS):
        entries = [Entry(sha256, 4, 10, 220500, 5.0, False) for sha256 in hashes[first : first + SHARD_CLIPS]]
        pooled = torch.randn(len(entries), n_channels, generator=seeded(0, 2, first))
        for i in range(len(entries)):
            if first + i in planted:
                pooled[i] = 0.1 * pooled[i] + planted[first + i]
        write_shard(folder, "marginals", SIMULATED.fingerprint, entries, {"pooled": pooled})
    os.sync()
    return hashes


def forget(paths):
    """Drops files from the page cache; what a process has mapped and touched stays."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(paths, n_threads):
    """Reads files into a small buffer and forgets the bytes; returns seconds."""
    local = threading.local()

    def one(path):
        if not hasattr(local, "buffer"):
            local.buffer = bytearray(READ_BYTES)
        with path.open("rb", buffering=0) as file:
            while file.readinto(local.buffer):
                pass

    began = time.perf_counter()
    with ThreadPoolExecutor(n_threads) as pool:
        deque(pool.map(one, paths), maxlen=0)
    return time.perf_counter() - began


def best(function, repeats):
    """Returns the least seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def gflops(dtype, n_channels):
    """Returns GFLOP/s of products of a shard, and GFLOP for each second of CPU time."""
    a = torch.randn(n_channels, n_channels, generator=seeded(1)).to(dtype)
    b = torch.randn(SHARD_CLIPS, n_channels, generator=seeded(2)).to(dtype)
    out, work = torch.empty(n_channels, SHARD_CLIPS, dtype=dtype), 2e-9 * a.numel() * len(b)
    began = time.process_time()
    fastest = best(lambda: torch.mm(a, b.T, out=out), 20)
    return work / fastest, 20 * work / (time.process_time() - began)


class AnonymousMemory:
    """The most anonymous memory while the context lasts, above that at its start, in MB."""

    def __enter__(self):
        gc.collect()
        self.start, self.peak, self.ended = self.now(), 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def watch(self):
        while not self.ended.wait(0.01):
            self.peak = max(self.peak, self.now() - self.start)

    @staticmethod
    def now():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3


def is_planted(tops, rows):
    """Returns whether the planted clips are found, in order."""
    return all(torch.equal(top.ids[:PLANTED], of_sign) for top, of_sign in zip(tops, rows, strict=True))


def is_sorted(tops, scanned, U):
    """Returns whether, in a few channels, every place is that of sorting float64 scores of all clips."""
    channels = torch.arange(0, len(U), len(U) // TWIN_CHANNELS)
    scores = torch.empty(len(scanned), len(channels), dtype=torch.float64)
    for positions, vectors in scanned.blocks():
        scores[positions] = vectors.double() @ U[channels].double().T
    orders = [scores.argsort(dim=0, descending=descending, stable=True)[:PLACES] for descending in (True, False)]
    return all(torch.equal(top.ids[:, channels], order) for top, order in zip(tops, orders, strict=True))


def measure(opened, paths, U, rows, repeats):
    """Returns seconds cold and warm, CPU time, peak anonymous memory in MB, and whether the outcome is right."""
    seconds = []
    for _ in range(repeats):
        scanned = opened()  # maps the files anew: none of their vectors has been touched
        gc.collect()
        forget(paths)
        with AnonymousMemory() as memory:
            began = time.perf_counter()
            tops = strongest_and_weakest(scanned, U, PLACES)
            seconds.append(time.perf_counter() - began)
    began = time.process_time()
    warm = best(lambda: strongest_and_weakest(scanned, U, PLACES), repeats)
    cpu = (time.process_time() - began) / repeats
    right = is_planted(tops, rows) and is_sorted(tops, scanned, U)
    return min(seconds), warm, cpu, memory.peak, right


def run(folder, n_clips, n_channels, repeats):
    """Returns the two tables."""
    U = torch.linalg.qr(torch.randn(n_channels, n_channels, generator=seeded(3), dtype=torch.float64))[0]
    bases = [torch.eye(n_channels, dtype=torch.float64), U]
    rows, planted = planting(n_clips, [basis.float() for basis in bases])
    began = time.perf_counter()
    hashes = write(folder / SIMULATED.fingerprint[:16] / "marginals", n_clips, n_channels, planted)
    written = time.perf_counter() - began
    paths = sorted(folder.rglob("shard-*"))
    gb = sum(path.stat().st_size for path in paths) / 1e9
    pooled_gb = 4e-9 * n_clips * n_channels

    forget(paths)
    with AnonymousMemory() as index_memory:
        began = time.perf_counter()
        cache = FeatureCache(SIMULATED, folder, "marginals")
        opened = time.perf_counter() - began
        began = time.perf_counter()
        scanned = cache.known(range(n_clips), hashes)
        found = time.perf_counter() - began

    disk = 0.0
    for n_threads in (1, 2) * repeats:
        forget(paths)
        disk = max(disk, gb / read(paths, n_threads))
    memory = pooled_gb / best(lambda one=scanned: [vectors.sum() for _, vectors in one.blocks()], 3)
    del cache, scanned
    (single, per_cpu_s), (double, _) = (gflops(dtype, n_channels) for dtype in (torch.float32, torch.float64))
    of_product = single / (2e-9 * n_clips * n_channels**2) * pooled_gb  # GB/s
    opened_anew = lambda: FeatureCache(SIMULATED, folder, "marginals").known(range(n_clips), hashes)  # noqa: E731
    table = []
    for name, basis, of_basis in zip(("U = I", "orthogonal U"), bases, rows, strict=True):
        cold, warm, cpu, peak, right = measure(opened_anew, paths, basis, of_basis, repeats)
        limit = of_product if name != "U = I" else float("inf")
        cold, warm = pooled_gb / cold, pooled_gb / warm
        shares = [f"{100 * value / min(limit, of):.0f} %" for value, of in ((cold, disk), (warm, memory))]
        table.append([name, cold, f"{100 * cold / disk:.0f} %", shares[0], warm, shares[1], cpu, peak, right])
    header = ["basis", "cold, GB/s", "of the disk", "of the bound", "warm, GB/s", "of the bound"]
    header += [
        "CPU time, warm, s",
        "peak anonymous memory, MB",
        "planted clips found, and all places those of sorting in float64",
    ]
    facts = [
        ["clips x channels, places of each channel and sign", f"{n_clips:,} x {n_channels:,}, {PLACES}"],
        ["pooled vectors, GB", pooled_gb],
        ["shards; writing them, s", f"{len(paths):,}; {written:.0f}"],
        ["reading the disk, GB/s", disk],
        ["reading memory (sums of the mapped vectors), GB/s", memory],
        ["products in float32, float64, GFLOP/s", f"{single:.0f}, {double:.0f}"],
        ["bound by the product in float32, GB/s", of_product],
        ["CPU time of the product alone, s", 2e-9 * n_clips * n_channels**2 / per_cpu_s],
        ["opening the cache (index of all shards), s", opened],
        ["looking up all clips by hash, s", found],
        ["anonymous memory of index and look-up, MB", index_memory.peak],
    ]
    return markdown(["", ""], facts) + "\n\n" + markdown(header, table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the files lie while they are measured")
    parser.add_argument("--print", action="store_true", help="prints, and leaves the README as it is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with TemporaryDirectory(prefix="scale-", dir=options.folder) as folder:
        text = run(Path(folder), options.clips, options.channels, options.repeats)
    if options.print:
        print(text)
    else:
        put("scale", f"python benchmarks/scale.py --clips {options.clips} --threads {options.threads}", text)


if __name__ == "__main__":
    main()
