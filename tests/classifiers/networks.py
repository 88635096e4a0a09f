"""Networks of the test suite: heads of every tier, and backbones in the manner of well-known ones."""

import torch
from torch import nn

from earmark.classifiers.front_ends import LogMel
from earmark.classifiers.wrap import wrap

CHANNELS, LABELS = 6, 3


def seeded(build, seed=0):
    """Calls `build` with a seed of its own; batch norms get statistics that are not the trivial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = build()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.normal_(std=0.1)
                part.running_var.uniform_(0.5, 2.0)
    return module


class Net(nn.Module):
    """A small backbone `features` and any head."""

    def __init__(self, head, stride=2):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride, 1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Conv2d(4, CHANNELS, 3, stride, 1),
            nn.BatchNorm2d(CHANNELS),
        )
        self.head = head

    def forward(self, x):
        return self.head(self.features(x))


def small_front_end(**changes):
    return LogMel(sample_rate=8000, n_fft=256, hop_length=128, n_mels=16, **changes)


def wrapped(head, seed=0, dtype=torch.float32, **options):
    """A classifier of 8 kHz with a map of 4 x 8 cells at half a second."""
    module = seeded(lambda: Net(head()), seed).to(dtype)
    settings = {"map_layer": "features", "feature_axes": "CFT", "probe_s": 0.5, **options}
    return wrap(module, small_front_end(), ["a", "b", "c"], **settings)


class Mean(nn.Module):
    """Average over cells."""

    def forward(self, maps):
        return maps.mean((2, 3))


class PerCell(nn.Module):
    """A linear layer for each cell, then the mean of logits."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(CHANNELS, LABELS)

    def forward(self, maps):
        return self.linear(maps.flatten(2).transpose(1, 2)).mean(1)


def gap_linear():
    return nn.Sequential(Mean(), nn.Dropout(0.5), nn.Linear(CHANNELS, LABELS))


def gap_batch_norm_stack():
    return nn.Sequential(Mean(), nn.BatchNorm1d(CHANNELS), nn.Linear(CHANNELS, 5), nn.Linear(5, LABELS))


def conv_mean():
    return nn.Sequential(nn.Conv2d(CHANNELS, LABELS, 1), Mean())


def flatten_linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(CHANNELS * 4 * 8, LABELS))


def gap_layer_norm():
    norm = nn.LayerNorm(CHANNELS)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return nn.Sequential(Mean(), norm, nn.Linear(CHANNELS, LABELS))


def relu_mlp():
    return nn.Sequential(Mean(), nn.Linear(CHANNELS, 8), nn.ReLU(), nn.Linear(8, LABELS))


def biased_mlp():
    """A ReLU network whose biases keep all units open for maps of order one."""
    head = relu_mlp()
    nn.init.constant_(head[1].bias, 20.0)
    return head


def max_pool():
    return nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, LABELS))


def relu_first():
    return nn.Sequential(nn.ReLU(), Mean(), nn.Linear(CHANNELS, LABELS))


def gelu_mlp():
    return nn.Sequential(Mean(), nn.Linear(CHANNELS, 8), nn.GELU(), nn.Linear(8, LABELS))


class SoftLimit(nn.Module):
    """Logits that cannot exceed 30, nearly linear for small ones."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(CHANNELS, LABELS)

    def forward(self, maps):
        return 30 * torch.tanh(self.linear(maps.mean((2, 3))) / 30)


class ChannelNorm(nn.Module):
    """LayerNorm over channels of `[batch, channel, freq, frame]`."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise 7x7, LayerNorm, MLP, layer scale, skip."""

    def __init__(self, width, scale):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.wide, self.narrow = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x):
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(nn.functional.gelu(self.wide(y))) * self.scale
        return x + y.permute(0, 3, 1, 2)


def convnext(depths=(1, 1, 3, 1), widths=(8, 12, 16, 24), scale=1e-6):
    layers = [nn.Conv2d(1, widths[0], 4, 4), ChannelNorm(widths[0])]
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if i:
            layers += [ChannelNorm(widths[i - 1]), nn.Conv2d(widths[i - 1], width, 2, 2)]
        layers += [ConvNextBlock(width, scale) for _ in range(depth)]
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a skip, strided where the width grows."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.a, self.b = nn.Conv2d(n_in, n_out, 3, stride, 1), nn.Conv2d(n_out, n_out, 3, 1, 1)
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1, stride)

    def forward(self, x):
        return torch.relu(self.b(torch.relu(self.a(x))) + self.skip(x))


def resnet(depth=1, widths=(8, 12, 16, 24)):
    layers = [nn.Conv2d(1, widths[0], 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    for i, width in enumerate(widths):
        layers.append(ResidualBlock(widths[i - 1] if i else width, width, 2 if i else 1))
        layers += [ResidualBlock(width, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(*layers)
