"""How far what a codec gives back is from what it was given: what is trained on, and what is reported."""

import torch
from jaxtyping import Float
from torch import Tensor

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


def si_sdr_db(sounds: Samples, clips: Samples) -> Values:
    """Returns the scale-invariant signal-to-distortion ratio in dB (Le Roux et al., 2019); NaN for silent clips."""
    sounds, clips = sounds.double(), clips.double()
    energy = clips.square().sum(1)
    target = clips * ((sounds * clips).sum(1) / energy)[:, None]
    return 10 * (target.square().sum(1) / (sounds - target).square().sum(1).clamp_min(1e-20)).log10()


def log_spectral_distance_db(sounds: Samples, clips: Samples) -> Values:
    """Returns the root mean square over bins, averaged over frames, of the difference in dB, 80 dB below the clip."""
    ours, theirs = (_magnitude(x, 512) for x in (sounds, clips))
    floor = (1e-4 * theirs.amax((1, 2), keepdim=True)).clamp_min(1e-10)
    difference = 20 * (ours.clamp_min(floor) / theirs.clamp_min(floor)).log10()
    return difference.square().mean(1).sqrt().mean(1)


def _magnitude(samples: Samples, n_fft: int) -> Float[Tensor, "batch freq frame"]:
    """Returns magnitudes for which white noise has its own level."""
    window = torch.hann_window(n_fft, device=samples.device)
    spectrum = torch.stft(samples, n_fft, n_fft // 4, window=window, return_complex=True)
    return spectrum.abs() / window.square().sum().sqrt()
