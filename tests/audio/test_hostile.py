"""A thousand damaged files: each is refused in a sentence or gives finite samples, quickly and in little memory.

Many more are in benchmarks/mutated_files.py.
"""

import re
import resource
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from earmark.audio.files import MAX_CHANNELS, read
from earmark.audio.pool import decoders
from earmark.errors import AudioError
from earmark.testing.hostile import FORMATS, MUTATIONS, mutant, mutants, whole_file

SLOWEST_S = 5.0  # most take 2 ms; a busy machine may stop a process for a while
CHILD_MB, GROWTH_MB = 100, 50  # a child takes 30 MB with soundfile and numpy


def peak_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def outcome(path):
    try:
        sound = read(path)
    except AudioError as error:
        assert str(error).startswith(path.name) or "part" in str(error)
        assert "crash" not in str(error), error
        return "refused"
    assert sound.samples.dtype == torch.float32
    assert torch.isfinite(sound.samples).all()
    assert 1 <= sound.n_channels <= MAX_CHANNELS
    assert 1 <= sound.n_samples < 10_000_000
    return "read"


def test_damaged_files_are_refused_or_read(tmp_path):
    path = tmp_path / "start.wav"
    path.write_bytes(whole_file("WAV"))
    read(path)
    children = decoders().children
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts, slowest = Counter(), 0.0
    for one in mutants(1000, seed=0):
        path = tmp_path / f"mutant{one.ending}"
        path.write_bytes(one.data)
        began = time.perf_counter()
        counts[one.format, outcome(path)] += 1
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < SLOWEST_S
    assert {key[0] for key in counts} == {kind for kind, *_ in FORMATS}
    assert all(counts[kind, "read"] >= 2 for kind, *_ in FORMATS)  # some damage does no harm
    assert all(counts[kind, "refused"] >= 100 for kind, *_ in FORMATS)
    assert decoders().children == children  # none died
    if sys.platform.startswith("linux"):
        assert max(map(peak_mb, children)) < CHILD_MB
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < GROWTH_MB


@pytest.mark.parametrize("kind, ending", [(kind, ending) for kind, ending, _ in FORMATS])
def test_what_is_mutated_is_in_order_at_first(tmp_path, kind, ending):
    for channels in (1, 2):
        path = tmp_path / f"a{ending}"
        path.write_bytes(whole_file(kind, channels))
        sound = read(path)
        assert (sound.n_channels, sound.sample_rate) == (channels, 16000)
        assert 0.3 <= sound.duration_s < 0.4


def test_mutants_are_reproducible_and_all_mutations_occur():
    first, again, other = (list(mutants(60, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert mutant(7, 1) == first[7]
    assert [one.format for one in first[:4]] == ["WAV", "FLAC", "OGG", "MP3"]
    assert set(MUTATIONS) <= {name for one in first for name in one.mutations}
    changed = [one.data not in (whole_file(one.format), whole_file(one.format, 2)) for one in first]
    assert sum(changed) > 55  # cutting nothing off changes nothing
