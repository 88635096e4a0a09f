"""A compact convolutional classifier in the manner of PANNs: trained in minutes, explained exactly."""

from dataclasses import asdict, dataclass

from jaxtyping import Float
from torch import Tensor, nn

from ..types import Features, Logits, Map


@dataclass(frozen=True)
class SmallCnnConfig:
    """The size of a `SmallCnn`.

    Parameters
    ----------
    n_mels
        Rows of the log-mel features.
    n_labels
        Outputs.
    channels
        Width of each block; all blocks but the last halve both axes, so four blocks have a stride of 8.
    dropout
        Probability of dropping a channel's cell after each block, in training only.
    """

    n_mels: int = 64
    n_labels: int = 10
    channels: tuple[int, ...] = (24, 48, 96, 192)
    dropout: float = 0.1

    def to_dict(self) -> dict:
        """Returns plain JSON values."""
        return asdict(self)


class SmallCnn(nn.Module):
    """Blocks of two 3x3 convolutions, global average pooling and one linear layer.

    With 64 mel bands and 5 s at a hop of 20 ms the last map has 8 x 31 cells. The map is the output of the last
    block, after its ReLU; the head is average pooling and `linear`, so contributions are exact (tier T1).
    """

    map_layer = "blocks"

    def __init__(self, config: SmallCnnConfig | None = None) -> None:
        super().__init__()
        self.config = config or SmallCnnConfig()
        widths = (1, *self.config.channels)
        self.norm = nn.BatchNorm1d(self.config.n_mels)
        last = len(self.config.channels) - 1
        self.blocks = nn.Sequential(
            *(_block(widths[i], widths[i + 1], pool=i < last, dropout=self.config.dropout) for i in range(last + 1))
        )
        self.linear = nn.Linear(widths[-1], self.config.n_labels)

    def forward(self, features: Features) -> Logits:
        """Returns logits `[batch, label]` of log-mel features `[batch, mel, frame]`."""
        return self.head(self.backbone(features))

    def backbone(self, features: Float[Tensor, "batch mel _"]) -> Map:
        """Returns the map `[batch, channel, freq, frame]`."""
        return self.blocks(self.norm(features)[:, None])

    def head(self, maps: Map) -> Logits:
        """Returns logits of a map: mean over cells, then the linear layer."""
        return self.linear(maps.mean((2, 3)))


def _block(n_in: int, n_out: int, *, pool: bool, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (n_in, n_out):
        layers += [nn.Conv2d(width, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.ReLU()]
    if pool:
        layers.append(nn.AvgPool2d(2))
    return nn.Sequential(*layers, nn.Dropout(dropout))


def n_parameters(module: nn.Module) -> int:
    """Returns the number of trainable values."""
    return sum(p.numel() for p in module.parameters())


__all__ = ["SmallCnn", "SmallCnnConfig", "n_parameters"]
