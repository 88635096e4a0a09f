import math

import pytest
import torch
from tests.prototypes import tiny

from earmark.audio.waveform import Waveform
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError
from earmark.prototypes import cache as cache_module
from earmark.prototypes.cache import FeatureCache
from earmark.types import Clip

LENGTHS = (0.8, 0.5, 1.1)


@pytest.fixture(scope="module")
def classifier():
    return tiny.classifier()


def alone(classifier, clip):
    with torch.no_grad():
        return classifier.head.lift(classifier.tap(classifier.prepare(clip.source)).map)[0]


@pytest.mark.parametrize("kind", ["map", "marginals"])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_each_clip_is_as_if_alone(classifier, tmp_path, kind, batch_size):
    clips = tiny.clips(20, LENGTHS)
    cache = FeatureCache(classifier, tmp_path, kind, batch_size=batch_size)
    scanned = cache.scan(reversed(clips))
    assert [c.id for c in scanned.clips] == [c.id for c in clips]
    assert cache.n_backbone_passes == 20 and not scanned.broken
    for position, features in enumerate(cache.features(scanned, range(20))):
        maps = alone(classifier, clips[position])
        entry = scanned.entries[position]
        assert (entry.n_freq, entry.n_frames) == maps.shape[1:]
        assert scanned.n_cells[position] == maps[0].numel()
        torch.testing.assert_close(scanned.pooled[position], maps.mean((1, 2)), rtol=0, atol=1e-12)
        if kind == "map":
            torch.testing.assert_close(features.map, maps.permute(1, 2, 0), rtol=0, atol=1e-12)
        else:
            torch.testing.assert_close(features.time, maps.mean(1).T, rtol=0, atol=1e-12)
            torch.testing.assert_close(features.frequency, maps.mean(2).T, rtol=0, atol=1e-12)


def test_a_second_pass_computes_nothing(classifier, tmp_path):
    clips = tiny.files(tmp_path / "data")
    first = FeatureCache(classifier, tmp_path / "cache", "map").scan(clips)
    again = FeatureCache(classifier, tmp_path / "cache", "map")
    scanned = again.scan(clips)
    again.features(scanned, [3, 1])
    assert again.n_backbone_passes == 0
    assert torch.equal(scanned.pooled, first.pooled) and scanned.entries == first.entries


def test_marginals_come_from_maps_that_are_there(classifier, tmp_path):
    clips = tiny.clips(6, LENGTHS)
    FeatureCache(classifier, tmp_path, "map").scan(clips)
    cache = FeatureCache(classifier, tmp_path, "marginals")
    features = cache.features(cache.scan(clips), [4])[0]
    assert cache.n_backbone_passes == 0
    torch.testing.assert_close(features.frequency, alone(classifier, clips[4]).mean(2).T, rtol=0, atol=1e-12)


def test_another_classifier_shares_nothing(classifier, tmp_path):
    FeatureCache(classifier, tmp_path, "map").scan(tiny.clips(4))
    other = FeatureCache(tiny.classifier(seed=1), tmp_path, "map")
    other.scan(tiny.clips(4))
    assert other.n_backbone_passes == 4


def test_a_killed_pass_goes_on(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "SHARD_CLIPS", 4)
    clips = tiny.clips(20)

    def kill(done, total, values):
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureCache(classifier, tmp_path, "map", batch_size=2).scan(clips, kill)
    cache = FeatureCache(classifier, tmp_path, "map", batch_size=2)
    scanned = cache.scan(clips)
    assert cache.n_backbone_passes == 8
    whole = FeatureCache(classifier, tmp_path / "whole", "map").scan(clips)
    torch.testing.assert_close(scanned.pooled, whole.pooled, rtol=0, atol=1e-12)
    assert not list(tmp_path.rglob("*.part"))


def test_beyond_the_bound_selected_clips_pass_again(classifier, tmp_path):
    clips = tiny.clips(8)
    map_gb = alone(classifier, clips[0]).nbytes / 1e9
    cache = FeatureCache(classifier, tmp_path, "map", cache_gb=3.5 * map_gb)
    scanned = cache.scan(clips)
    assert [entry.kept for entry in scanned.entries] == [True] * 3 + [False] * 5
    assert sum(path.stat().st_size for path in tmp_path.rglob("shard-*")) < 3.5 * map_gb * 1e9 + 8000
    features = cache.features(scanned, [7, 0, 5])
    assert cache.n_backbone_passes == 8 + 2
    for position, found in zip([7, 0, 5], features, strict=True):
        torch.testing.assert_close(found.map, alone(classifier, clips[position]).permute(1, 2, 0), rtol=0, atol=1e-12)


def test_with_a_folder_beyond_the_bound_selected_clips_pass_again_once(classifier, tmp_path):
    clips = tiny.clips(8)
    cache = FeatureCache(classifier, tmp_path / "cache", "map", cache_gb=0.0, beyond=tmp_path / "beyond")
    scanned = cache.scan(clips)
    for positions in ([7, 0, 5], [0, 5], [5, 2, 7]):
        for position, found in zip(positions, cache.features(scanned, positions), strict=True):
            expected = alone(classifier, clips[position]).permute(1, 2, 0)
            torch.testing.assert_close(found.map, expected, rtol=0, atol=1e-12)
    assert cache.n_backbone_passes == 8 + 4
    assert len(list((tmp_path / "beyond").iterdir())) == 2
    assert cache.kept_bytes == 0


def test_selected_clips_are_kept_once_there_is_room(classifier, tmp_path):
    clips = tiny.clips(6)
    first = FeatureCache(classifier, tmp_path, "map", cache_gb=0.0).scan(clips)
    for passes in (6, 0):
        cache = FeatureCache(classifier, tmp_path, "map")
        scanned = cache.scan(clips)
        features = cache.features(scanned, range(6))
        assert cache.n_backbone_passes == passes
        assert torch.equal(scanned.pooled, first.pooled)
        for clip, found in zip(clips, features, strict=True):
            torch.testing.assert_close(found.map, alone(classifier, clip).permute(1, 2, 0), rtol=0, atol=1e-12)


class Failing(tiny.Net):
    """Fails where a batch holds a level above `limit`."""

    limit, error = math.inf, RuntimeError("too loud")

    def forward(self, features):
        if bool((features > self.limit).any()):
            raise self.error
        return super().forward(features)


def failing(clips, error):
    """Returns a classifier that fails for the first of some clips alone."""
    front_end = LogMel(sample_rate=tiny.RATE, n_fft=256, hop_length=80, n_mels=16)
    failing = wrap(Failing(), front_end, tiny.LABELS, map_layer="map", probe_s=1.0)
    levels = [float(failing.at(clip.source, "features").max()) for clip in clips]
    assert levels[0] > max(levels[1:])
    failing.module.limit, failing.module.error = (levels[0] + max(levels[1:])) / 2, error
    return failing


def loud_and_others():
    loud = Waveform(torch.sin(torch.arange(6400) / 4)[None], tiny.RATE)
    return [Clip("a-loud", loud), *tiny.clips(5)]


def test_of_a_failing_batch_only_the_clip_at_fault_is_broken(tmp_path):
    clips = loud_and_others()
    cache = FeatureCache(failing(clips, RuntimeError("too loud")), tmp_path, "map")
    scanned = cache.scan(clips)
    assert list(scanned.broken) == ["a-loud"] and "too loud" in scanned.broken["a-loud"]
    assert len(scanned) == 5 == cache.n_backbone_passes


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("DefaultCPUAllocator: ...")]
)
def test_running_out_of_memory_is_no_fault_of_a_clip(tmp_path, error):
    clips = loud_and_others()
    cache = FeatureCache(failing(clips, error), tmp_path, "map")
    with pytest.raises(type(error)):
        cache.scan(clips)


def test_broken_clips_are_named_and_skipped(classifier, tmp_path):
    clips = tiny.files(tmp_path, 6)
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    short = Clip("short", Waveform(torch.zeros(1, 80), tiny.RATE))
    bad = [Clip(name, tmp_path / f"{name}.wav") for name in ("text", "empty", "missing")]
    scanned = FeatureCache(classifier, tmp_path / "cache", "map").scan([*bad, short, *clips])
    assert [c.id for c in scanned.clips] == [c.id for c in clips]
    assert set(scanned.broken) == {"text", "empty", "missing", "short"}
    assert "text.wav is not a sound" in scanned.broken["text"]
    assert not any(str(tmp_path) in sentence for sentence in scanned.broken.values())


def test_no_usable_clip_is_an_error_that_gives_the_first_reason(classifier, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ModelError, match=r"text\.wav is not a sound"):
        FeatureCache(classifier, tmp_path / "cache", "map").scan([Clip("a", tmp_path / "text.wav")])
    with pytest.raises(ModelError, match="no clip"):
        FeatureCache(classifier, tmp_path / "cache", "map").scan([])


def test_a_damaged_shard_is_computed_again(classifier, tmp_path):
    clips = tiny.clips(4)
    FeatureCache(classifier, tmp_path, "map").scan(clips)
    (shard,) = tmp_path.rglob("shard-*")
    shard.write_bytes(shard.read_bytes()[:40])
    cache = FeatureCache(classifier, tmp_path, "map")
    assert len(cache.scan(clips)) == 4 and cache.n_backbone_passes == 4


def test_clips_made_by_a_function_are_made_once_per_pass(classifier, tmp_path):
    calls = []

    def make(i):
        calls.append(i)
        return tiny.sound(i, "click")

    clips = [Clip(f"made-{i}", lambda i=i: make(i)) for i in range(5)]
    FeatureCache(classifier, tmp_path, "map").scan(clips)
    assert sorted(calls) == list(range(5))


def test_known_clips_are_found_by_hash_without_their_sound(classifier, tmp_path):
    clips = tiny.clips(5, LENGTHS)
    first = FeatureCache(classifier, tmp_path, "map").scan(clips)
    hashes = [entry.sha256 for entry in first.entries]
    cache = FeatureCache(classifier, tmp_path, "map")
    again = cache.known(clips[::-1], hashes[::-1])
    assert torch.equal(again.pooled, first.pooled.flip(0)) and cache.n_backbone_passes == 0
    with pytest.raises(ModelError, match="no clip"):
        cache.known([], [])
