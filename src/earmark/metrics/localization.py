"""How well evidence lies where the sound is known to be.

Conventions: `truth` is boolean on the grid of the values, `[batch, freq, frame]`; one number per clip; a clip whose
truth is empty gives NaN, so that it is counted and left out by whoever averages, never silently.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

PerClip = Float[Tensor, " batch"]
Truth = Bool[Tensor, "batch freq frame"]
Values = Float[Tensor, "batch freq frame"]


def pointing(values: Values, truth: Truth, tolerance: tuple[int, int] = (0, 0)) -> PerClip:
    """Returns 1 where the largest value lies in the truth, else 0 (pointing game; chance is the truth's share of area).

    Parameters
    ----------
    values
        Of equal largest values the first counts: the lowest row, then the earliest frame.
    tolerance
        Bins and frames by which the truth is widened on each side.
    """
    rows, columns = tolerance
    wide = torch.nn.functional.max_pool2d(truth.float()[:, None], (2 * rows + 1, 2 * columns + 1), 1, (rows, columns))[
        :, 0
    ]
    best = values.flatten(1).argmax(1, keepdim=True)
    return _or_nan(wide.flatten(1).gather(1, best)[:, 0], truth)


def intersection_over_union(found: Truth, truth: Truth) -> PerClip:
    """Returns the area of both over the area of either, in [0, 1]."""
    both = (found & truth).sum((1, 2)).float()
    either = (found | truth).sum((1, 2)).float()
    return _or_nan(both / either.clamp_min(1), truth)


def mass_inside(values: Values, truth: Truth) -> PerClip:
    """Returns the share of the positive values that lies in the truth, in [0, 1]; 0 where nothing is positive."""
    positive = values.clamp_min(0)
    inside = (positive * truth).sum((1, 2))
    return _or_nan(inside / positive.sum((1, 2)).clamp_min(1e-30), truth)


def _or_nan(values: PerClip, truth: Truth) -> PerClip:
    return torch.where(truth.any(2).any(1), values, torch.nan)
