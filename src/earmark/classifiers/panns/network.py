"""The networks of PANNs behind their front end, with the parameter names of the published state dicts.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition" (2020), tables
I and II. What acts in training alone (SpecAugment, mixup, dropout) is left out; it has no parameters. Outputs are
logits: the published networks put a sigmoid behind them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from ...types import Logits

Architecture = Literal["cnn6", "cnn10", "cnn14", "resnet22", "resnet38"]

Frames = Float[Tensor, "batch 1 frame mel"]
FrameMap = Float[Tensor, "batch channel map_frame map_freq"]

#: Convolutions in a block, their size, and how many blocks there are.
CNNS: dict[str, tuple[int, int, int]] = {"cnn6": (1, 5, 4), "cnn10": (2, 3, 4), "cnn14": (2, 3, 6)}

#: Residual blocks in each of the four layers.
RESNETS: dict[str, tuple[int, ...]] = {"resnet22": (2, 2, 2, 2), "resnet38": (3, 4, 6, 3)}


@dataclass(frozen=True)
class PannsConfig:
    """The size of a network of PANNs; the published ones have the values that are given here.

    Parameters
    ----------
    architecture
        `cnn6`, `cnn10`, `cnn14`, `resnet22` or `resnet38`.
    n_labels
        Outputs.
    n_mels
        Columns of the log-mel features.
    width
        Channels of the first block; all others are multiples of it.
    embedding
        Outputs of `fc1`; `None`: as many as the map has channels.
    """

    architecture: Architecture = "cnn14"
    n_labels: int = 527
    n_mels: int = 64
    width: int = 64
    embedding: int | None = None

    @property
    def n_channels(self) -> int:
        """Channels of the map."""
        return self.width * (2 ** (CNNS[self.architecture][2] - 1) if self.architecture in CNNS else 32)

    @property
    def map_layer(self) -> str:
        """Name of the last block, whose output is the map."""
        return f"conv_block{CNNS[self.architecture][2]}" if self.architecture in CNNS else "conv_block_after1"


class Panns(nn.Module):
    """A network of PANNs: log-mel features `[batch, 1, frame, mel]` to logits `[batch, label]`.

    The map is the output of the last block, `[batch, channel, frame, freq]`. The head takes its mean over frequency,
    adds maximum and mean over time, and ends in `fc1`, a ReLU, and `fc_audioset` (tier T3).
    """

    def __init__(self, config: PannsConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PannsConfig()
        # Of one axis: a norm of [batch, mel, frame, 1], as published, can have wrong gradients on a CPU (torch 2.13):
        # where an axis has length one, memory in one order is taken for the other.
        self.bn0 = nn.BatchNorm1d(config.n_mels)
        self._names = _add_cnn(self, config) if config.architecture in CNNS else _add_resnet(self, config)
        embedding = config.embedding or config.n_channels
        self.fc1 = nn.Linear(config.n_channels, embedding)
        self.relu = nn.ReLU()
        self.fc_audioset = nn.Linear(embedding, config.n_labels)

    def forward(self, features: Frames) -> Logits:
        """Returns logits."""
        return self.head(self.backbone(features))

    def backbone(self, features: Frames) -> FrameMap:
        """Returns the map; features are first normalized for each mel band (`bn0`)."""
        x = self.bn0(features[:, 0].transpose(1, 2)).transpose(1, 2)[:, None]
        for name in self._names:
            x = getattr(self, name)(x)
        return x

    def head(self, maps: FrameMap) -> Logits:
        """Returns logits of a map."""
        frames = maps.mean(3)
        pooled = frames.max(2).values + frames.mean(2)
        return self.fc_audioset(self.relu(self.fc1(pooled)))


def _add_cnn(network: nn.Module, config: PannsConfig) -> list[str]:
    """Adds the blocks of a CNN, and returns their names; the last block of CNN14 does not pool."""
    n_convolutions, size, n_blocks = CNNS[config.architecture]
    names = [f"conv_block{i + 1}" for i in range(n_blocks)]
    widths = [1, *(config.width * 2**i for i in range(n_blocks))]
    for i, name in enumerate(names):
        pools = config.architecture != "cnn14" or i < n_blocks - 1
        network.add_module(name, ConvBlock(widths[i], widths[i + 1], n_convolutions, size, pool=2 if pools else 1))
    return names


def _add_resnet(network: nn.Module, config: PannsConfig) -> list[str]:
    """Adds the blocks of a residual network, and returns their names."""
    width = config.width
    network.add_module("conv_block1", ConvBlock(1, width))
    network.add_module("resnet", ResNet(width, RESNETS[config.architecture]))
    network.add_module("pool", nn.AvgPool2d(2))
    network.add_module("conv_block_after1", ConvBlock(8 * width, 32 * width, pool=1))
    return ["conv_block1", "resnet", "pool", "conv_block_after1"]


class ConvBlock(nn.Module):
    """Convolutions with batch norm and ReLU, then average pooling.

    Parameters
    ----------
    n_in, n_out
        Channels.
    n_convolutions, size
        How many convolutions, of `size x size`.
    pool
        Cells that are averaged along both axes.
    """

    def __init__(self, n_in: int, n_out: int, n_convolutions: int = 2, size: int = 3, pool: int = 2) -> None:
        super().__init__()
        self.n_convolutions = n_convolutions
        for i in range(n_convolutions):
            convolution = nn.Conv2d(n_out if i else n_in, n_out, size, padding=size // 2, bias=False)
            self.add_module(f"conv{i + 1}", convolution)
            self.add_module(f"bn{i + 1}", nn.BatchNorm2d(n_out))
            self.add_module(f"relu{i + 1}", nn.ReLU())
        self.pool = nn.AvgPool2d(pool) if pool > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[batch, n_out, frame // pool, freq // pool]`."""
        for i in range(1, self.n_convolutions + 1):
            for layer in ("conv", "bn", "relu"):
                x = getattr(self, f"{layer}{i}")(x)
        return self.pool(x)


class ResNet(nn.Module):
    """Four layers of residual blocks; all but the first halve both axes and double the channels."""

    def __init__(self, width: int, n_blocks: Sequence[int]) -> None:
        super().__init__()
        for i, n in enumerate(n_blocks):
            n_in, n_out = width * 2 ** max(i - 1, 0), width * 2**i
            blocks = [ResidualBlock(n_in if k == 0 else n_out, n_out, halve=k == 0 and i > 0) for k in range(n)]
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[batch, 8 width, frame // 8, freq // 8]`."""
        for layer in self.children():
            x = layer(x)
        return x


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip; where axes are halved, by average pooling in both branches."""

    def __init__(self, n_in: int, n_out: int, *, halve: bool) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2) if halve else nn.Identity()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.relu2 = nn.ReLU()
        change = [nn.AvgPool2d(2), nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
        self.downsample = nn.Sequential(*change) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[batch, n_out, frame', freq']`."""
        out = self.relu1(self.bn1(self.conv1(self.pool(x))))
        return self.relu2(self.bn2(self.conv2(out)) + self.downsample(x))
