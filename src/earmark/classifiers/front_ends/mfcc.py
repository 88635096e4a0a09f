"""Mel-frequency cepstral coefficients."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...types import Features
from ..config import MelConfig, MfccConfig
from .mel_spectrogram import Mel


class Mfcc(Mel):
    """Orthonormal DCT-II of a mel spectrogram over its bands; the first `n_mfcc` coefficients (librosa's definition).

    A coefficient hears the whole band: it is a shape over frequency and not a place on it. So rows have no frequency
    (`rows_are_hz` is False), their borders only number them, evenly over the band, and each weighs all bins alike.

    Parameters
    ----------
    config
        The numbers; keyword `changes` replace single ones.
    """

    kind = "mfcc"
    rows_are_hz = False
    config: MfccConfig

    def __init__(self, config: MfccConfig | None = None, **changes: Any) -> None:
        super().__init__(config, **changes)
        self.register_buffer("transform", dct(self.config.n_mels)[: self.config.n_mfcc].float(), persistent=False)
        self.transform: Tensor

    @staticmethod
    def _defaults() -> MelConfig:
        return MfccConfig()

    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """Even parts of the band, which number the rows: coefficients have no frequency."""
        edges = super().row_edges_hz()
        return torch.linspace(float(edges[0]), float(edges[-1]), len(self.transform) + 1, dtype=torch.float64)

    def bin_weights(self) -> Float[Tensor, "mfcc freq"]:
        """Returns the same for each row: all bins that any filter hears, alike."""
        heard = (self.filters.sum(0, keepdim=True) > 0).to(self.filters)
        return heard.expand(len(self.transform), -1)

    def _compressed(self, spectrogram: Float[Tensor, "batch freq frame"]) -> Features:
        bands = super()._compressed(spectrogram)
        return self.transform.to(bands) @ bands


def dct(n: int) -> Float[Tensor, "coefficient n"]:
    """Returns the orthonormal DCT-II, `sqrt(2 / n) cos(pi k (i + 1/2) / n)`, row 0 divided by sqrt(2) (float64)."""
    index = torch.arange(n, dtype=torch.float64)
    matrix = math.sqrt(2 / n) * torch.cos(math.pi / n * index[:, None] * (index + 0.5))
    matrix[0] /= math.sqrt(2)
    return matrix
