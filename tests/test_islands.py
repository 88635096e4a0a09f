"""Islands are those of a flood fill, whatever their shape, and a map of noise costs no more than a smooth one."""

import time

import numpy as np
import pytest
import torch

from earmark.audio.stft import Stft
from earmark.classifiers.base import Grid
from earmark.islands import islands


def flooded(values, most=5):
    """Returns rows and columns of each island above half the maximum, the largest sum first: one bin at a time."""
    above, found = values > 0.5 * values.max(), []
    left = {(int(r), int(c)) for r, c in above.nonzero()}
    while left:
        todo, island = [min(left)], set()
        while todo:
            r, c = todo.pop()
            if (r, c) in left:
                left.discard((r, c))
                island.add((r, c))
                todo += [(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        found.append(island)
    found.sort(key=lambda island: -sum(float(values[p]) for p in island))
    return [
        (min(r for r, _ in i), max(r for r, _ in i), min(c for _, c in i), max(c for _, c in i)) for i in found[:most]
    ]


def grid_of(n_freq, n_frames):
    stft = Stft(2 * (n_freq - 1), n_freq // 2)
    return Grid(8000, (n_frames - 1) * stft.hop_length, stft)


def in_bins(region, grid):
    step_hz, step_s = grid.sample_rate / grid.stft.n_fft, grid.stft.hop_length / grid.sample_rate
    low, high = (round(hz / step_hz * 2) / 2 for hz in (region.low_hz, region.high_hz))
    first, last = (round(s / step_s * 2) / 2 for s in (region.start_s, region.end_s))
    n_freq, n_frames = grid.shape
    return (
        int(np.ceil(low)),
        int(np.floor(high)) if high < n_freq - 1 else n_freq - 1,
        int(np.ceil(first)),
        int(np.floor(last)) if last < n_frames - 1 else n_frames - 1,
    )


@pytest.mark.parametrize("seed", range(12))
def test_islands_are_those_of_a_flood_fill(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(17, 23, generator=generator) ** (1 + seed % 4)
    if seed % 2:
        values = torch.nn.functional.avg_pool2d(values[None], 3, 1, 1)[0] ** 6
    grid = grid_of(*values.shape)
    assert [in_bins(region, grid) for region in islands(values, grid)] == flooded(values)


def test_a_spiral_is_one_island():
    values, position, step = torch.zeros(33, 33), np.array([0, 0]), np.array([0, 1])
    for length in [32, *(n for n in range(32, 0, -2) for _ in (0, 1))]:
        for _ in range(length):
            values[tuple(position)] = 1.0
            position = position + step
        step = np.array([step[1], -step[0]])
    assert len(islands(values, grid_of(33, 33))) == len(flooded(values)) == 1


def test_nothing_positive_is_no_island():
    assert islands(torch.zeros(9, 9), grid_of(9, 9)) == [] and islands(-torch.ones(9, 9), grid_of(9, 9)) == []


def test_noise_of_full_size_takes_no_seconds():
    values = torch.rand(1025, 251, generator=torch.Generator().manual_seed(0))
    began = time.process_time()
    assert len(islands(values, grid_of(1025, 251))) <= 5
    assert time.process_time() - began < 2  # some tens of milliseconds; spreading labels bin by bin took ten seconds
