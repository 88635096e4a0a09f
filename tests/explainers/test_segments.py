"""Parts: they cover each bin once, have the sizes that were asked for, and their sounds are local."""

import pytest
import torch

from earmark.audio.stft import Stft
from earmark.classifiers.base import Grid
from earmark.explainers import segments

GRID = Grid(8000, 8000, Stft(256, 64))


@pytest.mark.parametrize("kind", ["grid", "time", "frequency"])
def test_every_bin_belongs_to_one_part(kind):
    parts = segments.segment_parts(GRID, kind, 0.25, 1 / 3, 64)
    each = parts.spread(torch.eye(parts.n_parts))
    assert torch.equal(each.sum(0), torch.ones(GRID.shape)) and set(each.unique().tolist()) == {0.0, 1.0}
    assert bool((each.sum((1, 2)) > 0).all()) and parts.n_parts <= 64
    assert (parts.n_spans == 1) == (kind == "frequency") and (len(parts.components) == 1) == (kind == "time")
    values = torch.randn(1, parts.n_parts)
    assert torch.equal(parts.spread(values)[0], (values[0, :, None, None] * each).sum(0))


def test_bands_are_thirds_of_octaves_down_from_the_nyquist_frequency():
    index = segments.octave_bands(GRID.hz, 1 / 3)
    top = int(index[-1])
    for band, low, high in ((top, 4000 * 2 ** (-1 / 3), 4000), (top - 3, 4000 * 2 ** (-4 / 3), 2000)):
        inside = GRID.hz[index == band]
        assert float(inside.min()) >= low - 1e-3 and float(inside.max()) <= high
        assert float(inside.min()) - low < 31.25  # the next bin below is outside
    assert index.unique().tolist() == list(range(top + 1)) and int(index[0]) == 0


def test_parts_are_merged_evenly_and_as_little_as_needed():
    assert segments.merged_counts(25, 20, 1000) == (25, 20)
    assert segments.merged_counts(25, 20, 64) == (9, 7)
    assert segments.merged_counts(25, 20, 40) == (8, 5)
    assert segments.merged_counts(1, 20, 8) == (1, 8)
    assert segments.merged_counts(5, 5, 1) == (1, 1)
    sizes = torch.bincount(segments.even_index(251, 7))
    assert sizes.sum() == 251 and sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(("n_fft", "hop", "n_samples"), [(256, 64, 1000), (256, 100, 1001), (64, 32, 63), (30, 7, 500)])
def test_the_sound_of_some_frames_is_the_inverse_of_an_stft_that_is_zero_elsewhere(n_fft, hop, n_samples):
    stft = Stft(n_fft, hop)
    n_frames = stft.n_frames(n_samples)
    values = torch.randn(2, stft.n_freq, n_frames, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    for first in range(n_frames):
        for end in range(first + 1, min(first + 4, n_frames) + 1):
            alone = torch.zeros_like(values)
            alone[..., first:end] = values[..., first:end]
            start, sound = segments.local_inverse(stft, values[..., first:end], slice(first, end), n_samples)
            whole = torch.zeros(2, n_samples, dtype=torch.float64)
            whole[:, start : start + sound.shape[1]] = sound
            # 1e-12: rounding of float64 over the smallest sum of windows
            torch.testing.assert_close(whole, stft.inverse(alone, n_samples), rtol=0, atol=1e-12)
