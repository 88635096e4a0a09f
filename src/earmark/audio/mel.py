"""Mel filter banks (HTK and Slaney) and the compressions that models are trained on."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError

MelScale = Literal["htk", "slaney"]
Spectrogram = Float[Tensor, "batch freq frame"]

# Slaney's scale is linear below 1 kHz (200/3 Hz a mel) and logarithmic above (27 steps a factor of 6.4).
_SLANEY_HZ_PER_MEL = 200 / 3
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_LOG_STEP = math.log(6.4) / 27


def hz_to_mel(hz: Float[Tensor, "..."], scale: MelScale = "htk") -> Float[Tensor, "..."]:
    """Returns mels: `2595 log10(1 + f / 700)` for HTK, linear then logarithmic for Slaney."""
    if scale == "htk":
        return 2595 * torch.log10(1 + hz / 700)
    mels = hz / _SLANEY_HZ_PER_MEL
    break_mel = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
    upper = break_mel + torch.log(hz.clamp_min(1e-9) / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    return torch.where(hz >= _SLANEY_BREAK_HZ, upper, mels)


def mel_to_hz(mel: Float[Tensor, "..."], scale: MelScale = "htk") -> Float[Tensor, "..."]:
    """Returns hertz; the inverse of `hz_to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    break_mel = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
    upper = _SLANEY_BREAK_HZ * torch.exp(_SLANEY_LOG_STEP * (mel - break_mel))
    return torch.where(mel >= break_mel, upper, mel * _SLANEY_HZ_PER_MEL)


def mel_points_hz(n_points: int, low_hz: float, high_hz: float, scale: MelScale = "htk") -> Float[Tensor, " points"]:
    """Returns `n_points` frequencies in Hz that are equally spaced in mels from `low_hz` to `high_hz` (float64)."""
    ends = hz_to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64), scale)
    mels = torch.linspace(float(ends[0]), float(ends[1]), n_points, dtype=torch.float64)
    return mel_to_hz(mels, scale)


def filter_bank(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    *,
    low_hz: float = 0.0,
    high_hz: float | None = None,
    scale: MelScale = "htk",
    area_norm: bool = False,
) -> Float[Tensor, "mel freq"]:
    """Returns triangular filters `[mel, freq]`, float32; filter i rises from point i to i + 1 and falls to i + 2.

    Parameters
    ----------
    sample_rate
        In Hz; it is not optional, since a wrong default silently shifts every filter.
    low_hz, high_hz
        Ends of the bank; `None` is the Nyquist frequency.
    scale
        `htk` or `slaney`.
    area_norm
        Divide each filter by half its width in Hz, so that its area is one ("slaney" normalization).
    """
    high_hz = sample_rate / 2 if high_hz is None else high_hz
    if not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise InputError(
            f"Mel filters need 0 <= low_hz < high_hz <= {sample_rate / 2:g} Hz, got {low_hz} and {high_hz}."
        )
    points = mel_points_hz(n_mels + 2, low_hz, high_hz, scale)[:, None]
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[None] * (sample_rate / n_fft)
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    filters = torch.minimum(rising, falling).clamp_min(0)
    if area_norm:
        filters = filters * (2 / (points[2:] - points[:-2]))
    return filters.float()


def band_edges_hz(n_mels: int, low_hz: float, high_hz: float, scale: MelScale = "htk") -> Float[Tensor, " edges"]:
    """Returns the `n_mels + 1` borders between filters: midpoints, in mels, of neighboring filter centers.

    The first and last border are the ends of the bank.
    """
    points = mel_points_hz(2 * n_mels + 3, low_hz, high_hz, scale)
    edges = points[1::2][: n_mels + 1].clone()
    edges[0], edges[-1] = low_hz, high_hz
    return edges


def power_to_db(power: Spectrogram, *, floor: float = 1e-10, top_db: float | None = None) -> Spectrogram:
    """Returns `10 log10(max(power, floor))`, clamped `top_db` below the maximum **of each clip**.

    A clamp at the maximum of the batch, as in widespread front ends, makes the features of a clip depend on its
    batch mates; here they never do.
    """
    db = 10 * torch.log10(power.clamp_min(floor))
    if top_db is None:
        return db
    return torch.maximum(db, db.amax((1, 2), keepdim=True) - top_db)
