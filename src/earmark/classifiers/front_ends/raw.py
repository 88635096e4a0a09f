"""Samples as features, for networks that begin with convolutions over the waveform."""

from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio.stft import Stft
from ...errors import InputError
from ...types import Samples
from ..config import RawConfig
from .base import FrontEnd


class Raw(FrontEnd):
    """Hands samples on as features `[batch, 1, sample]`: one row from 0 Hz to the Nyquist frequency.

    With `normalize`, each clip becomes `(x - mean) / sqrt(variance + eps)`, as wav2vec 2.0, HuBERT and WavLM take it.
    With `chunk_length`, zeros fill the last chunk, as for EnCodec. Masks live on an STFT grid of its own choice.

    Parameters
    ----------
    config
        The numbers; keyword `changes` replace single ones.
    """

    def __init__(self, config: RawConfig | None = None, **changes: Any) -> None:
        super().__init__()
        self.config = config = replace(config or RawConfig(), **changes)
        if config.normalize and config.eps <= 0:
            raise InputError(f"eps must be above 0, got {config.eps}: silence has no variance to divide by.")
        self.sample_rate, self.normalizes = config.sample_rate, config.normalize
        self.stft = Stft(config.n_fft, config.hop_length)

    def forward(self, samples: Samples) -> Float[Tensor, "batch 1 _"]:
        """Returns `[batch, 1, sample]`."""
        if self.config.normalize:
            centered = samples - samples.mean(1, keepdim=True)
            samples = centered / (centered.square().mean(1, keepdim=True) + self.config.eps).sqrt()
        missing = self.n_columns(samples.shape[-1]) - samples.shape[-1]
        return torch.nn.functional.pad(samples, (0, missing))[:, None]

    def n_columns(self, n_samples: int) -> int:
        """Returns how many samples the features have, the zeros of the last chunk included."""
        length = self.config.chunk_length
        if length is None:
            return n_samples
        stride = self.config.chunk_stride or length
        return (-(-n_samples // stride) - 1) * stride + length

    def columns_inside(self, n_samples: int) -> int:
        """All samples of the clip."""
        return n_samples

    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """0 Hz and the Nyquist frequency."""
        return torch.tensor([0.0, self.sample_rate / 2])

    def column_s(self) -> tuple[float, float]:
        """Sample n is at `n / sample_rate` seconds."""
        return 0.0, 1 / self.sample_rate

    def to_dict(self) -> dict[str, Any]:
        """Returns kind and configuration."""
        return {"kind": "raw", **asdict(self.config)}
