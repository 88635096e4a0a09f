"""A tiny float64 classifier of clicks and tones, and its sounds: the fixtures of bank, cache and fit."""

import numpy as np
import torch
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.types import Clip, seeded

RATE = 8000
LABELS = ("click", "tone")


class Net(nn.Module):
    def __init__(self, n_channels=6):
        super().__init__()
        self.map = nn.Conv2d(1, n_channels, 4, stride=4)
        self.linear = nn.Linear(n_channels, len(LABELS))

    def forward(self, features):
        return self.linear(self.map(features[:, None]).mean((2, 3)))


def classifier(seed=0, double=True, **options):
    module = Net()
    generator = seeded(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    front_end = LogMel(sample_rate=RATE, n_fft=256, hop_length=80, n_mels=16, low_hz=100.0, mean_db=-10.0)
    module, front_end = (module.double(), front_end.double()) if double else (module, front_end)
    return wrap(module, front_end, LABELS, map_layer="map", probe_s=1.0, **options)


def sound(seed, kind, duration_s=0.8):
    rng = np.random.default_rng(seed)
    n = round(duration_s * RATE)
    samples = 0.01 * rng.standard_normal(n)
    start = int(rng.integers(n // 2))
    if kind == "click":
        samples[start : start + 40] += rng.uniform(0.3, 0.9) * rng.standard_normal(40).clip(-1, 1)
    else:
        samples[start:] += rng.uniform(0.2, 0.8) * np.sin(
            2 * np.pi * rng.uniform(300, 3500) * np.arange(n - start) / RATE
        )
    return Waveform(samples.clip(-1, 1), RATE)


def clips(n=24, durations_s=(0.8,), seed=0):
    """Returns clips in memory, two for each group."""
    return [
        Clip(
            f"clip-{i:03d}",
            sound(seed + i, LABELS[i % 2], durations_s[i % len(durations_s)]),
            labels=(LABELS[i % 2],),
            group=f"group-{i // 4}-{i % 2}",
        )
        for i in range(n)
    ]


def files(folder, n=12, **options):
    """Returns the same clips, written as 24-bit FLAC files."""
    from dataclasses import replace

    folder.mkdir(parents=True, exist_ok=True)
    return [replace(c, source=c.source.save(folder / f"{c.id}.flac")) for c in clips(n, **options)]
