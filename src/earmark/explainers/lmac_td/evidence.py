"""From kept samples to evidence: sound in the clip's own form, a derived gain, and the numbers beside them."""

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio.stft import Stft
from ...audio.waveform import Waveform
from ...classifiers.base import Grid
from ...evidence import Resynthesis
from ...types import Samples
from .autoencoder import Autoencoder, Code, reconstruction_snr_db

Gain = Float[Tensor, "batch freq frame"]
PerClip = Float[Tensor, " batch"]

EPS = 1e-3  # of the loudest bin: far below it, a share of nothing would be noise


def derived_gain(kept: Samples, samples: Samples, stft: Stft) -> Gain:
    """Returns `min(1, |X_in| / (|X| + eps))` with `eps = 1e-3 max |X|`: a mask that was never applied."""
    inside, whole = stft(kept).abs(), stft(samples).abs()
    eps = (EPS * whole.amax((1, 2), keepdim=True)).clamp_min(1e-20)
    return (inside / (whole + eps)).clamp_max(1)


def added_energy(kept: Samples, samples: Samples, stft: Stft) -> PerClip:
    """Returns the share of `|X_in|^2` above `|X|^2`, in [0, 1]: what was not in the clip; 0 where nothing is kept."""
    inside, whole = (stft(x.double()).abs().square() for x in (kept, samples))
    return (inside - whole).clamp_min(0).sum((1, 2)) / inside.sum((1, 2)).clamp_min(1e-20)


def evidence_of_mask(
    code: Autoencoder, mask: Code, samples: Samples, kept: Samples, grid: Grid, own: Waveform | None
) -> Resynthesis:
    """Returns the evidence for one clip.

    Parameters
    ----------
    mask
        `[1, filter, frame]`.
    samples, kept
        `[1, sample]` at the classifier's rate: the clip, and what the mask keeps of it.
    own
        The clip as it came, where that is known: of any rate and number of channels.
    """
    again = code(samples.to(mask))
    measured = {
        "added_energy": float(added_energy(kept, samples, grid.stft)),
        "reconstruction_snr_db": float(reconstruction_snr_db(samples, again.to(samples))),
        "mask_mean": float(mask.mean()),
    }
    sound = own or Waveform(samples, grid.sample_rate)
    inside = in_form_of(sound, code, mask, kept, grid.sample_rate)
    whole = in_form_of(sound, code, torch.ones_like(mask), again, grid.sample_rate)
    residual = Waveform(sound.samples - whole.samples, sound.sample_rate)
    gain = derived_gain(kept, samples, grid.stft)[0].float().cpu()
    return Resynthesis(inside, residual, gain, grid, measured)


def in_form_of(sound: Waveform, code: Autoencoder, mask: Code, kept: Samples, sample_rate: int) -> Waveform:
    """Returns what a mask keeps of a sound at its own rate, channels and length.

    The mask belongs to the mean of the channels, of which it keeps `kept`. It is applied to each channel, and what
    the mean of these then lacks of `kept` is added to all: so the mean of the evidence is what was scored. Sound above
    the classifier's Nyquist frequency is not in it.
    """
    if sound.n_channels == 1:
        channels = kept
    else:
        inside = sound.resample(sample_rate).samples.to(mask)
        channels = code.decode(mask * code.encode(inside), inside.shape[-1])
        channels = channels + (kept.to(mask) - channels.mean(0, keepdim=True))
    return Waveform(channels, sample_rate).resample(sound.sample_rate).fit(sound.n_samples)
