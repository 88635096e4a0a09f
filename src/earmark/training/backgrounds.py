"""Recordings as background noise of training clips: decoded once, and mixed in at an exact SNR.

The conventions are those of `earmark.data.mixtures`: with the clip `s` and the recording's piece `n`, the mixture is
`s + g n`, `g = |s| / |n| 10^(-SNR/20)`; the SNR is the ratio of the energies over the whole clip, in dB, and what
exceeds full scale is divided by its largest absolute sample.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from ..audio.files import info, load_clip
from ..data import arrays
from ..errors import DataError, EarmarkError
from ..types import Clip, Samples
from .config import BackgroundConfig


@dataclass(frozen=True)
class Background:
    """Recordings, one after another in a memory map.

    Parameters
    ----------
    samples
        `[sample]`, mono, at the rate of the clips.
    bounds
        Where recording i starts; one more number than recordings, the last one is where all end.
    config
        How loud, and in which share of the clips.
    skipped
        Why recordings could not be read, by id.
    """

    samples: np.ndarray
    bounds: np.ndarray
    config: BackgroundConfig
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def add(self, samples: Samples, generator: Generator) -> Samples:
        """Returns the clips, a share of them with a random piece of a random recording."""
        chosen = torch.rand(len(samples), 1, generator=generator) < self.config.background_share
        mixed = at_snr(samples, self.pieces(len(samples), samples.shape[1], generator), self.config.background_snr_db)
        return torch.where(chosen, mixed, samples)

    def pieces(self, n: int, n_samples: int, generator: Generator) -> Samples:
        """Returns `n` pieces; a recording that is too short goes on from its start."""
        which = torch.randint(len(self), (n,), generator=generator)
        places = torch.rand(n, generator=generator, dtype=torch.float64)
        return torch.stack([self._piece(int(i), float(p), n_samples) for i, p in zip(which, places, strict=True)])

    def sha256(self) -> str:
        """Returns the sha256 of the recordings and where each of them ends."""
        digest = hashlib.sha256(np.ascontiguousarray(self.bounds).tobytes())
        for start, end in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            digest.update(np.ascontiguousarray(self.samples[start:end]).tobytes())
        return digest.hexdigest()

    def _piece(self, index: int, place: float, n_samples: int) -> Tensor:
        start, end = self.bounds[index : index + 2]
        spare = end - start - n_samples
        first = int(place * (spare + 1 if spare >= 0 else end - start))
        rows = np.arange(first, first + n_samples) % (end - start)
        return torch.from_numpy(self.samples[start + rows])


def at_snr(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Returns `s + g n` for each clip; where one of the two is silent, the clip as it is.

    Parameters
    ----------
    snr_db
        Energy of the clip over that of the noise in it, in dB.
    """
    energy, other = (part.double().square().sum(1, keepdim=True) for part in (samples, noise))
    gain = (energy / other.clamp_min(1e-30)).sqrt() * 10 ** (-snr_db / 20)
    mixed = samples + noise * torch.where(other > 0, gain, 0).float()
    peak = mixed.abs().amax(1, keepdim=True).clamp_min(1)
    return torch.where((energy > 0) & (other > 0), mixed / peak, samples)


def decode_background(recordings: Sequence[Clip], config: BackgroundConfig, sample_rate: int, path: Path) -> Background:
    """Decodes recordings into a memory map; those that cannot be read are left out, and named under `skipped`.

    Parameters
    ----------
    sample_rate
        Of the clips, in Hz; recordings are resampled to it.

    Raises
    ------
    DataError
        If no recording can be read.
    """
    lengths, skipped = _lengths(recordings, sample_rate)
    rows = arrays.create(path, (max(sum(lengths.values()), 1),))
    bounds = [0]
    for clip in recordings:
        if clip.id in skipped:
            continue
        try:
            sound = load_clip(clip).mono().resample(sample_rate).fit(lengths[clip.id]).samples[0].numpy()
        except (EarmarkError, OSError) as error:
            skipped[clip.id] = str(error)
            continue
        rows[bounds[-1] : bounds[-1] + len(sound)] = sound
        bounds.append(bounds[-1] + len(sound))
    if len(bounds) == 1:
        raise DataError(f"No background recording can be read; the first: {next(iter(skipped.values()), 'none')}")
    return Background(rows, np.array(bounds), config, skipped)


def _lengths(recordings: Sequence[Clip], sample_rate: int) -> tuple[dict[str, int], dict[str, str]]:
    """Returns how long recordings are at a rate, in samples, and why others cannot be read."""
    lengths, skipped = {}, {}
    for clip in recordings:
        try:
            lengths[clip.id] = max(round(_duration_s(clip) * sample_rate), 1)
        except (EarmarkError, OSError) as error:
            skipped[clip.id] = str(error)
    return lengths, skipped


def _duration_s(clip: Clip) -> float:
    if not isinstance(clip.source, Path):
        return load_clip(clip).duration_s
    total_s = info(clip.source).duration_s
    return (total_s if clip.end_s is None else min(clip.end_s, total_s)) - (clip.start_s or 0.0)
