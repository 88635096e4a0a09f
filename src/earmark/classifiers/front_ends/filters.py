"""Filters that are triangles in mels, as Kaldi and TensorFlow have them; those in Hz are in `audio.mel`."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio import mel
from ...errors import InputError
from ..config import MelConfig


def of_config(config: MelConfig) -> Float[Tensor, "mel freq"]:
    """Returns the filters of a mel front end."""
    low_hz, high_hz = config.low_hz, top_hz(config)
    if config.triangles == "mel":
        bank = triangles_in_mels(config.sample_rate, config.n_fft, config.n_mels, low_hz, high_hz, config.scale)
        return bank * (2 / _widths_hz(config))[:, None].float() if config.area_norm else bank
    return mel.filter_bank(
        config.sample_rate,
        config.n_fft,
        config.n_mels,
        low_hz=low_hz,
        high_hz=high_hz,
        scale=config.scale,
        area_norm=config.area_norm,
    )


def top_hz(config: MelConfig) -> float:
    """Returns the upper end of the filters."""
    return config.sample_rate / 2 if config.high_hz is None else config.high_hz


def triangles_in_mels(
    sample_rate: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float, scale: mel.MelScale = "htk"
) -> Float[Tensor, "mel freq"]:
    """Returns filters `[mel, freq]`, float32, whose flanks are straight over mels: slightly bent over Hz."""
    if not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise InputError(
            f"Mel filters need 0 <= low_hz < high_hz <= {sample_rate / 2:g} Hz, got {low_hz} and {high_hz}."
        )
    ends = mel.hz_to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64), scale)
    points = torch.linspace(float(ends[0]), float(ends[1]), n_mels + 2, dtype=torch.float64)[:, None]
    bins = mel.hz_to_mel(torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft), scale)[None]
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    return torch.minimum(rising, falling).clamp_min(0).float()


def _widths_hz(config: MelConfig) -> Float[Tensor, " mel"]:
    points = mel.mel_points_hz(config.n_mels + 2, config.low_hz, top_hz(config), config.scale)
    return points[2:] - points[:-2]
