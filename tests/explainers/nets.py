"""Classifiers whose features are the samples themselves, so that a test can write input and weights by hand."""

import torch
from torch import nn

from earmark.audio.stft import Stft
from earmark.audio.waveform import Waveform
from earmark.classifiers.front_ends import FrontEnd
from earmark.classifiers.wrap import wrap


class Plain(FrontEnd):
    """Takes samples as features of a few rows."""

    def __init__(self, n_rows, n_columns):
        super().__init__()
        self.sample_rate, self.stft = 1000, Stft(4, 2)
        self.shape = (n_rows, n_columns)

    def forward(self, samples):
        return samples[:, : self.shape[0] * self.shape[1]].unflatten(1, self.shape)

    def row_edges_hz(self):
        return torch.linspace(0, 500, self.shape[0] + 1, dtype=torch.float64)

    def column_s(self):
        return 0.0, 0.001

    def to_dict(self):
        return {"kind": "plain", "shape": self.shape}


class Net(nn.Module):
    """A map `[batch, 1, row, column]` of the features, and whatever follows the flattened map."""

    def __init__(self, head, before=nn.Identity):
        super().__init__()
        self.before = before()
        self.map = nn.Unflatten(1, (1, -1))
        self.head = head

    def forward(self, features):
        return self.head(self.map(self.before(features)).flatten(1))


class Function(nn.Module):
    """A head written as a function of `[batch, value]`."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.zero = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        return self.function(x) + 0 * self.zero


def classifier_of(head, n_rows=1, n_columns=2, n_labels=1, before=nn.Identity):
    """Wraps a head in float64: a clip has `n_rows * n_columns` samples."""
    head = head if isinstance(head, nn.Module) else Function(head)
    labels = [f"label {i}" for i in range(n_labels)]
    seconds = n_rows * n_columns / 1000
    return wrap(
        Net(head, before).double(), Plain(n_rows, n_columns), labels, map_layer="map", probe_s=seconds, name="toy"
    )


def clip(*values):
    return Waveform(torch.tensor([values], dtype=torch.float32), 1000)


def noise(n_samples, seed=1, rate=1000):
    return Waveform(torch.randn(1, n_samples, generator=torch.Generator().manual_seed(seed)), rate)


def linear(weight, bias=0.0):
    layer = nn.Linear(len(weight), 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight)[None])
        layer.bias.fill_(bias)
    return layer
