"""A transformer that decides on the latents of a frozen codec."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...errors import InputError
from ...types import Logits
from .base import Latents

Positions = Literal["sinusoidal", "learned"]
LEAST = 0.01  # a squared latent, where the mean is 1, below which it counts as nothing
LOG_STD = 2.0  # about the spread of their logs
Tokens = Float[Tensor, "batch frame channel"]

#: Smallest and largest numbers that a configuration may claim.
SIZES = {
    "n_channels": (1, 1 << 14),
    "n_labels": (1, 1_000_000),
    "width": (1, 1 << 13),
    "n_layers": (1, 64),
    "n_heads": (1, 256),
    "feed_forward": (1, 1 << 15),
    "max_frames": (1, 1 << 16),
}


@dataclass(frozen=True)
class LatentConfig:
    """The size of a `LatentTransformer`; the published one unless changed (arXiv 2410.07530)."""

    width: int = 256  # of a token
    n_layers: int = 3  # transformer layers
    n_heads: int = 8  # of each
    feed_forward: int = 512  # width of its feed-forward part
    dropout: float = 0.1  # in training only
    positions: Positions = "sinusoidal"  # or learned, stretched where clips are longer than max_frames
    max_frames: int = 512  # learned positions
    levels: bool = False  # tokens also get the log of squared latents: small data do not teach it to leave signs aside

    def __post_init__(self) -> None:
        for name, (low, high) in SIZES.items():
            value = getattr(self, name, low)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"{name} is a whole number from {low} to {high}, got {value!r}; change it.")
        if self.width % self.n_heads or self.width % 2:
            raise InputError(f"width is an even multiple of n_heads, got {self.width} and {self.n_heads}; change one.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is a probability below 1, got {self.dropout!r}; change it.")
        if self.positions not in get_args(Positions):
            raise InputError(f"positions is one of {', '.join(get_args(Positions))}, got {self.positions!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)


class LatentTransformer(nn.Module):
    """Scaled latents, one token for each frame, transformer layers, the mean over frames, one linear layer.

    The map is the last norm's output; what follows is a mean and a linear layer, so contributions are exact (tier T1).

    Parameters
    ----------
    config
        Its size.
    n_channels, n_labels
        Channels of the latents; outputs.
    """

    map_layer = "norm"

    def __init__(self, config: LatentConfig, n_channels: int, n_labels: int) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.register_buffer("mean", torch.zeros(n_channels, 1))
        self.register_buffer("std", torch.ones(n_channels, 1))
        self.embed = nn.Linear((1 + config.levels) * n_channels, width)
        learned = 0.02 * torch.randn(config.max_frames, width)
        self.positions = nn.Parameter(learned) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(AttentionBlock(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, n_labels)

    def calibrate(self, latents: Latents) -> None:
        """Sets mean and standard deviation of each channel, over all frames of some clips; part of the weights."""
        std, mean = torch.std_mean(latents, (0, 2), correction=0)
        self.get_buffer("mean").copy_(mean[:, None])
        self.get_buffer("std").copy_(std.clamp_min(1e-3 * max(float(std.max()), 1e-6))[:, None])

    def forward(self, latents: Latents) -> Logits:
        """Returns logits `[batch, label]`."""
        scaled = (latents - self.get_buffer("mean")) / self.get_buffer("std")
        if self.config.levels:
            scaled = torch.cat([scaled, (scaled.square() + LEAST).log() / LOG_STD], 1)
        tokens = self.embed(scaled.transpose(1, 2))
        tokens = tokens + self._places(tokens)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens))

    def head(self, tokens: Tokens) -> Logits:
        """Returns logits of the map: mean over frames, then the linear layer."""
        return self.linear(tokens.mean(1))

    def _places(self, tokens: Tokens) -> Float[Tensor, "frame channel"]:
        n_frames, width = tokens.shape[1:]
        if self.positions is None:
            return sinusoids(n_frames, width).to(tokens)
        if n_frames <= len(self.positions):
            return self.positions[:n_frames]
        stretched = functional.interpolate(self.positions.T[None], n_frames, mode="linear", align_corners=True)
        return stretched[0].T


class AttentionBlock(nn.Module):
    """Self-attention and two linear layers, each behind a norm and beside a way past it."""

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        width = config.width
        self.n_heads, self.dropout = config.n_heads, config.dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, config.feed_forward), nn.Linear(config.feed_forward, width)
        self.activation = nn.ReLU()

    def forward(self, tokens: Tokens) -> Tokens:
        """Returns tokens of the same shape."""
        tokens = tokens + self._dropped(self.out(self._attended(self.norms[0](tokens))))
        return tokens + self._dropped(self.outer(self._dropped(self.activation(self.inner(self.norms[1](tokens))))))

    def _attended(self, tokens: Tokens) -> Tokens:
        parts = self.qkv(tokens).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], dropout_p=rate)
        return mixed.transpose(1, 2).flatten(2)

    def _dropped(self, tokens: Tensor) -> Tensor:
        return functional.dropout(tokens, self.dropout, self.training)


def sinusoids(n_frames: int, width: int) -> Float[Tensor, "frame channel"]:
    """Returns sines and cosines of frame numbers at wavelengths from 2 pi to 10,000 (Vaswani et al., 2017)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(0, width, 2) / width)
    angles = torch.arange(n_frames)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
