"""What every front end is: from a waveform to what the backbone eats, differentiable, each clip on its own."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...audio.stft import Stft
from ...types import ComplexStft, Samples


class FrontEnd(nn.Module, ABC):
    """Turns samples into features; subclass it for a front end of your own.

    Attributes
    ----------
    sample_rate
        The rate of the waveforms that it takes, in Hz.
    stft
        The analysis of stage `stft`, exactly invertible.
    native_stft
        Whether the features start from that analysis. Where they do not, entry at `stft` goes through its inverse.
    normalizes
        Whether the level of a clip is removed, so that quiet evidence is amplified.
    rows_are_hz
        Whether each feature row is a band of frequencies, in rising order. Where they are not, borders of rows are a
        numbering, and only whole columns have a place in the sound: time, but no frequency.
    gives_latents
        Whether the features are the latents of a codec, stage `latents`.
    max_samples
        Samples of a clip that have any say; of a longer clip only the beginning counts. None: all have.
    """

    sample_rate: int
    stft: Stft
    native_stft: bool = False
    normalizes: bool = False
    rows_are_hz: bool = True
    gives_latents: bool = False
    max_samples: int | None = None

    @abstractmethod
    def forward(self, samples: Samples) -> Tensor:
        """Returns features `[batch, mel, frame]` of samples `[batch, sample]`."""

    def from_stft(self, stft: ComplexStft, n_samples: int) -> Tensor:
        """Returns the features of an STFT; here through the inverse STFT."""
        return self(self.stft.inverse(stft, n_samples))

    @abstractmethod
    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """Borders in Hz of the feature rows, one more than rows, rising."""

    @abstractmethod
    def column_s(self) -> tuple[float, float]:
        """Center of feature column 0 and the step between columns, in seconds."""

    def bin_weights(self) -> Float[Tensor, "mel freq"] | None:
        """Returns how much each bin of `stft` counts for each feature row, or None where borders say it all."""
        return None

    def columns_inside(self, n_samples: int) -> int:
        """Returns how many feature columns, from the first, lie in a clip of `n_samples`; the others are padding."""
        device = next((buffer.device for buffer in self.buffers()), None)
        with torch.no_grad():
            return self(torch.zeros(1, n_samples, device=device)).shape[-1]

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Returns what defines this front end, as plain JSON values (part of the fingerprint)."""


def is_invertible(front_end: FrontEnd, n_samples: int = 4096) -> bool:
    """Says whether the inverse STFT gives noise back within -90 dB."""
    noise = torch.randn(1, n_samples, generator=torch.Generator().manual_seed(0))
    error = front_end.stft.inverse(front_end.stft(noise), n_samples) - noise
    return float(error.square().mean() / noise.square().mean()) < 1e-9
