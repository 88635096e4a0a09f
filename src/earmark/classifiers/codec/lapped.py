"""A codec without weights: windowed cosines, exact for every sound. The control for learned latents."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...errors import InputError
from ...types import Samples
from .base import Codec, Latents, Levels


class LappedCodec(Codec):
    r"""The modified discrete cosine transform (Princen and Bradley, 1986) as a codec.

    Its latents are `n_channels` bands of equal width, `sample_rate / n_channels` frames per
    second, orthonormal, nothing lost, nothing learned. What learned latents explain better than these, they owe to
    what was learned.

    Parameters
    ----------
    sample_rate
        Of the sounds, in Hz.
    n_channels
        Bands, and samples from frame to frame.
    """

    def __init__(self, sample_rate: int, n_channels: int = 128) -> None:
        super().__init__()
        if n_channels < 1 or sample_rate < 1:
            raise InputError(f"Rate and channels are 1 or more, got {sample_rate} Hz and {n_channels}; change them.")
        self.name, self.sample_rate = "lapped", sample_rate
        self.n_channels = self.hop_length = n_channels
        self.register_buffer("basis", _basis(n_channels)[:, None].float())

    def to_dict(self) -> dict[str, Any]:
        """Returns kind, rate and bands."""
        return {"kind": "lapped", "sample_rate": self.sample_rate, "n_channels": self.n_channels}

    def n_frames(self, n_samples: int) -> int:
        """Returns one frame more than pieces of `hop_length`: frames overlap by half."""
        return 1 + -(-n_samples // self.hop_length)

    def _encode(self, samples: Samples) -> Latents:
        hop, n_frames = self.hop_length, self.n_frames(samples.shape[-1])
        padded = functional.pad(samples, (hop, n_frames * hop - samples.shape[-1]))
        return functional.conv1d(padded[:, None], self.get_buffer("basis"), stride=hop)

    def _decode(self, latents: Latents, n_samples: int, levels: Levels | None) -> Samples:
        hop = self.hop_length
        sounds = functional.conv_transpose1d(latents, self.get_buffer("basis"), stride=hop)[:, 0, hop:]
        return functional.pad(sounds, (0, max(0, n_samples - sounds.shape[1])))[:, :n_samples]


def _basis(n_channels: int) -> Float[Tensor, "channel sample"]:
    r"""Returns :math:`\sqrt{2/N} \sin(\pi (n + 1/2) / 2N) \cos(\pi (n + 1/2 + N/2)(k + 1/2) / N)`, `[N, 2 N]`."""
    n = torch.arange(2 * n_channels, dtype=torch.float64) + 0.5
    k = torch.arange(n_channels, dtype=torch.float64)[:, None] + 0.5
    window = math.sqrt(2 / n_channels) * torch.sin(math.pi * n / (2 * n_channels))
    return window * torch.cos(math.pi / n_channels * (n + n_channels / 2) * k)
