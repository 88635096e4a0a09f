"""What stands in for latents that are not kept: each a sound first, so that other spaces can use the same."""

from collections.abc import Sequence

import numpy as np
import torch

from ...audio.waveform import Waveform
from ...classifiers.codec.base import Latents
from ...data.noises import colored
from ...types import Samples
from .chain import Chain, Coded


def pink_noise(samples: Samples, sample_rate: int, seed: int, db: float) -> Samples:
    """Returns seeded pink noise `db` above the level of each clip; the same noise for all, each at its own level."""
    drawn = colored("pink", samples.shape[-1], sample_rate, np.random.default_rng([seed, 17]))
    noise = torch.from_numpy(drawn)[None]
    level = samples.double().square().mean(1, keepdim=True).sqrt() * 10 ** (db / 20)
    unit = noise / noise.square().mean().sqrt().clamp_min(1e-30)
    return (unit.to(level) * level).to(samples)


def reference(
    chain: Chain, clip: Coded, kind: str, seed: int, *, db: float = -30.0, among: Sequence[Waveform] = ()
) -> Latents:
    """Returns the latents `[1, channel, frame]` of a replacement or baseline.

    Parameters
    ----------
    kind
        `zero`, `silence`, `noise`, `add-noise` (the clip plus noise), or `mean`: the mean frame.
    db
        Level of the noise re the clip.
    among
        Sounds over whose frames the mean is taken; over those of the clip if there are none.
    """
    if kind == "zero":
        return torch.zeros_like(clip.latents)
    if kind == "mean":
        coded = [chain.code(_at(chain, one, clip)).latents for one in among] or [clip.latents]
        return torch.stack([one.mean(2, keepdim=True) for one in coded]).mean(0).expand_as(clip.latents).clone()
    return chain.code(replacement_sound(chain, clip, kind, seed, db=db)).latents


def replacement_sound(
    chain: Chain, clip: Coded, kind: str, seed: int, *, db: float = -30.0, among: Sequence[Waveform] = ()
) -> Samples:
    """Returns the sound `[1, sample]` of a replacement; that of a mean frame is decoded."""
    if kind == "silence":
        return torch.zeros_like(clip.samples)
    if kind in ("zero", "mean"):
        with torch.no_grad():
            return chain.decode(reference(chain, clip, kind, seed, among=among), clip)
    noise = pink_noise(clip.samples, chain.classifier.sample_rate, seed, db)
    return clip.samples + noise if kind == "add-noise" else noise


def _at(chain: Chain, sound: Waveform, clip: Coded) -> Samples:
    return sound.mono().resample(chain.classifier.sample_rate).samples.to(clip.samples)
