"""The decoder of the paper, in its own size: transposed convolutions over four taps of CNN14.

Sizes are those of the public recipe (236.7 million parameters for CNN14), so that its checkpoints have these shapes;
where the branches do not meet, as for other lengths than 5 s, the finer one is resized, and no frame is lost.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...classifiers.taps import Tap
from ...errors import ModelError
from ..decoders import Labels, Maps, Plane

N_TAPS = 4


class PaperDecoder(nn.Module):
    """Nine transposed convolutions (Paissan et al., 2024); axes inside are time x frequency, as published.

    Parameters
    ----------
    taps
        Four, coarse to fine: blocks 6, 5, 4 and 3 of CNN14, of 2048, 1024, 512 and 256 channels.

    Raises
    ------
    ModelError
        If there are not four taps.
    """

    def __init__(self, taps: Sequence[Tap]) -> None:
        super().__init__()
        if len(taps) != N_TAPS:
            raise ModelError(
                f"The paper's decoder reads four taps, and there are {len(taps)}; name four layers with taps=, coarse "
                "to fine, or take preset compact."
            )
        deep, second, third, fourth = (tap.n_channels for tap in taps)
        half, quarter, eighth = max(1, deep // 2), max(1, deep // 4), max(1, deep // 8)
        self.convt1 = nn.ConvTranspose2d(deep, deep, 3, (2, 4), 1)
        self.convt2 = nn.ConvTranspose2d(second, deep, 3, (2, 4), 1)
        self.convt3 = nn.ConvTranspose2d(deep, deep, (7, 4), (2, 4), 1)
        self.convt4 = nn.ConvTranspose2d(third, deep, (5, 4), (2, 4), 1)
        self.convt5 = nn.ConvTranspose2d(deep, half, (3, 5), (2, 2), 1)
        self.convt6 = nn.ConvTranspose2d(fourth, half, 3, (2, 4), 1)
        self.convt7 = nn.ConvTranspose2d(half, quarter, (4, 3), (2, 2), (0, 5))
        self.convt8 = nn.ConvTranspose2d(quarter, eighth, (3, 4), (2, 2), (0, 2))
        self.convt9 = nn.ConvTranspose2d(eighth, 1, (1, 5), (1, 4), 0)

    def forward(
        self, maps: Maps, positions: Float[Tensor, " freq"], level: Plane, asked: Labels | None = None
    ) -> Float[Tensor, "batch freq frame"]:
        """Returns the logits of a mask on the grid of `level`; the other arguments play no part."""
        h1, h2, h3, h4 = (one.transpose(2, 3) for one in maps)
        x = functional.relu(self.convt1(h1))
        x = self.convt3(_met(x, functional.relu(self.convt2(h2))))
        x = self.convt5(_met(functional.relu(x), functional.relu(self.convt4(h3))))
        x = self.convt7(_met(functional.relu(x), functional.relu(self.convt6(h4))))
        x = self.convt9(self.convt8(functional.relu(x)))
        return functional.interpolate(x.transpose(2, 3), size=level.shape[-2:], mode="bilinear", align_corners=False)[
            :, 0
        ]


def _met(x: Tensor, other: Tensor) -> Tensor:
    """Returns the sum of two branches, the second resized where it has another size."""
    if other.shape[-2:] != x.shape[-2:]:
        other = functional.interpolate(other, size=x.shape[-2:], mode="bilinear", align_corners=False)
    return x + other
