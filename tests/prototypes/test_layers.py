import pytest
import torch
from tests.explainers.apex import encoders

from earmark.audio.waveform import Waveform
from earmark.prototypes.cache import FeatureCache
from earmark.prototypes.layers import scan_layers, tap_layers
from earmark.types import Clip


@pytest.fixture(scope="module")
def siblings():
    classifier = encoders.encoder()
    return [classifier.at_block(1), classifier.at_block(2)]


@pytest.mark.parametrize("kind", ["map", "marginals"])
def test_one_pass_for_all_layers_finds_what_each_would_find(kind, siblings, tmp_path):
    clips = encoders.clips(10)
    clips.append(Clip("short", Waveform(0.1 * torch.ones(1, 12000), encoders.RATE)))
    shared = [FeatureCache(one, tmp_path / "shared", kind, batch_size=4) for one in siblings]
    assert scan_layers(shared, clips) == 11
    for one, cache in zip(siblings, shared, strict=True):
        own = FeatureCache(one, tmp_path / "own", kind, batch_size=4)
        expected, found = own.scan(clips), cache.scan(clips)
        assert (own.n_backbone_passes, cache.n_backbone_passes) == (11, 0)
        assert torch.equal(found.pooled, expected.pooled)
        pairs = zip(cache.features(found, range(11)), own.features(expected, range(11)), strict=True)
        for a, b in pairs:
            assert all(torch.equal(value, b.tensors()[name]) for name, value in a.tensors().items())
    assert scan_layers(shared, clips) == 0


def test_what_one_layer_lacks_after_a_kill_is_computed(siblings, tmp_path):
    clips = encoders.clips(8)
    FeatureCache(siblings[0], tmp_path, "map").scan(clips)
    FeatureCache(siblings[1], tmp_path, "map").scan(clips[:3])
    caches = [FeatureCache(one, tmp_path, "map") for one in siblings]
    assert scan_layers(caches, clips) == 5
    assert [cache.scan(clips) and cache.n_backbone_passes for cache in caches] == [0, 0]


def test_clips_that_cannot_be_used_are_left_to_each_layer(siblings, tmp_path):
    clips = [*encoders.clips(4), Clip("empty", tmp_path / "nothing.wav")]
    caches = [FeatureCache(one, tmp_path, "map", batch_size=2) for one in siblings]
    assert scan_layers(caches, clips) == 4
    assert list(caches[0].scan(clips).broken) == ["empty"]


def test_other_modules_are_not_scanned_together(siblings, tmp_path):
    caches = [FeatureCache(one, tmp_path, "map") for one in (siblings[0], encoders.encoder())]
    assert scan_layers(caches, encoders.clips(3)) == 0


def test_layers_are_tapped_in_one_run(siblings):
    runs = []
    handle = siblings[0].module.register_forward_hook(lambda *_: runs.append(1))
    samples = torch.cat([siblings[0].prepare(c.source) for c in encoders.clips(3)])
    maps = tap_layers(siblings, samples)
    handle.remove()
    assert len(runs) == 1
    assert all(torch.equal(a, one.tap(samples).map) for a, one in zip(maps, siblings, strict=True))
