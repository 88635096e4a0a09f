"""Swin, and HTS-AT, which ends a Swin network in a convolution over its tokens."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ...classifiers.base import Classifier
from ...classifiers.layouts import TokenGrid
from .making import N_LABELS, N_MELS, classifier_of, random_module

WINDOW = 4

Cells = Float[Tensor, "batch freq frame channel"]


class WindowAttention(nn.Module):
    """Attention among the cells of windows of 4 x 4, shifted in every other block (Liu et al. 2021)."""

    def __init__(self, width: int, n_heads: int, shift: int) -> None:
        super().__init__()
        self.n_heads, self.shift = n_heads, shift
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.place = nn.Parameter(torch.zeros(n_heads, (2 * WINDOW - 1) ** 2))  # a bias for each step between cells
        self.register_buffer("step", _steps(), persistent=False)
        self.step: Tensor

    def forward(self, x: Cells) -> Cells:
        """Returns the same shape; cells that fill the last windows are cut off again."""
        n_freq, n_frames = x.shape[1:3]
        filled = nn.functional.pad(x, (0, 0, 0, -n_frames % WINDOW, 0, -n_freq % WINDOW))
        rolled = filled.roll((-self.shift, -self.shift), (1, 2))
        mixed = self._attend(_windows(rolled), self._apart(rolled.shape[1], rolled.shape[2]))
        whole = _whole(mixed, rolled.shape[1], rolled.shape[2])
        return whole.roll((self.shift, self.shift), (1, 2))[:, :n_freq, :n_frames]

    def _attend(self, windows: Tensor, apart: Bool[Tensor, "window cell cell"]) -> Tensor:
        """Mixes `[batch, window, cell, channel]` inside each window."""
        shape = (*windows.shape[:3], 3, self.n_heads, -1)
        query, key, value = self.qkv(windows).reshape(shape).permute(3, 0, 1, 4, 2, 5)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + self.place[:, self.step]
        scores = scores.masked_fill(apart[:, None], -100.0)
        return self.out((scores.softmax(-1) @ value).transpose(2, 3).flatten(3))

    def _apart(self, n_freq: int, n_frames: int) -> Bool[Tensor, "window cell cell"]:
        """Says which cells of a window were not neighbors before the shift."""
        sides = [
            (torch.arange(n) >= n - self.shift).int() if self.shift else torch.zeros(n) for n in (n_freq, n_frames)
        ]
        region = 2 * sides[0][:, None] + sides[1]
        region = _windows(region[None, :, :, None].float())[0, :, :, 0].to(self.step.device)
        return region[:, :, None] != region[:, None]


def _steps() -> Tensor:
    """Returns, for two cells of a window, which step leads from one to the other."""
    place = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
    step = place[:, :, None] - place[:, None] + WINDOW - 1
    return step[0] * (2 * WINDOW - 1) + step[1]


def _windows(x: Tensor) -> Tensor:
    """Cuts `[batch, freq, frame, channel]` into `[batch, window, cell, channel]`."""
    parts = x.unflatten(2, (-1, WINDOW)).unflatten(1, (-1, WINDOW))
    return parts.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)


def _whole(windows: Tensor, n_freq: int, n_frames: int) -> Tensor:
    """Puts windows together again."""
    parts = windows.unflatten(1, (n_freq // WINDOW, n_frames // WINDOW)).unflatten(3, (WINDOW, WINDOW))
    return parts.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)


class SwinBlock(nn.Module):
    """Window attention and an MLP per cell, each behind a LayerNorm and beside a skip."""

    def __init__(self, width: int, shift: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), WindowAttention(width, 2, shift)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Cells) -> Cells:
        """Returns the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Merging(nn.Module):
    """Joins two by two cells to one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Cells) -> Tensor:
        """Returns `[batch, freq / 2, frame / 2, 2 channel]`."""
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduce(self.norm(torch.cat(parts, -1)))


class SwinBackbone(nn.Module):
    """Patches of 4 x 4, two stages of two blocks, the second with half the cells: `[batch, freq, frame, channel]`."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(1, width, 4, 4), nn.LayerNorm(width)
        self.first = nn.Sequential(SwinBlock(width, 0), SwinBlock(width, WINDOW // 2))
        self.merging = Merging(width)
        self.second = nn.Sequential(SwinBlock(2 * width, 0), SwinBlock(2 * width, WINDOW // 2))

    def forward(self, x: Tensor) -> Tensor:
        """Returns cells of `[batch, 1, mel, frame]`; an odd last patch in time is left out."""
        cells = self.norm(self.patches(x).permute(0, 2, 3, 1))
        cells = cells[:, :, : cells.shape[2] // 2 * 2]
        return self.second(self.merging(self.first(cells)))


class Swin(nn.Module):
    """LayerNorm per token, then the mean of all, then one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.norm = SwinBackbone(), nn.LayerNorm(32)
        self.head = nn.Linear(32, N_LABELS)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, 1, mel, frame]`."""
        return self.head(self.norm(self.backbone(x)).mean((1, 2)))


class HtsAt(nn.Module):
    """LayerNorm per token; a convolution over all rows and three frames gives logits of each frame, then their mean.

    The token-semantic module of Chen et al. (2022). Tokens are in one row, `[batch, freq x frame, channel]`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.norm = SwinBackbone(), nn.LayerNorm(32)
        self.n_freq = N_MELS // 8
        self.tscam_conv = nn.Conv2d(32, N_LABELS, (self.n_freq, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[batch, label]` of `[batch, 1, mel, frame]`."""
        tokens = self.norm(self.backbone(x).flatten(1, 2))
        maps = tokens.transpose(1, 2).unflatten(2, (self.n_freq, -1))
        return self.tscam_conv(maps).flatten(2).mean(2)


def swin() -> Classifier:
    """Swin; the map is behind the LayerNorm per token, channels last."""
    return classifier_of(random_module(Swin), "swin", map_layer="norm", map_axes="FTC")


def hts_at() -> Classifier:
    """HTS-AT; the map is its tokens, several labels."""
    grid = TokenGrid(n_freq=N_MELS // 8)
    return classifier_of(random_module(HtsAt), "hts-at", map_layer="norm", map_axes=grid, task="multilabel")
