"""How far what a codec gives back is from what it was given: what is trained on, and what is reported."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio.distances import log_spectral_distance
from ...types import Samples

RESOLUTIONS = (256, 512, 1024)  # window lengths in samples; the hop is a quarter
QUIET = 1e-4  # a mean square, -40 dB of full scale: crops below count as if they were that loud
QUIET_LEVEL = 1e-3  # of magnitudes, -60 dB of full scale
LEAST = 3e-3  # noise, as a share of the energy, below which a crop is good enough

Values = Float[Tensor, " batch"]


def log_noise(sounds: Samples, clips: Samples) -> Values:
    r"""Returns :math:`\log((|y - x|^2 + \epsilon) / (|x|^2 + \epsilon))`, the noise in each sound; 0 for silence.

    A logarithm, since clips that are noise themselves (rain) would else outweigh those that can be given back.
    """
    energy = clips.square().mean(1) + QUIET
    return ((sounds - clips).square().mean(1) + QUIET + LEAST * energy).log() - energy.log()


def spectral_distance(sounds: Samples, clips: Samples) -> Float[Tensor, ""]:
    """Returns the mean over resolutions of the relative difference of magnitudes, and of that of their logarithms.

    Both have floors: without, digital silence has a gradient thousands of times that of all else.
    """
    total = sounds.new_zeros(())
    for n_fft in RESOLUTIONS:
        ours, theirs = (_magnitude(x, n_fft) for x in (sounds, clips))
        level = theirs.mean((1, 2), keepdim=True) + QUIET_LEVEL
        floor = 0.1 * level
        relative = (ours - theirs).abs() / level
        total = total + relative.mean() + ((ours + floor).log() - (theirs + floor).log()).abs().mean()
    return total / len(RESOLUTIONS)


def heard_distance(sounds: Samples, clips: Samples) -> Values:
    """Returns the log-spectral distance in dB, in windows of 512 samples, as `audio.distances` has it."""
    return log_spectral_distance(*(_magnitude(x, 512).square() for x in (sounds, clips)))


def _magnitude(samples: Samples, n_fft: int) -> Float[Tensor, "batch freq frame"]:
    """Returns magnitudes for which white noise has its own level."""
    window = torch.hann_window(n_fft, device=samples.device)
    spectrum = torch.stft(samples, n_fft, n_fft // 4, window=window, return_complex=True)
    return spectrum.abs() / window.square().sum().sqrt()
