"""Families that treat a clip as a sequence: CRNN, ECAPA, and a network over samples."""

import torch
from torch import Tensor, nn

from ...classifiers.base import Classifier
from ...classifiers.front_ends import Raw
from .making import N_LABELS, N_MELS, SAMPLE_RATE, classifier_of, random_module
from .parts import conv_norm


class AttentionPooling(nn.Module):
    """Logits of each frame, weighted by a softmax over frames for each label (Kong et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.classes = nn.Linear(width, N_LABELS), nn.Linear(width, N_LABELS)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, frame, channel]`."""
        weight = self.attention(x).clamp(-10, 10).softmax(1)
        return (weight * self.classes(x)).sum(1)


class Crnn(nn.Module):
    """Convolutions, a recurrent layer in both directions over their frames, and attention over its outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(conv_norm(1, 16), nn.AvgPool2d(2)),
            *(conv_norm(16, 24), nn.AvgPool2d((2, 4))),
            *(conv_norm(24, 32), nn.AvgPool2d(2)),
        )
        self.recurrent = nn.GRU(32, 16, batch_first=True, bidirectional=True)
        self.pooling = AttentionPooling(32)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, 1, mel, frame]`."""
        frames = self.features(x).mean(2).transpose(1, 2)
        return self.pooling(self.recurrent(frames)[0])


def crnn() -> Classifier:
    """CRNN; the map is the output of its convolutions."""
    return classifier_of(random_module(Crnn), "crnn", map_layer="features")


def conv1d_norm(n_in: int, n_out: int, size: int = 1, dilation: int = 1) -> nn.Sequential:
    """Returns a convolution over time with ReLU and batch norm, in ECAPA's order."""
    convolution = nn.Conv1d(n_in, n_out, size, dilation=dilation, padding=dilation * (size // 2))
    return nn.Sequential(convolution, nn.ReLU(), nn.BatchNorm1d(n_out))


class Res2Block(nn.Module):
    """Groups of channels, each convolved with what the group before gave, then gated, beside a skip."""

    def __init__(self, width: int, dilation: int, n_groups: int = 4) -> None:
        super().__init__()
        self.n_groups = n_groups
        self.before, self.after = conv1d_norm(width, width), conv1d_norm(width, width)
        inner = width // n_groups
        self.groups = nn.ModuleList(conv1d_norm(inner, inner, 3, dilation) for _ in range(n_groups - 1))
        self.gate = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Returns the same shape `[batch, channel, frame]`."""
        first, *rest = self.before(x).chunk(self.n_groups, 1)
        done = [first]
        for convolution, part in zip(self.groups, rest, strict=True):
            done.append(convolution(part if len(done) == 1 else part + done[-1]))
        out = self.after(torch.cat(done, 1))
        return x + out * self.gate(out.mean(2))[:, :, None]


class Ecapa(nn.Module):
    """ECAPA-TDNN (Desplanques et al. 2020): dilated blocks, all of them joined, attentive mean and deviation."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.first = conv1d_norm(N_MELS, width, 5)
        self.blocks = nn.ModuleList(Res2Block(width, dilation) for dilation in (2, 3, 4))
        self.joined = nn.Sequential(nn.Conv1d(3 * width, 48, 1), nn.ReLU())
        self.attention = nn.Sequential(nn.Conv1d(48, 16, 1), nn.Tanh(), nn.Conv1d(16, 48, 1))
        self.head = nn.Sequential(nn.BatchNorm1d(96), nn.Linear(96, 24), nn.BatchNorm1d(24), nn.Linear(24, N_LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, mel, frame]`."""
        x, outputs = self.first(x), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        maps = self.joined(torch.cat(outputs, 1))
        weight = self.attention(maps).softmax(2)
        mean = (weight * maps).sum(2)
        deviation = ((weight * maps.square()).sum(2) - mean.square()).clamp_min(1e-6).sqrt()
        return self.head(torch.cat([mean, deviation], 1))


def ecapa() -> Classifier:
    """ECAPA; the map has time alone."""
    return classifier_of(random_module(Ecapa, seed=3), "ecapa", map_layer="joined", map_axes="T", feature_axes="FT")


class SampleNet(nn.Module):
    """Convolutions and maxima over samples (Dai et al. 2017), the mean over time, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((1, 16, 80, 16), (16, 24, 3, 1), (24, 32, 3, 1))
        layers: list[nn.Module] = []
        for n_in, n_out, size, stride in sizes:
            convolution = nn.Conv1d(n_in, n_out, size, stride, padding=size // 2, bias=False)
            layers += [convolution, nn.BatchNorm1d(n_out), nn.ReLU(), nn.MaxPool1d(4)]
        self.features = nn.Sequential(*layers[:-1])
        self.head = nn.Linear(32, N_LABELS)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, sample]`."""
        return self.head(self.features(x[:, None]).mean(2))


def samples_cnn() -> Classifier:
    """A network over samples; features are the clip itself."""
    front_end = Raw(sample_rate=SAMPLE_RATE)
    return classifier_of(
        random_module(SampleNet),
        "samples-cnn",
        map_layer="features",
        front_end=front_end,
        map_axes="T",
        feature_axes="S",
    )
