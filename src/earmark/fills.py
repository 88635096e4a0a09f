"""What stands where a mask lets nothing through: silence, a mean, noise, or the clip made softer.

A gain `g` and a fill `F` give `g X + (1 - g) F`. At the stages `waveform` and `stft`, `X` and `F` are STFTs; a fill
that is a magnitude takes the clip's phase. At `features` they are features on the front end's own scale (decibels for a
log-mel front end), so that a gain of one half is half way from the clip to the fill **in decibels**, not half the
amplitude.

| name | `waveform`, `stft` | `features` |
|---|---|---|
| `silence` | zero | the features of silence: the front end's floor |
| `mean` | the clip's mean magnitude | the clip's mean feature |
| `band_mean` | its mean over frames, or `bands [freq]` | its mean over frames, or `bands [mel]` |
| `noise` | white noise `db` below the clip's rms | the features of that noise |
| `attenuation` | the clip `db` softer | the features of the clip `db` softer |

Multiplying features by the mask, as published code does, is `Fill("band_mean", bands=(0.0,) * n_mels)`. It is silence
only where silence has feature 0 (log1p features); on normalized log-mel features it stands for the data set's mean.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .audio.stft import Stft
from .classifiers.base import Classifier
from .errors import InputError
from .types import ComplexStft, Features, Samples, seeded

FILLS = ("silence", "mean", "band_mean", "noise", "attenuation")


@dataclass(frozen=True)
class Fill:
    """What stands where a mask lets nothing through; see the table of the module.

    Parameters
    ----------
    name
        `silence`, `mean`, `band_mean`, `noise` or `attenuation`.
    db
        How far noise lies below the clip's rms, or attenuation below the clip, in dB.
    seed
        Of the noise. All clips get the same noise at their own level, so that no clip depends on its batch mates.
    bands
        Values of `band_mean` from a data set instead of the clip: magnitudes `[freq]`, at stage `features` `[mel]`.
    """

    name: str = "silence"
    db: float = 30.0
    seed: int = 0
    bands: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.name not in FILLS:
            raise InputError(f"Fill {self.name!r} is unknown; choose one of {', '.join(FILLS)}.")
        if self.bands is not None and self.name != "band_mean":
            raise InputError(f"Only the fill 'band_mean' takes bands, got them for {self.name!r}; leave them out.")


def stft_fill(fill: Fill, samples: Samples, whole: ComplexStft, stft: Stft) -> ComplexStft:
    """Returns the fill of clips as an STFT of the shape of `whole`, the clips' own."""
    if fill.name == "silence":
        return torch.zeros_like(whole)
    if fill.name == "attenuation":
        return whole * _gain(fill)
    if fill.name == "noise":
        return stft(noise_below(samples, fill.db, fill.seed))
    phase = torch.where(whole == 0, 1, torch.sgn(whole))
    if fill.name == "mean":
        return phase * whole.abs().mean((1, 2), keepdim=True)
    return phase * _bands(fill, whole.abs())


def feature_fill(fill: Fill, samples: Samples, features: Features, classifier: Classifier) -> Features:
    """Returns the fill of clips on the features' own scale."""
    if fill.name == "silence":
        return classifier.at(torch.zeros_like(samples), "features")
    if fill.name == "attenuation":
        return classifier.at(samples * _gain(fill), "features")
    if fill.name == "noise":
        return classifier.at(noise_below(samples, fill.db, fill.seed), "features")
    if fill.name == "mean":
        return features.mean((1, 2), keepdim=True).expand_as(features)
    return _bands(fill, features).expand_as(features)


def noise_below(samples: Samples, db: float, seed: int) -> Samples:
    """Returns white noise whose rms lies exactly `db` below that of each clip."""
    noise = torch.randn(samples.shape[1], generator=seeded(seed), dtype=torch.float64).to(samples)
    rms = samples.square().mean(1, keepdim=True).sqrt()
    return noise / noise.square().mean().sqrt() * rms * 10 ** (-db / 20)


def _gain(fill: Fill) -> float:
    return 10 ** (-fill.db / 20)


def _bands(fill: Fill, like: Float[Tensor, "batch row frame"]) -> Float[Tensor, "_ row 1"]:
    if fill.bands is None:
        return like.mean(2, keepdim=True)
    if len(fill.bands) != like.shape[1]:
        raise InputError(f"The fill has {len(fill.bands)} bands, {like.shape[1]} were expected here; give one per row.")
    return torch.tensor(fill.bands, dtype=like.dtype, device=like.device)[None, :, None]
