"""Short-time power of sound that is padded as others pad it, and clips brought to one length."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import AudioError
from ...types import Samples

Longer = Float[Tensor, "batch _"]  # samples of another number than came in


def mirrored(samples: Samples, margin: int) -> Longer:
    """Returns clips with `margin` samples more at both ends, mirrored at the first and last sample.

    The mirror goes back and forth where a clip is shorter than the margin, as in numpy's `reflect`.
    """
    n_samples = samples.shape[-1]
    left = _mirror(torch.arange(-margin, 0, device=samples.device), n_samples)
    right = _mirror(torch.arange(n_samples, n_samples + margin, device=samples.device), n_samples)
    return torch.cat([samples[:, left], samples, samples[:, right]], dim=1)


def filled(samples: Samples, length: int, fill: str) -> Longer:
    """Returns clips that are no longer than `length`, brought to it.

    Parameters
    ----------
    fill
        What stands behind: `zeros`, copies of the clip (`repeat`), or whole copies and then zeros (`repeat-whole`).
    """
    n_samples = samples.shape[-1]
    if fill == "repeat":
        return samples[:, torch.arange(length, device=samples.device) % n_samples]
    if fill == "repeat-whole":
        samples = samples.repeat(1, length // n_samples)
    return torch.nn.functional.pad(samples, (0, length - samples.shape[-1]))


def framed(samples: Samples, length: int, hop_length: int) -> Float[Tensor, "batch frame length"]:
    """Returns all frames that lie wholly inside the clips; frame n begins at sample `n * hop_length`.

    Raises
    ------
    AudioError
        If there is none.
    """
    if samples.shape[-1] < length:
        raise AudioError(
            f"A clip of {samples.shape[-1]} samples is shorter than the {length} that one frame of the front end "
            "takes; use a longer clip."
        )
    return samples.unfold(-1, length, hop_length)


def spectrum(
    frames: Float[Tensor, "batch frame sample"], window: Float[Tensor, " sample"], n_fft: int, power: int = 2
) -> Float[Tensor, "batch freq frame"]:
    """Returns magnitudes (`power` 1) or powers (2) of windowed frames, with zeros behind up to `n_fft`."""
    transformed = torch.fft.rfft(frames * window.to(frames), n_fft).transpose(1, 2)
    if power == 1:
        return transformed.abs()  # its gradient at zero is zero, unlike that of a square root
    return transformed.real.square() + transformed.imag.square()


def _mirror(position: Int[Tensor, " sample"], n_samples: int) -> Int[Tensor, " sample"]:
    if n_samples == 1:
        return torch.zeros_like(position)
    period = 2 * (n_samples - 1)
    return torch.minimum(position % period, -position % period)
