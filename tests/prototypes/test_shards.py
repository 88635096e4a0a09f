"""Shards, their index, and pooled vectors as they lie on disk."""

from pathlib import Path

import pytest
import torch

from earmark.prototypes import shards as shards_module
from earmark.prototypes.scan import scan
from earmark.prototypes.shards import Entry, Index, ScannedClips, Shard, write_shard
from earmark.types import Clip, seeded

WIDTH = 6


def entry(i, kept=False):
    return Entry(f"{i:064x}:0.5:None", 2 + i % 3, 5 + i, 1000 * i, i / 7, kept)


def clips(wanted):
    return [Clip(str(i), Path(f"{i}.wav")) for i in wanted]


def pooled(n, seed=0):
    return torch.randn(n, WIDTH, generator=seeded(seed))


@pytest.fixture
def index(tmp_path):
    """Three shards of clips 0 to 29, of which 20 to 29 lie in the last."""
    found, vectors = Index(), pooled(30)
    for first, end in ((0, 12), (12, 20), (20, 30)):
        entries = [entry(i) for i in range(first, end)]
        found.add(write_shard(tmp_path, "marginals", "f", entries, {"pooled": vectors[first:end]}))
    return found


def test_an_index_is_read_as_it_was_written(tmp_path, index):
    for shard in index.shards:
        again = Shard.read(shard.path, "marginals", "f")
        assert [again.entry(row) for row in range(len(again.sha256))] == [index.entry(s) for s in shard.sha256]
    assert index.entry(entry(17).sha256) == entry(17)
    assert [type(value) for value in vars_of(index.entry(entry(17).sha256))] == [str, int, int, int, float, bool]
    assert len(index) == 30 and entry(3).sha256 in index and "other" not in index


def vars_of(entry):
    return [getattr(entry, name) for name in entry.__slots__]


def test_other_classifiers_versions_and_files_are_passed_over(tmp_path, index, monkeypatch):
    path = index.shards[0].path
    assert Shard.read(path, "marginals", "g") is None
    monkeypatch.setattr(shards_module, "SCHEMA", 99)
    assert Shard.read(path, "marginals", "f") is None
    (tmp_path / "text").write_text("no shard")
    assert Shard.read(tmp_path / "text", "marginals", "f") is None
    assert Shard.read(tmp_path / "missing", "marginals", "f") is None


def test_a_place_with_a_map_wins_whichever_came_first(tmp_path):
    kept = write_shard(tmp_path / "a", "map", "f", [entry(1, kept=True)], {"pooled": pooled(1)})
    bare = write_shard(tmp_path / "b", "map", "f", [entry(1), entry(2)], {"pooled": pooled(2)})
    for order in ((kept, bare), (bare, kept)):
        index = Index()
        for shard in order:
            index.add(shard)
        assert index[entry(1).sha256] == (kept, 0) and index[entry(2).sha256] == (bare, 1)


@pytest.mark.parametrize("wanted", [range(30), range(29, -1, -1), range(12, 20), [25, 3, 3, 14, 3], [7]])
def test_vectors_are_those_of_the_clips_in_their_order(index, wanted):
    rows = index.rows([entry(i).sha256 for i in wanted])
    scanned = ScannedClips(clips(wanted), rows)
    expected = pooled(30)[list(wanted)]
    assert torch.equal(scanned.pooled, expected)
    assert list(rows) == [entry(i) for i in wanted] == list(rows[:])
    assert scanned.n_cells.tolist() == [e.n_freq * e.n_frames for e in rows]
    assert torch.equal(torch.stack([rows.vector(i) for i in range(len(rows))]), expected)
    positions = torch.cat([ids for ids, _ in scanned.blocks()])
    assert sorted(positions.tolist()) == list(range(len(rows)))
    assert all(torch.equal(vectors, expected[ids]) for ids, vectors in scanned.blocks())


def test_a_large_table_lies_in_a_file_without_a_name(index, tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "IN_MEMORY_BYTES", 100)
    before = sorted(tmp_path.iterdir())
    table = ScannedClips(clips(range(30)), index.rows([entry(i).sha256 for i in range(30)]), folder=tmp_path).pooled
    assert torch.equal(table, pooled(30)) and table[3].clone().add_(1).sum() == (pooled(30)[3] + 1).sum()
    assert sorted(tmp_path.iterdir()) == before


def anonymous_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by Linux's /proc")
def test_scanning_takes_no_memory_for_vectors(tmp_path):
    """50 MB of vectors in shards: whole blocks are mapped, and nothing of their size is allocated."""
    index, n, width = Index(), 49_152, 256
    for first in range(0, n, 4096):
        entries = [entry(i) for i in range(first, first + 4096)]
        table = torch.randn(4096, width, generator=seeded(first))
        index.add(write_shard(tmp_path, "marginals", "f", entries, {"pooled": table}))
    rows = index.rows([entry(i).sha256 for i in range(n)])
    del entries, table
    before, worst = anonymous_bytes(), 0

    def watched():
        nonlocal worst
        for block in rows.blocks():
            worst = max(worst, anonymous_bytes() - before)
            yield block

    strongest, _ = scan(watched(), torch.eye(width), 5)
    assert worst < 20_000_000, worst  # a batch is 1 MB; the rest is room that the allocator keeps
    expected = torch.cat([vectors for _, vectors in rows.blocks()]).topk(5, dim=0)
    assert torch.equal(strongest.ids, expected.indices) and torch.equal(strongest.scores, expected.values.double())
