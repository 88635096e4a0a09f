"""How far one sound is from another one: one number per clip, in dB."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..types import Samples

PerClip = Float[Tensor, " batch"]
Power = Float[Tensor, "batch freq frame"]

LEAST = 1e-10  # share of energy, -100 dB: less counts as this much
RANGE = 1e-8  # share of a clip's largest power, -80 dB: less counts as this much


def si_sdr(estimate: Samples, reference: Samples) -> PerClip:
    r"""Returns the scale-invariant signal-to-distortion ratio of a sound in dB, in [-100, 100] (higher).

    With the part of the estimate that is the reference, :math:`t = \frac{e \cdot s}{s \cdot s} s`, it is
    :math:`10 \log_{10} |t|^2 / |e - t|^2` (Le Roux et al., 2019, eq. 3). A silent estimate has -100 dB; NaN for a
    silent reference.
    """
    e, s = estimate.double(), reference.double()
    power = s.square().sum(1, keepdim=True)
    part = (e * s).sum(1, keepdim=True) / torch.where(power > 0, power, 1) * s
    kept, rest = part.square().sum(1), (e - part).square().sum(1)
    ratio = (kept / torch.where(rest > 0, rest, LEAST * kept)).nan_to_num(0.0)
    found = 10 * ratio.clamp(LEAST, 1 / LEAST).log10()
    return torch.where(power[:, 0] > 0, found, torch.nan)


def log_spectral_distance(ours: Power, theirs: Float[Tensor, "#batch freq frame"]) -> PerClip:
    """Returns how far powers are from those of a clip in dB, at least 0 (lower); down to 80 dB below its loudest bin.

    The root mean square over bins, averaged over frames. `theirs` may be one clip, beside which all others lie.
    """
    floor = (RANGE * theirs.amax((1, 2), keepdim=True)).clamp_min(1e-20)
    difference = 10 * (ours.clamp_min(floor) / theirs.clamp_min(floor)).log10()
    return difference.square().mean(1).sqrt().mean(1)
