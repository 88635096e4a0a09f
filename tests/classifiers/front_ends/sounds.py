"""Sounds on which front ends meet their originals: noise, tones, speech and silence."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch

from earmark.audio.waveform import Waveform

SECONDS = 1.37  # no whole number of hops, at any rate


def noise(sample_rate, level=0.1, seconds=SECONDS):
    generator = torch.Generator().manual_seed(1)
    return level * torch.randn(round(seconds * sample_rate), generator=generator)


def tone(sample_rate, hz=440.0, seconds=SECONDS):
    time_s = torch.arange(round(seconds * sample_rate), dtype=torch.float64) / sample_rate
    return (0.5 * torch.sin(2 * torch.pi * hz * time_s)).float()


@cache
def speech(sample_rate):
    """Returns a spoken word where the data is at hand, else harmonics that glide and pulse like one."""
    folder = Path(os.environ.get("EARMARK_DATA", "nowhere")) / "speech_commands_test"
    files = sorted((folder / "audio").glob("*.flac"))
    if files:
        samples, rate = soundfile.read(files[len(files) // 2], dtype="float32")
        return Waveform(samples[None], rate).resample(sample_rate).samples[0]
    time_s = np.arange(round(SECONDS * sample_rate)) / sample_rate
    phase = 2 * np.pi * (120 * time_s + 40 * time_s**2)
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * np.sin(2 * np.pi * 1.5 * time_s) ** 2
    return torch.from_numpy(0.2 * voice).float() + noise(sample_rate, 1e-3)


def silence(sample_rate):
    return torch.zeros(round(SECONDS * sample_rate))


SOUNDS = {"noise": noise, "tone": tone, "speech": speech, "silence": silence}
