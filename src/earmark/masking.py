"""Where a mask meets the signal: gains on the STFT, what they let through, and how it re-enters the classifier.

Masks are linear amplitude gains in [0, 1] on the classifier's STFT grid; the clip keeps its phase. So what is masked
in and what is masked out add up to the clip. Losses, metrics and listening all call this module.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .audio.stft import Stft
from .audio.waveform import Waveform
from .classifiers.base import Classifier, Grid
from .classifiers.front_ends import FrontEnd
from .errors import ModelError
from .fills import Fill, feature_fill, stft_fill
from .types import ComplexStft, Features, Logits, Region, Samples, Stage

Gain = Float[Tensor, "batch freq frame"]
Values = Float[Tensor, "batch mel frame"]
MaskScale = Literal["linear", "log1p"]

SILENCE = Fill()


def mask_in(samples: Samples, gain: Gain, stft: Stft) -> Samples:
    """Returns what a gain lets through: `ISTFT(gain * STFT(samples))`, of the same length."""
    return stft.inverse(stft(samples) * gain, samples.shape[-1])


def mask_out(samples: Samples, gain: Gain, stft: Stft) -> Samples:
    """Returns what a gain takes away: the clip minus `mask_in`."""
    return samples - mask_in(samples, gain, stft)


def masked_logits(
    classifier: Classifier,
    samples: Samples,
    gain: Gain,
    at: Stage = "waveform",
    *,
    fill: Fill = SILENCE,
    mask_scale: MaskScale = "linear",
    whole: ComplexStft | None = None,
) -> Logits:
    """Returns the logits of a masked clip that re-enters the classifier at a stage, differentiable in the gain.

    Parameters
    ----------
    gain
        On the STFT grid. What is left out is scored by `1 - gain`.
    at
        `waveform`: the masked sound is made and passes the whole front end, so what is heard is what is scored.
        `stft`: the masked STFT goes on as it is, although it is the STFT of no sound; as in the literature.
        `features`: features are mixed with those of the fill, `m v + (1 - m) fill`, on the features' own scale; `m` is
        the gain seen through the front end's filters (`feature_gain`). No sound stands for the result.
    fill
        What stands where nothing is let through.
    mask_scale
        `log1p`, at `stft` only: the gain multiplies `log1p` of the magnitude, as L-MAC's published code does. There,
        one half is a compression and not 6 dB, and what is masked in and out does not add up to the clip.
    whole
        The clips' STFT, where it is at hand.

    Raises
    ------
    ModelError
        If the stage takes no gain, or not on this scale.
    """
    if mask_scale != "linear" and at != "stft":
        raise ModelError(f"A gain on the {mask_scale} magnitude re-enters at 'stft', got {at!r}; set at='stft'.")
    if at == "features":
        return classifier.logits(_masked_features(classifier, samples, gain, fill), at="features")
    if at not in ("waveform", "stft"):
        raise ModelError(f"A gain on the STFT re-enters at 'waveform', 'stft' or 'features', got {at!r}.")
    whole = classifier.stft(samples) if whole is None else whole
    masked = _masked_stft(classifier.stft, samples, whole, gain, fill, mask_scale)
    if at == "stft":
        return classifier.logits(masked, at="stft", n_samples=samples.shape[-1])
    return classifier.logits(classifier.stft.inverse(masked, samples.shape[-1]))


def feature_gain(
    gain: Gain, front_end: FrontEnd, n_samples: int, shape: tuple[int, int]
) -> Float[Tensor, "batch mel column"]:
    """Returns a gain as the features see it: `[batch, mel, frame]`, in [0, 1].

    Row k is the mean of the gain over frequency, weighted with filter k where the front end has filters, else with the
    share of each bin that lies between the borders of row k. Columns are interpolated at the features' own times.

    Parameters
    ----------
    shape
        Rows and columns of the features.
    """
    rows = _row_weights(front_end).to(gain) @ gain
    start_s, step_s = front_end.column_s()
    centers = (start_s + step_s * torch.arange(shape[1])) * front_end.sample_rate / front_end.stft.hop_length
    centers = centers.clamp(0, rows.shape[-1] - 1).double()
    left = centers.floor().long().clamp_max(rows.shape[-1] - 1)
    part = (centers - left).to(gain)
    return torch.lerp(rows[..., left], rows[..., (left + 1).clamp_max(rows.shape[-1] - 1)], part)


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


def _masked_stft(
    stft: Stft, samples: Samples, whole: ComplexStft, gain: Gain, fill: Fill, mask_scale: MaskScale
) -> ComplexStft:
    if mask_scale == "linear":
        kept = whole * gain
        return kept if fill.name == "silence" else kept + stft_fill(fill, samples, whole, stft) * (1 - gain)
    filled = stft_fill(fill, samples, whole, stft).abs().log1p()
    magnitude = (gain * whole.abs().log1p() + (1 - gain) * filled).expm1()
    return magnitude * torch.where(whole == 0, 1, torch.sgn(whole))


def _masked_features(classifier: Classifier, samples: Samples, gain: Gain, fill: Fill) -> Features:
    features = classifier.at(samples, "features")
    shape = (features.shape[1], features.shape[2])
    kept = feature_gain(gain.to(features), classifier.front_end, samples.shape[-1], shape)
    return mixed_features(classifier, samples, features, kept, fill)


def mixed_features(classifier: Classifier, samples: Samples, features: Features, kept: Values, fill: Fill) -> Features:
    """Returns `kept features + (1 - kept) fill`, for a gain `[batch, mel, frame]` on the features' own grid."""
    return kept * features + (1 - kept) * feature_fill(fill, samples, features, classifier)


def _row_weights(front_end: FrontEnd) -> Float[Tensor, "mel freq"]:
    """Returns how much each bin counts for each feature row; rows sum to 1."""
    edges = front_end.row_edges_hz().double()
    width = front_end.sample_rate / front_end.stft.n_fft
    low = torch.arange(front_end.stft.n_freq, dtype=torch.float64) * width - width / 2
    weights = (torch.minimum(edges[1:, None], low + width) - torch.maximum(edges[:-1, None], low)).clamp_min(0)
    filters = front_end.bin_weights()
    if filters is not None:
        filters = filters.double().cpu()
        weights = torch.where(filters.sum(1, keepdim=True) > 0, filters, weights)  # some are narrower than a bin
    return weights / weights.sum(1, keepdim=True)


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
