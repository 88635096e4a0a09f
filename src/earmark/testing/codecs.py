"""Codecs whose answers are known: a rotation of pieces of the waveform, of which one sample each is the identity."""

from typing import Any

import torch
from torch.nn import functional

from ..classifiers.codec.base import Codec, Latents, Levels, straight_through
from ..types import Samples, seeded


class LinearCodec(Codec):
    """Pieces of `hop_length` samples, turned by an orthogonal matrix: latents `[batch, hop_length, frame]`.

    Parameters
    ----------
    hop_length
        Samples in a piece, and channels; 1 is the identity: latents are the samples.
    sample_rate
        In Hz.
    n_codes
        Entries of its one codebook; 0 is a codec that does not quantize.
    seed
        Of the matrix and the codebook.
    """

    def __init__(self, hop_length: int = 1, sample_rate: int = 8000, *, n_codes: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.name, self.sample_rate = "identity" if hop_length == 1 else "linear", sample_rate
        self.hop_length = self.n_channels = hop_length
        drawn = torch.randn(hop_length, hop_length, generator=seeded(seed))
        turn = torch.linalg.qr(drawn)[0] if hop_length > 1 else torch.ones(1, 1)
        self.register_buffer("turn", turn)
        self.register_buffer("codebook", 0.3 * torch.randn(n_codes, hop_length, generator=seeded(seed, 1)))

    @property
    def quantizes(self) -> bool:
        """Where it has a codebook."""
        return len(self.get_buffer("codebook")) > 0

    def to_dict(self) -> dict[str, Any]:
        """Returns its sizes."""
        return {"kind": "linear", "sample_rate": self.sample_rate, "hop_length": self.hop_length}

    def n_frames(self, n_samples: int) -> int:
        """Returns the number of pieces."""
        return -(-n_samples // self.hop_length)

    def _encode(self, samples: Samples) -> Latents:
        missing = -samples.shape[-1] % self.hop_length
        pieces = functional.pad(samples, (0, missing)).unflatten(1, (-1, self.hop_length))
        return self.get_buffer("turn") @ pieces.transpose(1, 2)

    def _quantize(self, latents: Latents) -> Latents:
        if not self.quantizes:
            return latents
        codebook = self.get_buffer("codebook")
        codes = torch.cdist(latents.detach().transpose(1, 2), codebook[None]).argmin(2)
        return straight_through(latents, codebook[codes].transpose(1, 2))

    def _decode(self, latents: Latents, n_samples: int, levels: Levels | None) -> Samples:
        pieces = self.get_buffer("turn").T @ latents
        return pieces.transpose(1, 2).flatten(1)[:, :n_samples]
