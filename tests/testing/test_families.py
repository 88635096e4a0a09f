"""Each family of the zoo is what it says: its tier, its map, where cells lie, and the same each time."""

from contextlib import contextmanager
from functools import cache

import pytest
import torch
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.checks.verify import verify
from earmark.testing.families import FAMILIES

#: First center and step of the map's rows and frames, in rows and columns of the features; by hand from the layers.
PLACES = {
    "resnet": ((0, 8), (0, 8)),
    "densenet": ((1, 4), (1, 4)),
    "densenet-functional": ((1, 4), (1, 4)),
    "mobilenet-v2": ((0, 8), (0, 8)),
    "mobilenet-v3": ((0, 8), (0, 8)),
    "efficientnet": ((0, 8), (0, 8)),
    "convnext": ((3.5, 8), (3.5, 8)),
    "birdset-convnext": ((3.5, 8), (3.5, 8)),
    "swin": ((3.5, 8), (3.5, 8)),
    "hts-at": ((3.5, 8), (3.5, 8)),
    "crnn": ((3.5, 8), (7.5, 16)),
    "ecapa": (None, (0, 1)),
    "samples-cnn": (None, (119.5, 256)),
    "panns-cnn14": (None, (15.5, 32)),
}


@cache
def family(name):
    return FAMILIES[name]()


def clips(classifier, n_clips=2):
    generator = torch.Generator().manual_seed(9)
    return 0.1 * torch.randn(n_clips, classifier.sample_rate, generator=generator)


def test_the_table_of_places_is_whole():
    assert PLACES.keys() <= FAMILIES.keys()
    assert all(each.tier in ("T0", "T1", "T2", "T3", "T4") and each.why for each in FAMILIES.values())


@pytest.mark.parametrize("name", PLACES)
def test_verify_passes_and_the_tier_is_as_expected(name):
    report = verify(family(name))
    failed = [f"{check.name}: {check.value}, {check.limit}" for check in report.checks if check.ok is False]
    assert not failed
    assert report.tier == FAMILIES[name].tier, FAMILIES[name].why


@pytest.mark.parametrize("name", PLACES)
def test_cells_lie_where_the_layers_put_them(name):
    """Where attention hides the place, it is fitted, to one row or column; else it is followed, and exact."""
    classifier = family(name)
    geometry = classifier.geometry(classifier.sample_rate)
    apart = 1.0 if name in ("swin", "hts-at") else 0.0
    for axis, place in zip((geometry.freq, geometry.frame), PLACES[name], strict=True):
        if place is None:
            assert axis.n_cells == 1
        else:
            assert abs(axis.start - place[0]) <= apart and axis.jump == place[1]


@pytest.mark.parametrize("name", PLACES)
def test_networks_are_small_alive_and_the_same_each_time(name):
    state = torch.get_rng_state()
    classifier, again = family(name), FAMILIES[name]()
    assert torch.equal(torch.get_rng_state(), state)
    assert classifier.fingerprint == again.fingerprint
    assert not any(part.training for part in classifier.module.modules())
    assert 4000 <= sum(p.numel() for p in classifier.module.parameters()) <= 80_000
    x = clips(classifier)
    maps, logits = classifier.at(x, "map"), classifier.logits(x)
    assert maps.flatten(2).std(2).gt(0).double().mean() > 0.7  # dead channels are few
    assert (logits[0] - logits[1]).abs().max() > 1e-3  # clips differ, labels too
    assert logits.std(1).min() > 1e-2


@pytest.mark.parametrize("name", PLACES)
def test_gradients_reach_the_waveform(name):
    """The gradient along a direction is the difference quotient, in float64: no layer cuts or bends it."""
    with doubled(family(name)) as classifier:
        x = clips(classifier, 1).double().requires_grad_(True)
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        (gradient,) = torch.autograd.grad(classifier.logits(x)[:, 0].sum(), x)
        slope = float((gradient * direction).sum())
        step = 1e-8  # so short that hardly a kink of a ReLU or a maximum is passed
        with torch.no_grad():
            ends = [float(classifier.logits(x + sign * step * direction)[0, 0]) for sign in (1, -1)]
    assert slope != 0
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-3)


@contextmanager
def doubled(classifier):
    """Makes a classifier compute in float64; float32 comes back bit for bit."""
    parts = classifier.module, classifier.front_end
    try:
        for part in parts:
            part.double()
        yield classifier
    finally:
        for part in parts:
            part.float()


def test_families_differ_in_what_their_heads_are_given():
    """The zoo holds planes in both orders, lines, tokens and channels last, features and samples, both tasks."""
    zoo = [family(name) for name in PLACES]
    assert {"FT", "TF", "T", "FTC"} <= {str(each.map_axes) for each in zoo}
    assert {"CFT", "CTF", "FT", "S"} <= {each.feature_axes for each in zoo}
    assert {each.task for each in zoo} == {"multiclass", "multilabel"}
    assert {FAMILIES[name].tier for name in PLACES} == {"T0", "T1", "T2", "T3", "T4"}


def test_a_clip_of_another_rate_and_length_is_predicted_by_all():
    clip = Waveform(0.1 * torch.randn(2, 30000, generator=torch.Generator().manual_seed(4)), 22050)
    for name in PLACES:
        assert family(name).predict(clip).logits.isfinite().all()


def test_batch_norms_are_those_of_a_trained_network():
    """Their statistics are of what they meet: noise goes in with mean near 0 and variance near 1 after the norm."""
    module = family("resnet").module
    norm = next(part for part in module.modules() if isinstance(part, nn.BatchNorm2d))
    assert norm.running_var.min() > 1e-4 and not torch.equal(norm.running_var, torch.ones_like(norm.running_var))
