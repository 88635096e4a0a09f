"""Mask networks: from `u`, `[batch, filter, frame]`, to what is added to the logits of the mask.

All of them normalize over the filters and frames of each clip alone, so that a clip's mask depends on no other clip.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .config import LmacTdConfig

Bands = Float[Tensor, "batch band frame"]
Code = Float[Tensor, "batch filter frame"]


def mask_net_of(config: LmacTdConfig, n_filters: int, n_bands: int) -> nn.Module:
    """Returns the network that the configuration names."""
    if config.mask_net == "dual-path":
        return DualPath(n_filters, n_bands, config)
    return Dilated(n_filters, n_bands, config.channels, config.blocks)


class Dilated(nn.Module):
    """Residual blocks of a dilated convolution and a 1x1 convolution, between two 1x1 convolutions.

    Parameters
    ----------
    n_filters, n_bands
        Channels of what comes in and of what goes out.
    channels
        Channels inside.
    blocks
        Dilations are 1, 2, 4, ... frames.
    """

    def __init__(self, n_filters: int, n_bands: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, n_filters)
        self.first = nn.Conv1d(n_filters, channels, 1)
        self.blocks = nn.ModuleList(_Block(channels, 2**index) for index in range(blocks))
        self.last = nn.Conv1d(channels, n_bands, 1)

    def forward(self, u: Code) -> Bands:
        """Returns `[batch, band, frame]`."""
        x = self.first(self.norm(u))
        for block in self.blocks:
            x = x + block(x)
        return self.last(functional.relu(x))


class _Block(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.dilated = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Code) -> Code:
        return self.mix(functional.relu(self.dilated(functional.relu(self.norm(x)))))


class DualPath(nn.Module):
    """A SepFormer's separator for one source: transformers within chunks of frames, and across chunks.

    Source: Subakan et al., "Attention is all you need in speech separation" (2021), section 2.2, with the sizes of the
    LMAC-TD repository. The mask is the sigmoid of what comes out, taken elsewhere.
    """

    def __init__(self, n_filters: int, n_bands: int, config: LmacTdConfig) -> None:
        super().__init__()
        channels, self.chunk = config.channels, config.chunk
        self.norm = nn.GroupNorm(1, n_filters)
        self.first = nn.Conv1d(n_filters, channels, 1, bias=False)
        self.intra = nn.ModuleList(_Path(channels, config.intra, config) for _ in range(config.blocks))
        self.inter = nn.ModuleList(_Path(channels, config.inter, config) for _ in range(config.blocks))
        self.gated = nn.Conv1d(channels, 2 * channels, 1)
        self.last = nn.Conv1d(channels, n_bands, 1)

    def forward(self, u: Code) -> Bands:
        """Returns `[batch, band, frame]`."""
        x = chunked(self.first(self.norm(u)), self.chunk)
        for intra, inter in zip(self.intra, self.inter, strict=True):
            x = x + intra(x)
            x = x + inter(x.transpose(2, 3)).transpose(2, 3)
        value, gate = self.gated(joined(x, u.shape[2])).chunk(2, 1)
        return self.last(torch.tanh(value) * torch.sigmoid(gate))


class _Path(nn.Module):
    """Transformer layers along the last axis of `[batch, channel, sequence, step]`, and a normalization."""

    def __init__(self, channels: int, n_layers: int, config: LmacTdConfig) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            channels, config.heads, config.feed_forward, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, n_layers, nn.LayerNorm(channels), enable_nested_tensor=False)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x: Float[Tensor, "batch channel sequence step"]) -> Float[Tensor, "batch channel sequence step"]:
        batch, channels, sequences, steps = x.shape
        flat = x.permute(0, 2, 3, 1).reshape(batch * sequences, steps, channels)
        out = self.layers(flat + positions(steps, channels).to(flat))
        return self.norm(out.view(batch, sequences, steps, channels).permute(0, 3, 1, 2).contiguous())


def positions(steps: int, channels: int) -> Float[Tensor, "step channel"]:
    """Returns sines and cosines of rising wavelength, by which steps can be told apart."""
    at = torch.arange(steps)[:, None] * torch.exp(torch.arange(0, channels, 2) * (-math.log(1e4) / channels))
    return torch.stack([at.sin(), at.cos()], 2).flatten(1)


def chunked(x: Code, chunk: int) -> Float[Tensor, "batch filter chunk step"]:
    """Returns chunks of `chunk` frames that overlap by half, `[batch, filter, chunk, frame in it]`.

    Half a chunk of zeros stands before the first frame, and as many as fill the last chunk behind, so that each frame
    lies in two.
    """
    half = chunk // 2
    n_chunks = 1 + -(-x.shape[2] // half)
    padded = functional.pad(x, (half, (n_chunks + 1) * half - x.shape[2] - half))
    return padded.unfold(2, chunk, half)


def joined(chunks: Float[Tensor, "batch filter chunk step"], n_frames: int) -> Code:
    """Returns the sum of overlapping chunks, `[batch, filter, n_frames]`; the reverse of `chunked` but for a 2."""
    half = chunks.shape[3] // 2
    ahead, behind = chunks[..., :half].flatten(2), chunks[..., half:].flatten(2)
    return (functional.pad(ahead, (0, half)) + functional.pad(behind, (half, 0)))[..., half : half + n_frames]
