r"""The encoder and the decoder between which a mask lies: `w = ReLU(Conv1d(x))` and `x = ConvTranspose1d(w)`.

The decoder is linear, so what two masks that add up to one let through adds up to the reconstruction. Clips are padded
by half a window at their ends: each sample lies in two windows, and the length of a clip comes back exactly.
"""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional

from ...types import Samples, seeded
from .config import LmacTdConfig

Code = Float[Tensor, "batch filter frame"]
PerClip = Float[Tensor, " batch"]

N_SIGNS = 2  # of each function of a fourier basis, since ReLU lets one sign through


class Autoencoder(nn.Module):
    """Encoder and decoder, both without bias.

    Parameters
    ----------
    n_window
        Length of a filter in samples, even; filters follow each other by half of it.
    n_filters
        Channels of the code.
    """

    def __init__(self, n_window: int, n_filters: int) -> None:
        super().__init__()
        self.n_window, self.n_filters, self.hop_length = n_window, n_filters, n_window // 2
        self.encoder = nn.Conv1d(1, n_filters, n_window, self.hop_length, bias=False)
        self.decoder = nn.ConvTranspose1d(n_filters, 1, n_window, self.hop_length, bias=False)

    def n_frames(self, n_samples: int) -> int:
        """Returns the number of frames of a clip: `floor((n - window) / hop) + 1` of its padded length."""
        return 1 + -(-n_samples // self.hop_length)

    def encode(self, samples: Samples) -> Code:
        """Returns `[batch, filter, frame]`, 0 or more."""
        n_samples = samples.shape[-1]
        padded = (self.n_frames(n_samples) + 1) * self.hop_length
        x = functional.pad(samples, (self.hop_length, padded - n_samples - self.hop_length))
        return functional.relu(self.encoder(x[:, None]))

    def decode(self, code: Code, n_samples: int) -> Samples:
        """Returns the clips of `n_samples` that codes stand for."""
        return self.decoder(code)[:, 0, self.hop_length : self.hop_length + n_samples]

    def forward(self, samples: Samples) -> Samples:
        """Returns the reconstruction."""
        return self.decode(self.encode(samples), samples.shape[-1])


def autoencoder_of(config: LmacTdConfig, sample_rate: int) -> Autoencoder:
    """Returns encoder and decoder before any training: exact for a fourier basis, else randomly drawn."""
    n_window = window_of(config, sample_rate)
    n_filters = n_window if config.basis == "fourier" else config.filters or 2 * n_window
    with torch.random.fork_rng(devices=[]):
        found = Autoencoder(n_window, n_filters)
    generator = seeded(config.seed, 7)
    filters = fourier_filters(n_window) if config.basis == "fourier" else random_filters(n_window, n_filters, generator)
    with torch.no_grad():
        found.encoder.weight.copy_(filters[:, None])
        found.decoder.weight.copy_(filters[:, None])
        if config.basis != "fourier":  # a ReLU lets half through; of C random filters, C / window overlap
            found.decoder.weight.mul_(2 * n_window / n_filters)
    return found


def window_of(config: LmacTdConfig, sample_rate: int) -> int:
    """Returns the length of a filter in samples, even."""
    return 2 * max(1, round(config.window_s * sample_rate / 2))


def fourier_filters(n_window: int) -> Float[Tensor, "filter sample"]:
    r"""Returns windowed cosines and their negatives, `[n_window, n_window]`: an orthonormal lapped basis.

    :math:`\pm\sqrt{2/N} \sin(\pi (n + 1/2) / 2N) \cos(\pi (n + 1/2 + N/2)(k + 1/2) / N)` for `k < N = n_window / 2`
    (the modified discrete cosine transform of Princen and Bradley, 1986); filter `k` is centered at `(k + 1/2) / N` of
    the Nyquist frequency, and filter `N + k` is its negative.
    """
    half = n_window // 2
    n = torch.arange(n_window, dtype=torch.float64) + 0.5
    k = torch.arange(half, dtype=torch.float64)[:, None] + 0.5
    window = torch.sin(math.pi * n / n_window)
    basis = math.sqrt(2 / half) * window * torch.cos(math.pi / half * (n + half / 2) * k)
    return torch.cat([basis, -basis]).float()


def random_filters(n_window: int, n_filters: int, generator: Generator) -> Float[Tensor, "filter sample"]:
    """Returns normal noise below a sine window, so that shifted copies add up evenly."""
    window = torch.sin(math.pi * (torch.arange(n_window) + 0.5) / n_window)
    return torch.randn(n_filters, n_window, generator=generator) * window * n_window**-0.5


def reconstruction_snr_db(samples: Samples, again: Samples) -> PerClip:
    """Returns the energy of a clip over that of what its reconstruction misses, in dB; NaN for a silent clip."""
    error = (samples - again).double().square().sum(1)
    energy = samples.double().square().sum(1)
    ratio = energy / error.clamp_min(1e-20 * energy).clamp_min(1e-300)
    return torch.where(energy > 0, 10 * ratio.log10(), torch.nan)
