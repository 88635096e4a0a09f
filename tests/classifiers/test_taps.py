"""Taps: which layers are found, what one pass records, and what is refused."""

import pytest
import torch
from torch import nn

from earmark.classifiers.load import load_classifier
from earmark.classifiers.taps import count, find_taps, multiply_adds, tapped
from earmark.errors import ModelError
from earmark.testing.families import FAMILIES
from earmark.testing.toy_networks import toy_network
from earmark.testing.toys import band_classifier
from earmark.testing.untouched import untouched


def test_the_last_layer_of_each_resolution_is_tapped_coarse_to_fine():
    taps = find_taps(load_classifier("esc10-cnn"))
    assert [tap.layer for tap in taps] == ["blocks", "blocks.2.5", "blocks.1.5"]
    assert [(tap.n_channels, tap.n_freq, tap.n_frames) for tap in taps] == [(192, 8, 31), (96, 16, 62), (48, 32, 125)]


def test_named_layers_are_tapped_in_order_of_resolution():
    taps = find_taps(load_classifier("esc10-cnn"), ["blocks.0", "blocks.3"])
    assert [tap.layer for tap in taps] == ["blocks.3", "blocks.0"]
    assert [tap.n_channels for tap in taps] == [192, 24]


def test_one_pass_gives_logits_and_maps_bit_for_bit_and_leaves_the_model_alone():
    classifier = load_classifier("esc10-cnn")
    samples = classifier._noise(40_000)
    taps = find_taps(classifier)
    with untouched(classifier.module):
        seen = tapped(classifier, samples, taps)
    whole = classifier.tap(samples)
    assert torch.equal(seen.logits, whole.logits)
    assert torch.equal(seen.maps[0], whole.map)
    by_hand = classifier.module.blocks[:2](classifier.module.eval().norm(classifier.at(samples, "features"))[:, None])
    assert seen.maps[2].shape[1] == by_hand.shape[1]


def test_maps_of_one_axis_get_a_frequency_axis_of_one():
    classifier = toy_network(shape="line")
    taps = find_taps(classifier)
    maps = tapped(classifier, classifier._noise(), taps).maps
    assert all(one.ndim == 4 and one.shape[2] == 1 for one in maps)


@pytest.mark.parametrize("axes", ["FT", "TF"])
def test_the_order_of_axes_is_canonical(axes):
    classifier = band_classifier(map_axes=axes)
    samples = classifier._noise()
    assert torch.equal(tapped(classifier, samples, find_taps(classifier)).maps[0], classifier.tap(samples).map)


def test_a_layer_without_a_map_is_refused():
    with pytest.raises(ModelError, match=r"'linear' gives .* and one map .* was expected; tap another layer"):
        find_taps(load_classifier("esc10-cnn"), ["linear"])


def test_an_unknown_layer_is_refused_with_near_names():
    with pytest.raises(ModelError, match=r"did you mean 'blocks"):
        find_taps(load_classifier("esc10-cnn"), ["block"])


def test_maps_of_one_cell_are_refused():
    classifier = band_classifier(n_bands=1, cell_frames=100)
    with pytest.raises(ModelError, match="more than one cell"):
        find_taps(classifier)


@pytest.mark.parametrize("name", ["swin", "convnext"])
def test_what_a_network_has_in_other_orders_inside_is_no_tap(name):
    """Windows of attention and channels last have as many axes as maps; for another length their sizes mix them up."""
    classifier = FAMILIES[name]()
    taps = find_taps(classifier)
    assert taps[0].layer == classifier.map_layer and len(taps) > 1
    for n_samples in (8000, 24000):
        maps = tapped(classifier, classifier._noise(n_samples), taps).maps
        assert [tuple(one.shape[1:3]) for one in maps] == [(tap.n_channels, tap.n_freq) for tap in taps]
        assert maps[0].shape[3] == pytest.approx(taps[0].n_frames * n_samples / 16000, abs=1)


def test_multiply_adds_are_those_of_the_layers():
    layer = nn.Conv2d(3, 5, 3, padding=1)
    assert count(lambda: layer(torch.zeros(1, 3, 8, 10))) == 3 * 5 * 9 * 80
    small = load_classifier("esc10-cnn")
    one, two = (multiply_adds(small, small._noise().expand(n, -1)) for n in (1, 2))
    assert two == 2 * one
