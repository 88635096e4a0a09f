"""Where a mask meets the signal: gains on the STFT, what they let through, and how it re-enters the classifier.

Masks are linear amplitude gains in [0, 1] on the classifier's STFT grid; the clip keeps its phase. So what is masked
in and what is masked out add up to the clip. Losses, metrics and listening all call this module.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from .audio.stft import Stft
from .audio.waveform import Waveform
from .classifiers.base import Classifier, Grid
from .errors import ModelError
from .types import Logits, Region, Samples, Stage

Gain = Float[Tensor, "batch freq frame"]


def mask_in(samples: Samples, gain: Gain, stft: Stft) -> Samples:
    """Returns what a gain lets through: `ISTFT(gain * STFT(samples))`, of the same length."""
    return stft.inverse(stft(samples) * gain, samples.shape[-1])


def mask_out(samples: Samples, gain: Gain, stft: Stft) -> Samples:
    """Returns what a gain takes away: the clip minus `mask_in`."""
    return samples - mask_in(samples, gain, stft)


def masked_logits(classifier: Classifier, samples: Samples, gain: Gain, at: Stage = "waveform") -> Logits:
    """Returns the logits of a masked clip that re-enters the classifier at a stage.

    Parameters
    ----------
    at
        `waveform`: the masked sound is made and passes the whole front end, so what is heard is what is scored.
        `stft`: the masked STFT goes on as it is, although it is the STFT of no sound; as in the literature.
    """
    if at == "waveform":
        return classifier.logits(mask_in(samples, gain, classifier.stft))
    if at == "stft":
        return classifier.logits(classifier.stft(samples) * gain, at="stft", n_samples=samples.shape[-1])
    raise ModelError(f"A gain on the STFT re-enters at 'waveform' or 'stft', got {at!r}.")


def evidence_of(waveform: Waveform, gain: Float[Tensor, "freq frame"], grid: Grid) -> Waveform:
    """Returns what a gain keeps of a clip, at the clip's own rate, channels and length in samples.

    Each channel is resampled to the grid's rate, masked with its own phase, and resampled back. The complement is
    `waveform - evidence`: sound above the classifier's Nyquist frequency stays in the complement.
    """
    inside = waveform.resample(grid.sample_rate)
    kept = mask_in(inside.samples, gain.to(inside.samples).expand(inside.n_channels, -1, -1), grid.stft)
    return Waveform(kept, grid.sample_rate).resample(waveform.sample_rate).fit(waveform.n_samples)


def heard_in(regions: Iterable[Region], sound: Waveform, grid: Grid) -> Waveform:
    """Returns what a sound lets hear in regions of its own, masked with the analysis of an explanation's grid.

    Parameters
    ----------
    sound
        Any clip, such as a prototype's; its length need not be the explained clip's.
    grid
        Whose rate and STFT are used.
    """
    own = Grid(grid.sample_rate, sound.resample(grid.sample_rate).n_samples, grid.stft)
    return evidence_of(sound, region_gain(regions, own), own)


def complement_of(waveform: Waveform, evidence: Waveform) -> Waveform:
    """Returns the clip minus its evidence."""
    return Waveform(waveform.samples - evidence.samples, waveform.sample_rate)


def region_gain(regions: Iterable[Region], grid: Grid) -> Float[Tensor, "freq frame"]:
    """Returns the gain of the union of boxes with smooth edges, in [0, 1].

    The edges of a box are raised cosines, centered on its borders and half as wide as the box itself, but never wider
    than twice the way to the end of the clip or the band; where a box ends with these, it has no edge. Of overlapping
    boxes the larger gain counts.
    """
    gain = torch.zeros(grid.shape)
    for region in regions:
        rows = _window(grid.hz, region.low_hz, region.high_hz, grid.sample_rate / 2)
        columns = _window(grid.seconds, region.start_s, region.end_s, grid.duration_s)
        gain = torch.maximum(gain, rows[:, None] * columns[None])
    return gain


def region_mask(regions: Iterable[Region], grid: Grid) -> Float[Tensor, "freq frame"]:
    """Returns 1 where a bin's center lies in a box, else 0; hard edges."""
    mask = torch.zeros(grid.shape)
    for region in regions:
        rows = (grid.hz >= region.low_hz) & (grid.hz <= region.high_hz)
        columns = (grid.seconds >= region.start_s) & (grid.seconds <= region.end_s)
        mask[rows[:, None] & columns[None]] = 1
    return mask


def common_gain(*sounds: Waveform, ceiling: float = 0.999) -> float:
    """Returns the one gain, at most 1, with which none of the sounds clips."""
    return min(1.0, ceiling / max(max(sound.peak for sound in sounds), 1e-12))


def _window(position: Tensor, low: float, high: float, end: float) -> Tensor:
    """Returns a raised-cosine window over [low, high] within [0, end]."""
    half = max((high - low) / 2, 1e-9)
    window = torch.ones_like(position)
    if low > 0:
        window = window * _ease((position - low) / min(half, 2 * low) + 0.5)
    if high < end:
        window = window * _ease((high - position) / min(half, 2 * (end - high)) + 0.5)
    return window


def _ease(share: Tensor) -> Tensor:
    """Returns half a cosine from 0 to 1."""
    return 0.5 - 0.5 * torch.cos(torch.pi * share.clamp(0, 1))
