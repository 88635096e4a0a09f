"""Encoders with known layers, and clips for them: tones and clicks of one second, each a recording of its own."""

from dataclasses import replace

import torch
from tests.prototypes import tiny
from torch import nn

from earmark.audio.waveform import Waveform
from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap
from earmark.types import seeded

RATE = 16000
TURNED = (3, 0, 5, 1, 4, 2)  # channel j of the second block is channel TURNED[j] of the first


def clips(n=12, seed=0):
    """Returns clips of one second at 16 kHz, each of a group of its own."""
    made = tiny.clips(n, (1.0,), seed=seed)
    return [replace(c, group=c.id, source=Waveform(c.source.samples.repeat_interleave(2, 1), RATE)) for c in made]


class Reorder(nn.Module):
    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, maps):
        return self.sign * maps[:, list(TURNED)]


class Encoder(nn.Module):
    """The second block only reorders the channels `[batch, channel, frame]` of the first, with a sign."""

    def __init__(self, sign, offset):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Conv1d(16, 6, 8, stride=8), Reorder(sign)])
        self.linear = nn.Linear(6, 2)
        generator = seeded(4)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
            self.blocks[0].bias[0] += offset

    def forward(self, features):
        maps = features
        for block in self.blocks:
            maps = block(maps)
        return self.linear(maps.relu().mean(2))


def encoder(sign=1.0, offset=0.0):
    """Returns a float64 classifier whose two blocks have the same channels in another order."""
    front_end = LogMel(sample_rate=RATE, n_fft=512, hop_length=160, n_mels=16, low_hz=100.0, mean_db=-10.0)
    return wrap(
        Encoder(sign, offset).double(),
        front_end.double(),
        tiny.LABELS,
        map_layer="blocks.1",
        map_axes="T",
        blocks=("blocks.0", "blocks.1"),
        probe_s=1.0,
        name="encoder",
    )
