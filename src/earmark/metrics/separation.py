r"""What a mask keeps of each of the two sounds of a mixture, where both are known.

Conventions: the mask is applied to the STFT of source and contaminant apart; `source` and `contaminant` are their
powers `|STFT|^2`, `[batch, freq, frame]`, as loud as they are in the mixture; one number per clip, float64. A mask of
ones keeps all of both, and its contrast is 0 dB. Numbers mean something only where the decision is a label of the
source: whoever calls leaves the other clips out, and counts them.

The ideal ratio mask is :math:`|S| / (|S| + |N|)`, a soft truth; the binary one is where it exceeds .5, that is where
the source is the louder of the two. It says where the source is, not where the classifier looks.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ..audio.distances import LEAST, si_sdr
from .complexity import energy_kept
from .localization import roc_auc
from .stability import rank_correlation

PerClip = Float[Tensor, " batch"]
Plane = Float[Tensor, "batch freq frame"]

__all__ = [
    "contaminant_kept",
    "contrast_db",
    "ideal_auc",
    "ideal_correlation",
    "ideal_ratio_mask",
    "si_sdr",
    "source_kept",
]


def source_kept(gain: Plane, source: Plane, contaminant: Plane) -> PerClip:
    """Returns the share of the source's energy that a mask keeps, in [0, 1] (T; higher); NaN for a silent source."""
    return energy_kept(gain, source)


def contaminant_kept(gain: Plane, source: Plane, contaminant: Plane) -> PerClip:
    """Returns the share of the contaminant's energy that a mask keeps, in [0, 1] (C; lower); NaN for a silent one."""
    return energy_kept(gain, contaminant)


def contrast_db(gain: Plane, source: Plane, contaminant: Plane) -> PerClip:
    """Returns `10 log10(T / C)` in dB, in [-100, 100] (higher): by how much a mask prefers the source.

    Shares below 1e-10 count as 1e-10; NaN where both are, since the mask then keeps nothing of either.
    """
    kept = source_kept(gain, source, contaminant), contaminant_kept(gain, source, contaminant)
    ratio = kept[0].clamp_min(LEAST) / kept[1].clamp_min(LEAST)
    return torch.where((kept[0] < LEAST) & (kept[1] < LEAST), torch.nan, 10 * ratio.log10())


def ideal_ratio_mask(source: Plane, contaminant: Plane) -> Plane:
    """Returns the ideal ratio mask `|S| / (|S| + |N|)` in [0, 1]; 0 where neither sounds."""
    ours, theirs = source.sqrt(), contaminant.sqrt()
    whole = ours + theirs
    return ours / torch.where(whole > 0, whole, 1)


def ideal_auc(values: Plane, source: Plane, contaminant: Plane) -> PerClip:
    """Returns the area under the ROC curve of a map, the truth being where the ideal ratio mask exceeds .5, in [0, 1].

    Ties count half, chance is one half; NaN where one of the two sounds is the louder one in all bins.
    """
    return roc_auc(values, ideal_ratio_mask(source, contaminant) > 0.5)


def ideal_correlation(values: Plane, source: Plane, contaminant: Plane) -> PerClip:
    """Returns Spearman's correlation of a map and the ideal ratio mask, in [-1, 1] (higher); NaN for a constant map."""
    return rank_correlation(values, ideal_ratio_mask(source, contaminant).to(values))
