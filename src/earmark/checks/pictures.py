"""Small pictures of maps, for a page: a byte for each pixel, the lowest row first, rows evenly spaced in mels."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..audio.mel import mel_points_hz
from ..classifiers.base import Grid

ROWS, COLUMNS = 48, 96


def small(values: Float[Tensor, "batch freq frame"], grid: Grid) -> UInt8[Tensor, "batch row column"]:
    """Returns roots of the positive parts of maps over their maxima, in 256 steps; a pixel is the mean over it.

    What is NaN is black.
    """
    positive = values.double().nan_to_num(0.0).clamp_min(0)
    rows = _shares(mel_points_hz(ROWS + 1, 0.0, grid.sample_rate / 2), grid.hz)
    columns = _shares(torch.linspace(0, grid.duration_s, COLUMNS + 1, dtype=torch.float64), grid.seconds)
    pooled = rows @ positive @ columns.T
    return (255 * (pooled / pooled.amax((1, 2), keepdim=True).clamp_min(1e-300)).sqrt()).round().to(torch.uint8)


def loudness(samples: Float[Tensor, "batch sample"], grid: Grid) -> UInt8[Tensor, "batch row column"]:
    """Returns spectrograms over a range of 80 dB below their maxima."""
    power = grid.stft(samples).abs().square().double().cpu()
    rows = _shares(mel_points_hz(ROWS + 1, 0.0, grid.sample_rate / 2), grid.hz)
    columns = _shares(torch.linspace(0, grid.duration_s, COLUMNS + 1, dtype=torch.float64), grid.seconds)
    decibels = 10 * (rows @ power @ columns.T).clamp_min(1e-30).log10()
    over = 1 + (decibels - decibels.amax((1, 2), keepdim=True)) / 80
    return (255 * over.clamp(0, 1)).round().to(torch.uint8)


def _shares(edges: Float[Tensor, " edge"], centers: Float[Tensor, " bin"]) -> Float[Tensor, "pixel bin"]:
    """Returns how much of each bin, which reaches halfway to its neighbors, lies in each pixel; rows sum to 1."""
    centers = centers.double()
    step = float(centers[1] - centers[0]) if len(centers) > 1 else 1.0
    low = torch.maximum(edges[:-1, None], centers[None] - step / 2)
    high = torch.minimum(edges[1:, None], centers[None] + step / 2)
    inside = (high - low).clamp_min(0)
    return inside / inside.sum(1, keepdim=True).clamp_min(1e-300)
