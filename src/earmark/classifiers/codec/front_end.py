"""The codec as a front end: features are latents."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio.stft import Stft
from ...types import Samples
from ..front_ends import FrontEnd
from .base import Codec, Latents


class CodecFrontEnd(FrontEnd):
    """Hands on the latents of a codec, `[batch, channel, frame]`; rows are channels of the codec, and no bands.

    Parameters
    ----------
    codec
        Frozen.
    continuous
        Latents before they are quantized.
    """

    rows_are_hz = False
    gives_latents = True

    def __init__(self, codec: Codec, *, continuous: bool = False) -> None:
        super().__init__()
        self.codec, self.continuous, self.sample_rate = codec, continuous, codec.sample_rate
        self.normalizes = codec.normalizes
        n_fft = 1 << max(4, round(0.032 * codec.sample_rate) - 1).bit_length()
        self.stft = Stft(n_fft, n_fft // 4)

    def forward(self, samples: Samples) -> Latents:
        """Returns the latents; gradients pass the quantizer straight through."""
        return self.codec.encode(samples, continuous=self.continuous).to(samples.dtype)

    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """The numbers of the channels."""
        return torch.arange(self.codec.n_channels + 1, dtype=torch.float32)

    def column_s(self) -> tuple[float, float]:
        """Frame t stands for samples `t hop` to `(t + 1) hop`."""
        return 0.5 / self.codec.frame_rate, 1 / self.codec.frame_rate

    def to_dict(self) -> dict[str, Any]:
        """Returns kind and the codec's numbers; its weights are part of the fingerprint as those of any module."""
        return {"kind": "codec", "codec": self.codec.to_dict(), "continuous": self.continuous}
