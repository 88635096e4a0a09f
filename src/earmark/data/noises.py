"""What is mixed into clips: white and pink noise, and pieces of recordings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from ..audio.files import info, load_clip
from ..audio.waveform import Waveform
from ..types import Clip
from ._ambience import LOWEST_HZ, fast_length

Array = Float[np.ndarray, " sample"]

COLORS = ("white", "pink")
MARGIN_S = 0.01  # read beyond a piece, so that its end is no end of what is resampled


def colored(color: str, n_samples: int, sample_rate: int, rng: np.random.Generator) -> Array:
    """Returns Gaussian noise, float64.

    Parameters
    ----------
    color
        `white`: the same power at all frequencies. `pink`: power falls as 1/f, 3.01 dB per octave, from 20 Hz on, and
        there is nothing below.
    sample_rate
        Hz; white noise does not depend on it.
    """
    if color == "white":
        return rng.standard_normal(n_samples)
    n = fast_length(max(n_samples, 2))
    hz = np.fft.rfftfreq(n, 1 / sample_rate)
    lowest_hz = min(LOWEST_HZ, hz[-1])
    magnitude = np.maximum(hz, lowest_hz) ** -0.5 * (hz >= lowest_hz)
    drawn = rng.standard_normal(2 * len(hz)).view(np.complex128)
    return np.fft.irfft(drawn * magnitude, n)[:n_samples]


def piece(clip: Clip, n_samples: int, sample_rate: int, place: float | None = None, padded: bool = False) -> Array:
    """Returns a piece of a recording, mono, at another rate; what is too short is repeated.

    Only the piece is read from a file, so that recordings of hours cost no more than short ones.

    Parameters
    ----------
    n_samples, sample_rate
        Length and rate (Hz) of the result.
    place
        Where the piece starts, in [0, 1): 0 is the recording's start, 1 the last place from which it is long enough,
        or its end if it is too short and goes on from its start. `None` is the start, whatever the length.
    padded
        Fill up with zeros instead, as published code does.
    """
    wanted_s = n_samples / sample_rate + MARGIN_S
    low_s, high_s, clip = _bounds(clip)
    spare_s = high_s - low_s - wanted_s
    if spare_s > 0:
        start_s = low_s + spare_s * (place or 0.0)
        clip = replace(clip, start_s=start_s, end_s=start_s + wanted_s)
    samples = load_clip(clip).mono().resample(sample_rate).samples[0].numpy().astype(np.float64)
    if padded:
        return np.pad(samples[:n_samples], (0, max(n_samples - len(samples), 0)))
    first = 0 if spare_s > 0 or place is None else int(place * len(samples))
    return np.take(samples, np.arange(first, first + n_samples), mode="wrap")


def _bounds(clip: Clip) -> tuple[float, float, Clip]:
    """Returns start and end of a clip in its source, in seconds, and the clip with a source that is not made twice."""
    if isinstance(clip.source, Path):
        total_s = info(clip.source).duration_s
    else:
        waveform = clip.source if isinstance(clip.source, Waveform) else clip.source()
        clip, total_s = replace(clip, source=waveform), waveform.duration_s
    return clip.start_s or 0.0, total_s if clip.end_s is None else min(clip.end_s, total_s), clip
