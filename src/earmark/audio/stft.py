"""The short-time Fourier transform with an exact inverse for every length of sound."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..types import ComplexStft, Samples


@dataclass(frozen=True)
class Stft:
    """Centered analysis with a periodic Hann window, zero-padded at both ends.

    Frame n is centered at sample `n * hop_length`. There are `1 + ceil(n_samples / hop_length)` frames: one more
    than usual where the last hop is not full, so that every sample lies well inside some window and the inverse is
    exact for any length, also for clips shorter than a window.

    Parameters
    ----------
    n_fft
        Window and transform length in samples.
    hop_length
        Step between frames in samples, at most `n_fft // 2`.
    """

    n_fft: int = 1024
    hop_length: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.hop_length <= self.n_fft // 2:
            raise InputError(
                f"hop_length must lie in 1 ... n_fft // 2 = {self.n_fft // 2} samples for an exact inverse, "
                f"got {self.hop_length}."
            )

    @property
    def n_freq(self) -> int:
        """Number of frequency bins."""
        return self.n_fft // 2 + 1

    def n_frames(self, n_samples: int) -> int:
        """Number of frames of a clip of `n_samples`."""
        return 1 + -(-n_samples // self.hop_length)

    def __call__(self, samples: Samples) -> ComplexStft:
        """Returns the complex STFT `[batch, freq, frame]` of `[batch, sample]`."""
        n_samples = samples.shape[-1]
        half = self.n_fft // 2
        right = (self.n_frames(n_samples) - 1) * self.hop_length - n_samples + half
        padded = torch.nn.functional.pad(samples, (half, right + self.n_fft % 2))
        return torch.stft(
            padded,
            self.n_fft,
            self.hop_length,
            window=self._window(samples),
            center=False,
            return_complex=True,
        )

    def inverse(self, stft: ComplexStft, n_samples: int) -> Samples:
        """Returns the `[batch, sample]` sound whose STFT is nearest in the least-squares sense.

        For an unchanged STFT this is the sound itself (to 1e-6 in float32).

        Raises
        ------
        InputError
            If a clip of `n_samples` has another number of frames.
        """
        if stft.shape[-1] != self.n_frames(n_samples):
            raise InputError(
                f"{n_samples} samples have {self.n_frames(n_samples)} frames, got {stft.shape[-1]}; pass the length "
                "of the clip that the STFT was made of."
            )
        window = self._window(stft.real)
        frames = torch.fft.irfft(stft.transpose(1, 2), self.n_fft) * window
        total = self.n_fft + self.hop_length * (stft.shape[-1] - 1)
        summed = _overlap_add(frames, total, self.hop_length)
        weight = _overlap_add((window**2).expand(1, stft.shape[-1], -1), total, self.hop_length)
        half = self.n_fft // 2
        return summed[:, half : half + n_samples] / weight[:, half : half + n_samples]

    def frequencies_hz(self, sample_rate: int) -> Float[Tensor, " freq"]:
        """Center frequency of each bin in Hz."""
        return torch.arange(self.n_freq) * (sample_rate / self.n_fft)

    def times_s(self, n_samples: int, sample_rate: int) -> Float[Tensor, " frame"]:
        """Center time of each frame in seconds."""
        return torch.arange(self.n_frames(n_samples)) * (self.hop_length / sample_rate)

    def _window(self, like: Tensor) -> Float[Tensor, " sample"]:
        return _hann(self.n_fft).to(device=like.device, dtype=like.dtype)


@lru_cache(maxsize=8)
def _hann(n_fft: int) -> Float[Tensor, " sample"]:
    return torch.hann_window(n_fft, dtype=torch.float64)


def _overlap_add(
    frames: Float[Tensor, "batch frame sample"], total: int, hop_length: int
) -> Float[Tensor, "batch total"]:
    columns = frames.transpose(1, 2)
    summed = torch.nn.functional.fold(columns, (1, total), (1, frames.shape[-1]), stride=(1, hop_length))
    return summed[:, 0, 0]
