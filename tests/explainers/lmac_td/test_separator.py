"""What a mask depends on: alpha, the code, the maps, the asked label; and how two parts add up."""

import pytest
import torch

from earmark.explainers.lmac_td.autoencoder import autoencoder_of
from earmark.explainers.lmac_td.config import LmacTdConfig
from earmark.explainers.lmac_td.separator import FilterHead, Separator, band_positions
from earmark.testing.toy_networks import toy_network
from earmark.types import seeded

CLASSIFIER = toy_network()
SIZES = {"channels": 8, "blocks": 2, "width": 4}


def separator_of(classifier=CLASSIFIER, **changes):
    config = LmacTdConfig(**{**SIZES, **changes})
    code = autoencoder_of(config, classifier.sample_rate).requires_grad_(False)
    found = Separator.untrained(classifier, config, code)
    with torch.no_grad():  # so that no part of the network is silent
        for index, parameter in enumerate(found.masker.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(index)))
    return found


def clips(n_samples=2049, n_clips=2):
    return 0.1 * torch.randn(n_clips, n_samples, generator=seeded(4))


def looked(separator, samples):
    asked = torch.eye(3)[: len(samples)]
    look = separator.look(samples)
    code = separator.code.encode(samples)
    return look, code, asked


@pytest.mark.parametrize("basis", ["fourier", "random"])
@pytest.mark.parametrize("n_samples", [2048, 2049, 3001])
def test_masks_lie_between_0_and_1_on_the_code_of_any_length(basis, n_samples):
    separator = separator_of(basis=basis)
    look, code, asked = looked(separator, clips(n_samples))
    mask = separator.masker(code, look.maps, asked)
    assert mask.shape == code.shape and bool(((mask > 0) & (mask < 1)).all())
    assert separator.parts(look.samples, code, mask).inside.shape == (2, n_samples)


def test_with_alpha_0_the_maps_do_not_count():
    separator = separator_of(alpha=0.0)
    look, code, asked = looked(separator, clips())
    maps = [one.clone().requires_grad_() for one in look.maps]
    mask = separator.masker(code, maps, asked)
    assert all(g is None for g in torch.autograd.grad(mask.sum(), maps, allow_unused=True))
    assert torch.equal(mask, separator.masker(code, [one.flip(0) for one in look.maps], asked))


def test_with_alpha_1_the_code_does_not_count():
    separator = separator_of(alpha=1.0)
    look, code, asked = looked(separator, clips())
    mask = separator.masker(code, look.maps, asked)
    assert torch.equal(mask, separator.masker(code.flip(0) + 1, look.maps, asked))
    assert not torch.equal(mask, separator.masker(code, [one.flip(0) for one in look.maps], asked))


def test_between_them_both_count_and_so_does_the_asked_label():
    separator = separator_of()
    look, code, asked = looked(separator, clips())
    mask = separator.masker(code, look.maps, asked)
    assert not torch.equal(mask, separator.masker(code.flip(0), look.maps, asked))
    assert not torch.equal(mask, separator.masker(code, [one.flip(0) for one in look.maps], asked))
    assert not torch.equal(mask, separator.masker(code, look.maps, asked.flip(1)))
    unconditioned = separator_of(conditioned=False)
    mask = unconditioned.masker(code, look.maps, asked)
    assert torch.equal(mask, unconditioned.masker(code, look.maps, asked.flip(1)))


def test_a_mask_does_not_depend_on_the_level_of_the_clip_where_maps_do_not_count():
    separator = separator_of(alpha=0.0)
    look, code, asked = looked(separator, clips())
    louder = separator.masker(8 * code, look.maps, asked)  # a power of two: no rounding
    assert torch.allclose(louder, separator.masker(code, look.maps, asked), atol=1e-6)


def test_a_filter_and_its_negative_share_the_mask():
    separator = separator_of()
    look, code, asked = looked(separator, clips())
    first, second = separator.masker(code, look.maps, asked).chunk(2, 1)
    assert torch.equal(first, second)


@pytest.mark.parametrize("projection", [True, False])
def test_masks_of_ones_and_zeros(projection):
    separator = separator_of(projection=projection)
    look, code, _ = looked(separator, clips())
    whole = separator.code(look.samples)
    ones, zeros = (separator.parts(look.samples, code, f(code)) for f in (torch.ones_like, torch.zeros_like))
    assert torch.equal(ones.inside, whole) and not bool(zeros.inside.any())
    assert torch.equal(zeros.outside, look.samples if projection else whole)
    assert float(ones.outside.abs().max()) < 1e-5 * float(look.samples.abs().max()) * (1 if projection else 0) + 1e-6


def test_both_parts_add_up():
    look, code, _ = looked(separator_of(), clips())
    mask = torch.rand(code.shape, generator=seeded(9))
    projected = separator_of().parts(look.samples, code, mask)
    rounding = torch.finfo(torch.float32).eps * torch.maximum(projected.inside.abs(), look.samples.abs())
    assert bool(((projected.inside + projected.outside - look.samples).abs() <= rounding).all())
    published = separator_of(projection=False)
    parts = published.parts(look.samples, code, mask)
    assert float((parts.inside + parts.outside - published.code(look.samples)).abs().max()) < 1e-6


def test_bands_are_read_where_their_frequency_lies():
    positions = band_positions(CLASSIFIER, 64)
    edges = CLASSIFIER.front_end.row_edges_hz()
    hz = (torch.arange(64) + 0.5) * 8000 / 128
    rows = (positions * 16).floor().clamp_max(15).long()
    inside = (hz >= edges[0]) & (hz < edges[-1])
    assert bool((positions.diff() >= 0).all()) and float(positions[-1]) <= 1
    assert bool(((hz >= edges[rows] - 1e-6) & (hz <= edges[rows + 1] + 1e-6))[inside].all())


def test_many_rows_are_read_in_few():
    head = FilterHead(2, 100, 7)
    assert head.convolution.weight.shape == (7, 64, 1)
    assert head(torch.randn(1, 2, 100, 5, generator=seeded(1)), 33).shape == (1, 7, 33)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("shape", ["plane", "line"])
def test_maps_of_any_shape_and_precision_will_do(shape, double):
    classifier = toy_network(shape=shape, double=double)
    separator = separator_of(classifier)
    samples = clips().to(classifier.dtype)
    code, mask = separator.masks(separator.look(samples), torch.eye(3)[:2])
    assert mask.dtype == torch.float32
    assert separator.parts(samples, code, mask).inside.dtype == classifier.dtype


def test_the_compact_size_is_below_a_million_parameters():
    cost = separator_of(channels=64, blocks=6, width=16).cost()
    assert 0 < cost["parameters"] < 1_000_000
