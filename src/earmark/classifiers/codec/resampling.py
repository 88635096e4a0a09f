"""Another sample rate within a traced pass: a windowed sinc as a convolution, differentiable."""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...types import Samples

ZEROS = 16  # zero crossings of the sinc on either side
ROLL_OFF = 0.97  # cut-off, as a share of the lower Nyquist frequency


def resampled(
    samples: Samples, sample_rate: int, new_rate: int, n_samples: int | None = None
) -> Float[Tensor, "batch _"]:
    """Returns sounds at another rate.

    Parameters
    ----------
    sample_rate, new_rate
        In Hz.
    n_samples
        Cut, or continued with zeros, to this length; by default `ceil(n new_rate / sample_rate)`.
    """
    if sample_rate == new_rate:
        return samples if n_samples is None else _fitted(samples, n_samples)
    divisor = math.gcd(sample_rate, new_rate)
    old, new = sample_rate // divisor, new_rate // divisor
    kernel = _kernel(old, new).to(samples)
    width = (kernel.shape[-1] - old) // 2
    padded = functional.pad(samples, (width, width + old))
    phases = functional.conv1d(padded[:, None], kernel[:, None], stride=old)
    sounds = phases.transpose(1, 2).flatten(1)
    return _fitted(sounds, n_samples or length_at(samples.shape[-1], sample_rate, new_rate))


def length_at(n_samples: int, sample_rate: int, new_rate: int) -> int:
    """Returns the length at another rate."""
    return -(-n_samples * new_rate // sample_rate)


@lru_cache(maxsize=8)
def _kernel(old: int, new: int) -> Float[Tensor, "phase tap"]:
    """Returns a sinc below a squared cosine for each of `new` phases; they read `old` samples further each time."""
    cutoff = ROLL_OFF * min(old, new) / old  # in cycles per two samples of the old rate
    width = math.ceil(ZEROS / cutoff)
    taps = torch.arange(-width, width + old, dtype=torch.float64)
    at = (taps - old * torch.arange(new, dtype=torch.float64)[:, None] / new) * cutoff
    window = torch.cos(math.pi / 2 * (at / ZEROS).clamp(-1, 1)).square()
    return cutoff * torch.sinc(at) * window


def _fitted(samples: Samples, n_samples: int) -> Float[Tensor, "batch _"]:
    return functional.pad(samples, (0, max(0, n_samples - samples.shape[-1])))[:, :n_samples]
