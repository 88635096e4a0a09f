"""What a decoder has invented: bands and moments in which its sound is louder than the clip."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ...types import Samples

FRAME_S = 0.05
LIMIT_DB = 6.0


def hallucination_share(sounds: Samples, clips: Samples, sample_rate: int) -> Float[Tensor, " batch"]:
    """Returns the share of a sound's energy that lies in cells more than 6 dB louder than in the clip, in [0, 1].

    Cells are thirds of octaves and 50 ms; a silent sound has 0.
    """
    ours, theirs = (band_energies(x, sample_rate) for x in (sounds, clips))
    beyond = ours > theirs * 10 ** (LIMIT_DB / 10)
    total = ours.sum((1, 2))
    return torch.where(total > 0, (ours * beyond).sum((1, 2)) / total.clamp_min(1e-300), 0)


def band_energies(samples: Samples, sample_rate: int) -> Float[Tensor, "batch band frame"]:
    """Returns energies of thirds of octaves in pieces of 50 ms, the last one continued with zeros."""
    length = max(2, round(FRAME_S * sample_rate))
    padded = torch.nn.functional.pad(samples.double(), (0, -samples.shape[-1] % length))
    power = torch.fft.rfft(padded.unflatten(1, (-1, length)), dim=2).abs().square()
    bands = _band_of_bin(length, sample_rate).to(power.device)
    energies = power.new_zeros(*power.shape[:2], int(bands.max()) + 1)
    return energies.index_add_(2, bands, power).transpose(1, 2)


def _band_of_bin(length: int, sample_rate: int) -> Tensor:
    """Returns the number of the third of an octave in which each bin lies, counted from those that hold bins."""
    hz = torch.arange(length // 2 + 1, dtype=torch.float64) * sample_rate / length
    thirds = (3 * (hz.clamp_min(hz[1]) / 1000).log2()).round()
    return (thirds - thirds[0]).long()


def snr_db(sound: Samples, again: Samples) -> float:
    """Returns the energy of a clip over that of what another one misses, in dB; NaN for silence."""
    energy, error = (float(x.double().square().sum()) for x in (sound, sound - again))
    return math.nan if energy == 0 else 10 * math.log10(energy / max(error, 1e-20 * energy))
