"""Trunk and planes: any length, rows at their place in hertz, levels as defined."""

import pytest
import torch

from earmark.classifiers.base import Grid
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.taps import Tap
from earmark.explainers.decoders import FLOOR_DB, N_LEVELS, Planes, Trunk, levels, row_positions
from earmark.training.loop import seeded_globals

TAPS = (Tap("deep", 6, 2, 5), Tap("fine", 4, 8, 20))


def maps(batch=2, scale=1):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, tap.n_channels, tap.n_freq, tap.n_frames * scale, generator=generator) for tap in TAPS]


def trunk(n_labels=0):
    with seeded_globals(1):
        return Trunk(TAPS, 7, n_labels)


def test_a_trunk_gives_the_finest_resolution_for_any_length():
    for scale in (1, 3):
        assert trunk()(maps(scale=scale)).shape == (2, 7, 8, 20 * scale)


def test_clips_do_not_depend_on_their_batch():
    both = trunk()(maps())
    alone = trunk()([one[1:] for one in maps()])
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-6)  # convolutions may sum in another order


def test_a_calibrated_trunk_does_not_see_the_scale_of_a_tap():
    first, second = trunk(), trunk()
    found = maps()
    larger = [found[0] * 1000, found[1] / 1000]
    first.calibrate(found)
    second.calibrate(larger)
    torch.testing.assert_close(first(found), second(larger), rtol=1e-4, atol=1e-5)  # float32 divisions


def test_what_is_asked_changes_what_is_seen():
    asked = torch.eye(3)[:2]
    same = torch.eye(3)[[0, 0]]
    found = [one[:1].expand(2, -1, -1, -1) for one in maps()]
    assert not torch.equal(*trunk(3)(found, asked))
    assert torch.equal(*trunk(3)(found, same))


def test_rows_are_read_at_the_place_of_each_bin():
    front_end = LogMel(sample_rate=16000, n_fft=512, hop_length=160, n_mels=20)
    at = row_positions(front_end, Grid(16000, 16000, front_end.stft))
    edges = front_end.row_edges_hz()
    hz = torch.arange(257) * 16000 / 512
    inside = (hz >= edges[0]) & (hz < edges[-1])
    row = (at * 20).floor().long()[inside]
    assert (edges[row] <= hz[inside] + 1e-6).all() and (hz[inside] <= edges[row + 1] + 1e-6).all()


def test_planes_of_a_constant_map_are_constant_whatever_the_grid():
    planes = Planes(4, 2, 8)
    with torch.no_grad():
        planes.convolution.weight.zero_()
        planes.convolution.bias.copy_(torch.arange(planes.convolution.out_channels).float())
    read = planes(torch.ones(1, 4, 8, 6), torch.linspace(0, 1, 33), 17)
    assert read.shape == (1, 2, 33, 17)
    rows = planes.rows_per_cell
    expected = torch.arange(2 * rows).view(2, rows).float()
    assert read[0].amin((1, 2)).tolist() == expected.amin(1).tolist()
    assert read[0].amax((1, 2)).tolist() == expected.amax(1).tolist()


def test_a_map_without_frequencies_still_gives_rows():
    planes = Planes(4, 1, 1)
    read = planes(torch.randn(1, 4, 1, 9), torch.linspace(0, 1, 65), 9)
    assert read.std(2).mean() > 0


def test_levels_are_decibels_below_the_loudest_bin():
    whole = torch.zeros(1, 9, 7, dtype=torch.complex64)
    whole[0, 3, 2], whole[0, 5, 4] = 1, 0.1
    found = levels(whole)
    assert found.shape == (1, N_LEVELS, 9, 7)
    center = FLOOR_DB / 40
    assert found[0, 0, 3, 2] == pytest.approx(center)
    assert found[0, 0, 5, 4] == pytest.approx(center - 1)  # -20 dB
    assert found[0, 0, 0, 0] == pytest.approx(center - FLOOR_DB / 20)
    assert found[0, 1].mean(1).abs().max() < 1e-6 and found[0, 2].mean(0).abs().max() < 1e-6
    assert found[0, 3:, 3, 2].tolist() == [0, 0]  # nothing near it is louder


def test_levels_of_silence_are_finite_and_flat():
    found = levels(torch.zeros(1, 9, 7, dtype=torch.complex64))
    assert found.isfinite().all() and found[0, 1:].abs().max() == 0
