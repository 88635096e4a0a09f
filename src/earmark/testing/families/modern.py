"""ConvNeXt, as timm and as transformers build it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...classifiers.base import Classifier
from .making import N_LABELS, classifier_of, log_mel, random_module


class ChannelsLastNorm(nn.LayerNorm):
    """LayerNorm over the channels of `[batch, channel, freq, frame]`, with the axes turned around it."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelsFirstNorm(nn.Module):
    """The same, written out over the channel axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        """Returns the same shape."""
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        scaled = (x - mean) / torch.sqrt(variance + self.eps)
        return self.weight[:, None, None] * scaled + self.bias[:, None, None]


class ConvNextBlock(nn.Module):
    """Each channel alone by 7x7, then LayerNorm and two linear layers per cell, scaled, beside a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.wide, self.activation, self.narrow = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Returns the same shape."""
        cells = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        cells = self.scale * self.narrow(self.activation(self.wide(cells)))
        return x + cells.permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """Patches, stages with a normed 2x2 convolution between, the mean over cells, LayerNorm, one linear layer."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 4, 4), norm(16))
        self.stages = nn.Sequential(
            ConvNextBlock(16), norm(16), nn.Conv2d(16, 32, 2, 2), ConvNextBlock(32), ConvNextBlock(32)
        )
        self.norm = nn.LayerNorm(32, eps=1e-6)
        self.classifier = nn.Linear(32, N_LABELS)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, 1, mel, frame]`."""
        return self.classifier(self.norm(self.stages(self.stem(x)).mean([-2, -1])))


def convnext() -> Classifier:
    """ConvNeXt (Liu et al. 2022) as timm builds it, channels last inside."""
    module = random_module(lambda: ConvNext(lambda width: ChannelsLastNorm(width, eps=1e-6)))
    return classifier_of(module, "convnext", map_layer="stages")


def birdset_convnext() -> Classifier:
    """ConvNeXt of one channel as BirdSet uses it: channels first, several labels, its features' range per clip."""
    module = random_module(lambda: ConvNext(ChannelsFirstNorm), seed=1)
    front_end = log_mel(top_db=80.0, mean_db=-4.268, std_db=4.569)
    return classifier_of(module, "birdset-convnext", map_layer="stages", front_end=front_end, task="multilabel")
