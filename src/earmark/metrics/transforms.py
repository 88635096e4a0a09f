"""Small changes of a sound, and how a map of the changed sound is taken back to the original's grid.

A change moves what sounds at time `t` and frequency `f` to `time_factor t + shift_s` and `pitch_ratio f`; noise, gain
and polarity move nothing. A map of the changed clip is read at these places, linearly interpolated, and compared where
they exist. Everything is on the classifier's rate and STFT grid.

Time is stretched by a phase vocoder of our own: frames of 64 ms (a power of two in samples), an eighth of that apart,
magnitudes interpolated, phases advanced by the difference of the neighboring frames (Flanagan and Golden, 1966; Dolson,
1986). Pitch is shifted by stretching and resampling with soxr. Both smear transients by some ten milliseconds and cost
a steady tone some 0.3 dB, which is part of the change that is measured.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import soxr
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from ..audio.stft import Stft
from ..classifiers.base import Grid
from ..types import ComplexStft, Samples, seeded

ChangeName = Literal["time_shift", "time_stretch", "pitch_shift", "white_noise", "pink_noise", "gain", "polarity"]
Values = Float[Tensor, "batch freq frame"]
Read = Float[Tensor, "batch _ _"]  # on another grid than the values
Stretched = Float[Tensor, "batch _"]


@dataclass(frozen=True)
class Change:
    """One change of a sound.

    Parameters
    ----------
    name
        What is done.
    amount
        `time_shift`: seconds, positive is later, what leaves the clip is lost and silence comes in. `time_stretch`: the
        new duration over the old. `pitch_shift`: semitones. `white_noise`, `pink_noise`: signal-to-noise ratio in dB
        over the clip. `gain`: dB. `polarity`: nothing.
    """

    name: ChangeName
    amount: float = 0.0

    @property
    def time_factor(self) -> float:
        """By how much times grow."""
        return self.amount if self.name == "time_stretch" else 1.0

    @property
    def shift_s(self) -> float:
        """By how many seconds everything comes later."""
        return self.amount if self.name == "time_shift" else 0.0

    @property
    def pitch_ratio(self) -> float:
        """By how much frequencies grow."""
        return 2 ** (self.amount / 12) if self.name == "pitch_shift" else 1.0

    def __call__(self, samples: Samples, sample_rate: int, seed: int = 0) -> Stretched:
        """Returns the changed clips, of another length for `time_stretch` alone.

        Parameters
        ----------
        seed
            Of noise; all clips get the same noise at their own level.
        """
        if self.name == "time_shift":
            return shifted(samples, round(self.amount * sample_rate))
        if self.name == "time_stretch":
            return stretched(samples, self.amount, sample_rate)
        if self.name == "pitch_shift":
            return repitched(samples, self.pitch_ratio, sample_rate)
        if self.name == "polarity":
            return -samples
        if self.name == "gain":
            return samples * 10 ** (self.amount / 20)
        return noisy(samples, self.amount, seed, pink=self.name == "pink_noise")

    def back(self, values: Values, changed: Grid, original: Grid) -> tuple[Read, Bool[Tensor, "_ _"]]:
        """Returns a map of the changed clip on the original's grid, and where both are defined.

        Parameters
        ----------
        values
            On the grid `changed`.
        """
        centers = torch.arange(original.shape[1], dtype=torch.float64) * original.stft.hop_length
        seconds = self.time_factor * centers / original.sample_rate + self.shift_s
        frames = seconds * changed.sample_rate / changed.stft.hop_length
        bins = self.pitch_ratio * torch.arange(original.shape[0], dtype=torch.float64)
        known_s = (seconds > -1e-9) & (seconds < changed.duration_s + 1e-9)
        known_hz = bins < original.shape[0] - 1 + 1e-9
        return _read(values, bins, frames), known_hz[:, None] & known_s[None]


#: The changes of the protocol.
CHANGES: tuple[Change, ...] = (
    *(Change("time_shift", sign * ms / 1000) for ms in (10, 50, 100, 250) for sign in (1, -1)),
    *(Change("time_stretch", factor) for factor in (0.9, 0.95, 1.05, 1.1)),
    *(Change("pitch_shift", sign * semitones) for semitones in (0.5, 1, 2) for sign in (1, -1)),
    *(Change("white_noise", snr) for snr in (40, 30, 20, 10)),
    *(Change("pink_noise", snr) for snr in (40, 30, 20, 10)),
    *(Change("gain", sign * db) for db in (3, 6, 12) for sign in (1, -1)),
    Change("polarity"),
)


def shifted(samples: Samples, n_later: int) -> Samples:
    """Returns clips of the same length that start `n_later` samples later (or earlier); silence fills the gap."""
    n_samples = samples.shape[1]
    n_later = max(-n_samples, min(n_samples, n_later))
    return torch.nn.functional.pad(samples, (n_later, -n_later))


def stretched(samples: Samples, factor: float, sample_rate: int) -> Stretched:
    """Returns clips that last `factor` times as long at the same pitch, `round(factor n)` samples."""
    stft = _vocoder(sample_rate)
    n_samples = max(1, round(samples.shape[1] * factor))
    slow = _advanced(stft(samples), stft.n_frames(n_samples), 1 / factor, stft)
    return stft.inverse(slow, n_samples)


def repitched(samples: Samples, ratio: float, sample_rate: int) -> Samples:
    """Returns clips of the same length whose frequencies are `ratio` times as high."""
    long = stretched(samples, ratio, sample_rate).double().cpu().numpy()
    same = np.stack([soxr.resample(clip, ratio, 1.0) for clip in long])
    missing = samples.shape[1] - same.shape[1]
    return torch.nn.functional.pad(torch.from_numpy(same).to(samples), (0, missing))


def noisy(samples: Samples, snr_db: float, seed: int = 0, *, pink: bool = False) -> Samples:
    """Returns clips with noise at exactly this signal-to-noise ratio of energies; pink noise has power ~ 1 / f."""
    n_samples = samples.shape[1]
    noise = torch.randn(n_samples, generator=seeded(seed, int(pink)), dtype=torch.float64)
    if pink:
        spectrum = torch.fft.rfft(noise) / torch.arange(n_samples // 2 + 1).clamp_min(1).sqrt()
        noise = torch.fft.irfft(spectrum, n_samples)
    noise = (noise / noise.square().mean().sqrt()).to(samples)
    return samples + noise * samples.square().mean(1, keepdim=True).sqrt() * 10 ** (-snr_db / 20)


def _vocoder(sample_rate: int) -> Stft:
    n_fft = 2 ** round(math.log2(0.064 * sample_rate))
    return Stft(n_fft, n_fft // 8)


def _advanced(stft: ComplexStft, n_frames: int, step: float, analysis: Stft) -> Complex[Tensor, "batch freq _"]:
    """Returns `n_frames` frames read every `step` frames: magnitudes interpolated, phases going on."""
    places = (torch.arange(n_frames, dtype=torch.float64) * step).clamp_max(stft.shape[2] - 1)
    left = places.floor().long()
    right = (left + 1).clamp_max(stft.shape[2] - 1)
    magnitude = torch.lerp(stft.abs()[..., left], stft.abs()[..., right], (places - left).to(stft.real))
    phase = stft.angle().double()
    carrier = 2 * math.pi * analysis.hop_length / analysis.n_fft * torch.arange(stft.shape[1], dtype=torch.float64)
    carrier = carrier[:, None].to(phase.device)
    turned = phase[..., right] - phase[..., left] - carrier
    advance = carrier + turned - 2 * math.pi * torch.round(turned / (2 * math.pi))
    total = torch.cumsum(torch.cat([phase[..., :1], advance[..., :-1]], -1), -1)
    return torch.polar(magnitude, (total % (2 * math.pi)).to(magnitude))


def _read(values: Values, bins: Tensor, frames: Tensor) -> Read:
    """Returns maps at fractional bins and frames; beyond the ends the last value holds."""
    rows = _between(values, bins, 1)
    return _between(rows, frames, 2)


def _between(values: Values, at: Tensor, dim: int) -> Read:
    at = at.clamp(0, values.shape[dim] - 1)
    left = at.floor().long()
    right = (left + 1).clamp_max(values.shape[dim] - 1)
    part = (at - left).to(values)
    part = part[:, None] if dim == 1 else part
    return torch.lerp(values.index_select(dim, left), values.index_select(dim, right), part)
