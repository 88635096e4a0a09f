"""Parts that several families share."""

from collections.abc import Callable

from torch import Tensor, nn


class Pooled(nn.Module):
    """The mean over all cells of `[batch, channel, freq, frame]`."""

    def forward(self, maps: Tensor) -> Tensor:
        """Returns `[batch, channel]`."""
        return maps.mean((2, 3))


class SqueezeExcite(nn.Module):
    """Gates each channel by what all channels are on average.

    Parameters
    ----------
    width, inner
        Channels, and channels between.
    activation, gate
        Layers behind the first and the second linear map.
    """

    def __init__(self, width: int, inner: int, activation: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce, self.expand = nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)
        self.activation, self.gate = activation, gate

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[batch, channel, freq, frame]`."""
        return x * self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))


def conv_norm(
    n_in: int, n_out: int, size: int = 3, stride: int = 1, groups: int = 1, activation: type[nn.Module] | None = nn.ReLU
) -> nn.Sequential:
    """Returns a convolution with batch norm and an activation."""
    layers = [nn.Conv2d(n_in, n_out, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(n_out)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class InvertedResidual(nn.Module):
    """Widens by a 1x1 convolution, convolves each channel alone, and narrows: the block of the mobile networks.

    Parameters
    ----------
    n_in, n_out, stride
        Of the whole block.
    activation
        Behind the first two convolutions.
    excite
        What gates the wide channels, made from their number; `None`: nothing.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        stride: int,
        activation: type[nn.Module],
        excite: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        wide = 4 * n_in
        self.skips = stride == 1 and n_in == n_out
        gates = [excite(wide)] if excite else []
        self.layers = nn.Sequential(
            conv_norm(n_in, wide, 1, activation=activation),
            conv_norm(wide, wide, 3, stride, groups=wide, activation=activation),
            *gates,
            conv_norm(wide, n_out, 1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[batch, n_out, freq', frame']`."""
        return self.layers(x) + x if self.skips else self.layers(x)
