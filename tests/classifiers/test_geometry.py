import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.classifiers import networks
from tests.reference import geometry as twin
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.geometry import Axis, Geometry, confirm_frames, probe_axes
from earmark.classifiers.small import SmallCnn, SmallCnnConfig
from earmark.classifiers.walk import Walk
from earmark.classifiers.wrap import wrap
from earmark.errors import ModelError
from earmark.testing.toys import band_classifier

SMALL = SmallCnnConfig(channels=(8, 8, 16, 16))
STACKS = {
    "valid": [(5, 2, 0), (3, 1, 0), (2, 2, 0)],
    "same": [(5, 2, 2), (3, 1, 1), (3, 2, 1)],
    "wide padding": [(5, 3, 3), (5, 2, 3)],
    "even kernels": [(4, 2, 1), (6, 1, 2), (2, 3, 0)],
}


def probe(module, shape, batch_axis=True):
    return probe_axes(lambda x: module(x[:, None] if batch_axis else x), shape, like=torch.zeros(()))


def lines(*axes):
    return [(axis.start, axis.jump, axis.n_cells) for axis in axes]


# Probing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed, scale", [*itertools.product(range(2), (1e-6, 0.1, 1.0))])
def test_convnext(seed, scale):
    """Known answers: 256 mels x 626 frames; with a small layer scale the blocks hardly widen what a cell sees."""
    network = networks.seeded(lambda: networks.convnext(scale=scale), seed)
    freq, frame = probe(network, (256, 626))
    assert lines(freq, frame) == [(15.5, 32, 8), (15.5, 32, 19)]
    assert twin.walk(twin.CONVNEXT) == (15.5, 32)
    assert frame.residual < 16


def test_convnext_of_128_mels():
    network = networks.seeded(networks.convnext)
    assert lines(*probe(network, (128, 501))) == [(15.5, 32, 4), (15.5, 32, 15)]


@pytest.mark.parametrize("seed, depth", [(0, 1), (1, 1), (0, 3)])
def test_resnet(seed, depth):
    """Padded odd kernels: cell i is centered at column 32 i, its first half outside."""
    network = networks.seeded(lambda: networks.resnet(depth), seed)
    freq, frame = probe(network, (256, 626))
    assert lines(freq, frame) == [(0, 32, 8), (0, 32, 20)]
    assert twin.walk(twin.RESNET) == (0, 32)
    assert frame.span(0) == (-0.5, 16)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_frames", [251, 101, 64, 27])
def test_small_cnn(seed, n_frames):
    network = networks.seeded(lambda: SmallCnn(SMALL), seed).eval()
    freq, frame = probe(network.backbone, (64, n_frames), batch_axis=False)
    assert lines(freq, frame) == [(3.5, 8, 8), (3.5, 8, n_frames // 8)]
    assert twin.walk(twin.SMALL) == (3.5, 8)


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("walked", [True, False])
def test_stacks_of_layers_lie_where_counting_says(name, walked):
    """With and without help of the walk: where receptive fields are seen whole, probing alone is exact."""
    layers = STACKS[name]
    pairs = itertools.pairwise([1, *(8 for _ in layers)])
    network = networks.seeded(
        lambda: nn.Sequential(*(nn.Conv2d(*pair, *layer) for pair, layer in zip(pairs, layers, strict=True)))
    )
    network = network if walked else nn.Sequential(Unfollowed(), network)
    freq, frame = probe(network, (96, 120))
    start, jump = twin.walk(layers)
    assert lines(freq, frame) == [(start, jump, twin.n_cells(layers, 96)), (start, jump, twin.n_cells(layers, 120))]
    assert frame.exact
    first, last = twin.field(layers, 3)
    assert frame.span(3, "receptive-field") == (first - 0.5, last + 0.5)


class Unfollowed(nn.Module):
    """The identity by way of a shape that no followed layer gives."""

    def forward(self, x):
        return x.unfold(3, 1, 1)[..., 0].repeat(1, 1, 2, 1)[:, :, : x.shape[2]].clone()


def test_causal_layers_are_centered_in_the_past():
    network = networks.seeded(
        lambda: nn.Sequential(
            nn.ZeroPad2d((4, 0, 2, 2)), nn.Conv2d(1, 8, 5), nn.ZeroPad2d((4, 0, 2, 2)), nn.Conv2d(8, 8, 5)
        )
    )
    freq, frame = probe(network, (40, 60))
    assert lines(freq, frame) == [(0, 1, 40), (-4, 1, 60)]


def test_axes_turned_around_are_seen():
    network = networks.seeded(networks.resnet)
    freq, frame = probe_axes(lambda x: network(x[:, None]).flip(2), (128, 501), like=torch.zeros(()))
    assert freq.jump < 0 or freq.residual > 16
    assert (frame.start, frame.jump) == (0, 32)


@pytest.mark.parametrize("shape", [(128, 501), (256, 256)])
def test_swapped_axes_are_seen(shape):
    for build in (networks.resnet, networks.convnext):
        network = networks.seeded(build)
        axes = probe_axes(lambda x, n=network: n(x[:, None]).transpose(2, 3), shape, like=torch.zeros(()))
        assert max(axis.residual / abs(axis.jump) for axis in axes) > 0.5  # what verify calls broken


def test_a_map_that_ignores_the_features_is_refused():
    with pytest.raises(ModelError, match="do not depend on the features"):
        probe_axes(lambda x: 0 * x[:, None, ::2, ::2], (8, 8), like=torch.zeros(()))


def test_probing_touches_neither_global_random_state_nor_the_module():
    network = networks.seeded(networks.resnet)
    state, weights = torch.get_rng_state(), [p.clone() for p in network.parameters()]
    probe(network, (64, 64))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None and torch.equal(p, w) for p, w in zip(network.parameters(), weights, strict=True))


def test_other_lengths_are_confirmed_without_probing():
    network = networks.seeded(lambda: SmallCnn(SMALL)).eval()
    known = probe(network.backbone, (64, 251), batch_axis=False)
    calls = []

    def backbone(x):
        calls.append(tuple(x.shape))
        return network.backbone(x)

    axes = confirm_frames(backbone, (64, 180), known, like=torch.zeros(()))
    assert axes is not None
    assert lines(*axes) == [(3.5, 8, 8), (3.5, 8, 22)]
    assert calls == [(1, 64, 180)]
    assert confirm_frames(lambda x: network.backbone(x).roll(1, 3), (64, 180), known, like=torch.zeros(())) is None


# The walk ---------------------------------------------------------------------------------------


def walked(module, shape):
    with torch.no_grad(), Walk(shape) as walk:
        out = module(torch.zeros(1, 1, *shape))
    return walk.lines((out.shape[2], out.shape[3]))


@pytest.mark.parametrize("name", STACKS)
def test_the_walk_counts(name):
    layers = STACKS[name]
    convolutions = nn.Sequential(*(nn.Conv2d(1, 1, *layer) for layer in layers))
    assert walked(convolutions, (96, 120)) == (twin.walk(layers),) * 2


def test_the_walk_follows_pools_pads_dilation_and_slices():
    pools = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d((2, 4)), nn.MaxPool2d(2, 1))
    assert walked(pools, (90, 121)) == ((0 + 1 + 2, 4), (0 + 3 + 4, 8))
    assert walked(nn.Conv2d(1, 1, 3, dilation=4), (50, 60)) == ((4, 1), (4, 1))
    padded = nn.Sequential(nn.ZeroPad2d((3, 1, 0, 2)), nn.Conv2d(1, 1, (1, 3), (1, 2)))
    assert walked(padded, (50, 60)) == ((0, 1), (-2, 2))
    sliced = networks.seeded(lambda: nn.Conv2d(1, 1, 1))
    sliced.forward = lambda x: x[:, :, 3:, 1::2]
    assert walked(sliced, (50, 60)) == ((3, 1), (1, 2))


def test_the_walk_knows_what_it_does_not_know():
    transposed = nn.Sequential(nn.ConvTranspose2d(1, 1, 2, 2), nn.Conv2d(1, 1, 3))
    assert walked(transposed, (50, 60)) is None
    chomped = nn.Conv2d(1, 1, (1, 5), padding=(0, 4))
    both_ways = nn.Sequential(chomped)
    both_ways.forward = lambda x: chomped(x)[..., :-4]
    assert walked(both_ways, (50, 60)) is None  # two ways to one shape disagree


def test_the_walk_tells_axes_apart():
    layer = nn.Conv2d(1, 1, (3, 5), (2, 4))
    with Walk((40, 90)) as walk:
        layer(torch.zeros(1, 1, 40, 90))
    assert walk.lines((19, 22)) == ((1, 2), (2, 4))
    with Walk((40, 90)) as walk:
        layer(torch.zeros(1, 1, 90, 40))  # a network that takes time first
    assert walk.lines((9, 44)) == ((2, 4), (1, 2))
    assert walk.lines((44, 9)) is None


# Cells, seconds and hertz -----------------------------------------------------------------------


def axis(**changes):
    return Axis(**{"n_cells": 4, "n_inputs": 50, "start": 5.5, "jump": 12.0, "reach": 20.0, **changes})


def test_cells_of_an_axis():
    assert axis().edges() == [-0.5, 11.5, 23.5, 35.5, 47.5]
    assert axis().centers() == [5.5, 17.5, 29.5, 41.5]
    assert axis().span(0) == (-0.5, 11.5)
    assert axis().span(1, "receptive-field") == (-0.5, 37.5)
    assert axis().span(1, "paper") == (12.0, 24.5)
    assert axis(start=0.0).edges() == [-0.5, 6, 18, 30, 42]


def geometry():
    edges = (0.0, 100.0, 300.0, 700.0, 1500.0, 3100.0)
    return Geometry(axis(n_cells=2, n_inputs=5, start=0.5, jump=2.0, reach=1.0), axis(), edges, (0.0, 0.01), 0.495)


def test_boxes_in_seconds_and_hertz():
    g = geometry()
    assert g.hz_edges == (0, 300, 1500)
    assert g.time_edges_s == pytest.approx((0, 0.115, 0.235, 0.355, 0.475))
    box = g.box(1, 2)
    assert (box.low_hz, box.high_hz) == (300, 1500)
    assert (box.start_s, box.end_s) == pytest.approx((0.235, 0.355))
    whole = g.box(None, None)
    assert (whole.start_s, whole.end_s, whole.low_hz, whole.high_hz) == (0, 0.495, 0, 3100)
    column, row = g.box(None, 0), g.box(0, None)
    assert (column.low_hz, column.high_hz, column.start_s) == (0, 3100, 0)
    assert (row.start_s, row.end_s, row.low_hz, row.high_hz) == (0, 0.495, 0, 300)
    paper = g.box(0, 3, "paper")
    assert (paper.low_hz, paper.high_hz) == (0, 500)  # 2.5 rows: half of the row from 300 to 700 Hz
    assert (paper.start_s, paper.end_s) == pytest.approx((0.37, 0.495))
    field = g.box(1, 1, "receptive-field")
    assert (field.low_hz, field.high_hz) == (300, 1500)
    assert (field.start_s, field.end_s) == pytest.approx((0.0, 0.375))


def test_boxes_of_the_published_convnext():
    """256 HTK mels to 16 kHz, hop 256 at 32 kHz: proportional scaling ends 18 frames late."""
    front_end = LogMel(sample_rate=32000, n_fft=2048, hop_length=256, n_mels=256, low_hz=0.0)
    freq, frame = (Axis(n, inputs, 15.5, 32.0, 16.0) for n, inputs in ((8, 256), (19, 626)))
    g = Geometry(freq, frame, tuple(front_end.row_edges_hz().tolist()), front_end.column_s(), 5.0)
    assert [round(f) for f in g.hz_edges] == [0, 345, 852, 1603, 2719, 4375, 6833, 10482, 16000]
    last = g.box(0, 18)
    assert (last.start_s, last.end_s) == pytest.approx((575.5 * 0.008, 607.5 * 0.008))
    # 18 frames, half of the last one beyond the clip's end
    assert g.box(0, 18, "paper").end_s - last.end_s == pytest.approx(0.144 - 0.004)


def test_points_are_sampled_bilinearly_between_true_centers():
    """A ramp over cell centers comes back as the ramp at every point between them."""
    g = geometry()
    hz = torch.tensor([0.0, 100.0, 200.0, 400.0, 700.0, 1100.0, 2000.0, 3100.0], dtype=torch.float64)
    rows = torch.tensor([-0.5, 0.5, 1.0, 1.75, 2.5, 3.0, 3.8125, 4.5], dtype=torch.float64)  # row i: [i - 1/2, i + 1/2]
    seconds = torch.linspace(0, 0.495, 100, dtype=torch.float64)
    columns = seconds / 0.01
    ramp = torch.tensor([[2.0], [6.0]], dtype=torch.float64) + torch.tensor([1.0, 4.0, 7.0, 10.0], dtype=torch.float64)
    values = g.sample(ramp, hz, seconds)
    across = 2 + 4 * ((rows - 0.5) / 2).clamp(0, 1)  # beyond the outermost centers, at rows 0.5 and 2.5: the cell's
    along = 1 + 3 * ((columns - 5.5) / 12).clamp(0, 3)
    torch.testing.assert_close(values, across[:, None] + along[None])


def test_padded_networks_are_sampled_at_their_own_centers():
    """A cell of a ResNet is centered at the start of its block of columns, not in the middle."""
    g = Geometry(axis(start=0.0), axis(start=0.0), tuple(float(i) for i in range(51)), (0.0, 0.01), 0.5)
    values = g.sample(
        torch.arange(4.0)[None] + 10 * torch.arange(4.0)[:, None], torch.tensor([12.5]), torch.tensor([0.3])
    )
    assert values.tolist() == [[pytest.approx(10 * 1.0 + 2.5)]]  # row 12 is the center of cell 1, column 30 between two


def test_sampling_a_constant_gives_the_constant():
    g = band_classifier().geometry(8000)
    grid = band_classifier().grid(8000)
    values = g.sample(torch.full((2, 8, 15), 3.0), grid.hz, grid.seconds)
    assert values.shape == (2, *grid.shape)
    torch.testing.assert_close(values, torch.full((2, *grid.shape), 3.0))


def test_maps_without_frequency():
    g = band_classifier(map_axes="T").geometry(8000)
    assert g.hz_edges == (0.0, 4000.0)
    assert (g.box(0, 3).low_hz, g.box(0, 3).high_hz) == (0.0, 4000.0)
    assert (g.box(0, 3).start_s, g.box(0, 3).end_s) == pytest.approx((23.5 * 0.008, 31.5 * 0.008))
    assert g.sample(torch.arange(15.0)[None], torch.tensor([100.0, 3000.0]), torch.tensor([27.5 * 0.008])).tolist() == [
        [pytest.approx(3.0)],
        [pytest.approx(3.0)],
    ]


# Sound ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [1, 6, 13])
def test_a_click_is_found_in_its_cell(cell):
    c = band_classifier()
    g = c.geometry(8000)
    edges = g.time_edges_s
    samples = torch.zeros(1, 8000, dtype=torch.float64)
    samples[0, round((edges[cell] + edges[cell + 1]) / 2 * 8000)] = 1.0
    assert int(c.at(samples, "map").sum((1, 2))[0].argmax()) == cell


@pytest.mark.parametrize("band", [0, 3, 7])
def test_a_tone_is_found_in_its_row(band):
    c = band_classifier()
    low, high = c.geometry(8000).hz_edges[band : band + 2]
    tone = Waveform(np.sin(2 * np.pi * (low + high) / 2 * np.arange(8000) / 8000), 8000)
    assert int(c.at(tone, "map").sum((1, 3))[0].argmax()) == band


def test_a_shift_by_a_cell_moves_the_map_by_a_cell():
    """A click in silence through a network of random weights: columns 8 frames apart see it in turn."""
    front_end = LogMel(sample_rate=16000, n_fft=512, hop_length=160, n_mels=64, std_db=10.0)
    module = networks.seeded(lambda: SmallCnn(SmallCnnConfig(64, 3, (8, 8, 16, 16))))
    c = wrap(module, front_end, ["a", "b", "c"], map_layer="blocks", head=module.head, probe_s=2.0)
    edges = c.geometry(32000).time_edges_s
    silent = c.at(torch.zeros(1, 32000), "map")
    found = []
    for cell in range(6, 18):
        samples = torch.zeros(1, 32000)
        samples[0, round((edges[cell] + edges[cell + 1]) / 2 * 16000)] = 0.9
        found.append((c.at(samples, "map") - silent).square().sum((1, 2))[0])
    peaks = [int(profile.argmax()) for profile in found]
    assert np.diff(peaks).tolist() == [1] * 11
    assert all(abs(peak - cell) <= 1 for peak, cell in zip(peaks, range(6, 18), strict=True))  # weights are random
    torch.testing.assert_close(found[0][2:-3], found[1][3:-2], rtol=1e-3, atol=1e-4)  # float32 dB of faint sound


def test_rows_that_are_no_bands_have_no_frequency():
    """Cepstral coefficients hear the whole band: boxes have it, and values are the mean over rows at every bin."""
    g = replace(geometry(), rows_are_hz=False)
    box = g.box(1, 2)
    assert (box.low_hz, box.high_hz) == (0, 3100)
    assert (box.start_s, box.end_s) == (geometry().box(1, 2).start_s, geometry().box(1, 2).end_s)
    values = g.sample(torch.tensor([[2.0] * 4, [6.0] * 4]), torch.tensor([50.0, 2000.0]), torch.tensor([0.1, 0.2]))
    assert torch.equal(values, torch.full((2, 2), 4.0))


def test_cells_that_share_the_field_of_a_window_are_told_apart():
    """Two windows of four patches, each mixed inside: borders of fields do not move from cell to cell, centers do."""

    def backbone(x):
        patches = x.unflatten(2, (-1, 4)).mean(3)[:, None]
        windows = patches.unflatten(3, (-1, 4))
        return (windows + 0.05 * windows.mean(4, keepdim=True)).flatten(3)

    frame = probe_axes(backbone, (8, 32), like=torch.zeros(()))[1]
    assert (frame.n_cells, frame.jump) == (8, 4.0)
    assert frame.start == pytest.approx(1.5, abs=1.0)
