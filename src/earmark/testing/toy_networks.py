"""Toy networks of the kinds that explainers meet: small, random, and without a known explanation."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..classifiers.base import Classifier
from ..classifiers.front_ends import LogMel
from ..classifiers.wrap import wrap
from ..types import Task

Activation = Literal["relu", "functional-relu", "tanh", "detached"]
Shape = Literal["plane", "line", "cell"]

N_LABELS = 3


class ToyNet(nn.Module):
    """Two convolutions, a map, and a head.

    Parameters
    ----------
    activation
        `relu` layers, `functional-relu` calls, `tanh` layers, or `detached`, which passes no gradient.
    shape
        Of the map: over frequency and time, over time alone, or one cell.
    linear
        Whether the head is the mean of the map and one linear layer; else it multiplies and has a layer between.
    """

    map_layer = "map"

    def __init__(self, activation: Activation = "relu", shape: Shape = "plane", *, linear: bool = True) -> None:
        super().__init__()
        self.activation, self.shape = activation, shape
        self.first = nn.Conv2d(1, 4, 3, 2, 1)
        self.second = nn.Conv2d(4, 6, 3, 2, 1)
        self.between = self._layer()
        self.map = self._layer()
        self.head = nn.Linear(6, N_LABELS) if linear else _Gated(6)

    def _layer(self) -> nn.Module:
        if self.activation == "functional-relu":
            return nn.Identity()
        return nn.Tanh() if self.activation == "tanh" else nn.ReLU()

    def _after(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.activation == "functional-relu" else x

    def forward(self, features: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of features `[batch, 1, mel, frame]`."""
        features = features.detach() if self.activation == "detached" else features
        x = self.second(self._after(self.between(self.first(features))))
        if self.shape != "plane":
            x = x.mean(2)
        if self.shape == "cell":
            x = x.mean(2)[:, :, None]
        maps = self._after(self.map(x))
        return self.head(maps.flatten(2).mean(2))


class _Gated(nn.Module):
    """Two layers, the second of which is multiplied with a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last, self.gate = nn.Linear(width, 8), nn.Linear(8, N_LABELS), nn.Linear(width, N_LABELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x))) * torch.sigmoid(self.gate(x))


def toy_network(
    activation: Activation = "relu",
    shape: Shape = "plane",
    *,
    linear: bool = True,
    task: Task = "multiclass",
    double: bool = False,
    seed: int = 0,
) -> Classifier:
    """Returns a random classifier of log-mel features at 8 kHz; see `ToyNet`.

    Parameters
    ----------
    task
        `multiclass` or `multilabel`.
    double
        Whether it computes in float64.
    seed
        Of its weights.
    """
    with torch.random.fork_rng(devices=[]):
        module: nn.Module = ToyNet(activation, shape, linear=linear)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter[0].numel() ** -0.5)
    front_end = LogMel(sample_rate=8000, n_fft=256, hop_length=64, n_mels=16, mean_db=-20.0)
    module, front_end = (module.double(), front_end.double()) if double else (module, front_end)
    return wrap(
        module,
        front_end,
        [f"label {k}" for k in range(N_LABELS)],
        map_layer=ToyNet.map_layer,
        task=task,
        map_axes="FT" if shape == "plane" else "T",
        feature_axes="CFT",
        name=f"{activation}-{shape}",
        probe_s=0.256,
    )
