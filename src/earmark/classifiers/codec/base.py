"""Codec: a frozen network from sounds to latents and back."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import InputError
from ...types import Samples
from ..fingerprint import fingerprint_of
from ..surgery import at_rest

Latents = Float[Tensor, "batch channel frame"]
Levels = Float[Tensor, "batch chunk"]


class Codec(nn.Module, ABC):
    """Turns samples into latents and latents into samples; never trained here, and never changed.

    Each clip is coded on its own. Gradients pass all of it: the quantizer hands them straight through.

    Attributes
    ----------
    name
        What it is called.
    sample_rate
        Of the sounds that it takes and gives, in Hz.
    hop_length
        Samples from frame to frame.
    n_channels
        Channels of its latents.
    notes
        Sentences on what it does to sounds that are not as it wants them.
    """

    name: str
    sample_rate: int
    hop_length: int
    n_channels: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, {self.n_channels} x {self.frame_rate:g} Hz, {self.sample_rate} Hz)"
        )

    @property
    def frame_rate(self) -> float:
        """Frames per second (Hz)."""
        return self.sample_rate / self.hop_length

    @property
    def quantizes(self) -> bool:
        """Whether its latents are entries of codebooks."""
        return False

    @property
    def normalizes(self) -> bool:
        """Whether it removes the level of a clip, so that `decode` needs `levels`."""
        return False

    def encode(self, samples: Samples, *, continuous: bool = False) -> Latents:
        """Returns the latents of samples at the codec's rate, of any length.

        Parameters
        ----------
        continuous
            What the encoder says, before it is quantized; else sums of codebook entries.
        """
        with at_rest(self):
            latents = self._encode(samples.to(self.dtype))
            return latents if continuous else self._quantize(latents)

    def quantize(self, latents: Latents) -> Latents:
        """Returns the nearest latents that codes can stand for; gradients pass as if nothing had been done."""
        with at_rest(self):
            return self._quantize(latents)

    def decode(self, latents: Latents, n_samples: int, levels: Levels | None = None) -> Samples:
        """Returns the sounds of `n_samples` that latents stand for.

        Parameters
        ----------
        levels
            What `levels` returned for the clips, where the codec normalizes; without it their level is 1.

        Raises
        ------
        InputError
            If these are the latents of another codec, or of clips of another length.
        """
        expected = (self.n_channels, self.n_frames(n_samples))
        if tuple(latents.shape[1:]) != expected:
            raise InputError(
                f"Latents of shape {tuple(latents.shape)} came, [batch, {expected[0]}, {expected[1]}] were expected of "
                f"{self.name} for {n_samples} samples; they are another codec's, or of clips of another length."
            )
        with at_rest(self), torch.backends.cudnn.flags(enabled=False):  # cuDNN has no gradient of LSTMs at rest
            return self._decode(latents, n_samples, levels)

    def levels(self, samples: Samples) -> Levels | None:
        """Returns the level of each chunk of each clip where the codec normalizes, else `None`."""
        return None

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((value.device for value in self.state_dict().values()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of its weights."""
        return next((v.dtype for v in self.state_dict().values() if v.is_floating_point()), torch.float32)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of its weights and numbers; computed once."""
        return fingerprint_of(self.to_dict(), [self])

    @abstractmethod
    def n_frames(self, n_samples: int) -> int:
        """Returns the number of frames of clips of `n_samples`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Returns what defines it beside its weights, as plain JSON values."""

    @abstractmethod
    def _encode(self, samples: Samples) -> Latents:
        """Returns the latents before they are quantized."""

    @abstractmethod
    def _decode(self, latents: Latents, n_samples: int, levels: Levels | None) -> Samples:
        """Returns the sounds of latents."""

    def _quantize(self, latents: Latents) -> Latents:
        return latents


class StraightThrough(torch.autograd.Function):
    """Is the second tensor, with the gradient of the first (Bengio et al., 2013): exact, unlike `x + (q - x)`."""

    @staticmethod
    def forward(ctx: Any, latents: Tensor, quantized: Tensor) -> Tensor:
        """Returns a copy of what was quantized."""
        return quantized.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Hands the gradient to the latents."""
        return gradient, None


def straight_through(latents: Latents, quantized: Latents) -> Latents:
    """Returns `quantized`, which lets gradients through to `latents`."""
    result: Latents = StraightThrough.apply(latents, quantized.detach())
    return result
