"""How well evidence lies where the sound is known to be.

Conventions: `truth` is boolean on the grid of the values, `[batch, freq, frame]`; one number per clip, higher is
better; a clip whose truth is empty or everything gives NaN (`excluded`), so that it is counted and left out by whoever
averages, never silently. Values are finite: pass maps through `earmark.masks.cleaned` first. Each number stands beside
its chance level (`chance`) and the energy baseline: truth is where the event is, not where the classifier looks.

Where only time spans are known, compare marginals: `time_marginal(values)` and a truth of one row, `[batch, 1, frame]`.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..classifiers.base import Grid
from ..masks import descending
from .ranks import auc_of_ranks, mean_precision

PerClip = Float[Tensor, " batch"]
Truth = Bool[Tensor, "batch freq frame"]
Values = Float[Tensor, "batch freq frame"]


def iou_at_match(values: Values, truth: Truth) -> PerClip:
    """Returns the intersection over union of the truth and as many of the largest values, in [0, 1].

    Of equal values the lower index counts first. Chance is `a / (2 - a)` for a truth of area `a`.
    """
    order = descending(values.flatten(1))
    inside = truth.flatten(1).gather(1, order)
    area = inside.sum(1)
    taken = torch.arange(inside.shape[1], device=inside.device) < area[:, None]
    both = (inside & taken).sum(1)
    return _or_nan(both / (2 * area - both).clamp_min(1), truth)


def iou_at_half(values: Values, truth: Truth) -> PerClip:
    """Returns the intersection over union of the truth and the values of at least half the maximum, in [0, 1].

    0 where nothing is positive.
    """
    most = values.amax((1, 2), keepdim=True)
    return intersection_over_union((values >= most / 2) & (most > 0), truth)


def pointing(values: Values, truth: Truth, tolerance: tuple[int, int] = (0, 0)) -> PerClip:
    """Returns 1 where the largest value lies in the truth, else 0 (pointing game; chance is the truth's share of area).

    Parameters
    ----------
    values
        Of equal largest values the first counts: the lowest row, then the earliest frame.
    tolerance
        Bins and frames by which the truth is widened on each side; `tolerance_of(grid)` is the protocol's.
    """
    best = values.flatten(1).argmax(1, keepdim=True)
    return _or_nan(_widened(truth, tolerance).flatten(1).gather(1, best)[:, 0].float(), truth)


def tolerance_of(grid: Grid, n_bins: int = 1, seconds: float = 0.02) -> tuple[int, int]:
    """Returns a tolerance in bins and frames: one bin, and the frames whose centers lie within 20 ms."""
    return n_bins, int(seconds * grid.sample_rate / grid.stft.hop_length + 1e-9)


def intersection_over_union(found: Truth, truth: Truth) -> PerClip:
    """Returns the area of both over the area of either, in [0, 1]."""
    both = (found & truth).sum((1, 2)).float()
    either = (found | truth).sum((1, 2)).float()
    return _or_nan(both / either.clamp_min(1), truth)


def mass_inside(values: Values, truth: Truth) -> PerClip:
    """Returns the share of the positive values that lies in the truth, in [0, 1]; 0 where nothing is positive."""
    return _share_inside(values.clamp_min(0), truth)


def energy_inside(gain: Values, truth: Truth, power: Values) -> PerClip:
    """Returns the share of the kept energy that lies in the truth, in [0, 1]; 0 where nothing is kept.

    Its baseline is the same share of the whole clip, `energy_inside(ones, truth, power)`.

    Parameters
    ----------
    gain
        The mask in [0, 1].
    power
        `|STFT|^2` of the clips.
    """
    return _share_inside(power * gain.square(), truth)


def roc_auc(values: Values, truth: Truth) -> PerClip:
    """Returns the area under the ROC curve of the values, in [0, 1]; ties count half, chance is one half."""
    rows = zip(values.flatten(1), truth.flatten(1), strict=True)
    return _or_nan(torch.tensor([auc_of_ranks(row, inside) for row, inside in rows]).to(values), truth)


def average_precision(values: Values, truth: Truth) -> PerClip:
    """Returns the mean precision at the bins of the truth, in (0, 1]; ties by index, chance is about the area."""
    rows = zip(values.flatten(1), truth.flatten(1), strict=True)
    return _or_nan(torch.tensor([mean_precision(row, inside) for row, inside in rows]).to(values), truth)


def chance(truth: Truth, tolerance: tuple[int, int] = (0, 0)) -> dict[str, PerClip]:
    """Returns what a map of noise scores, by metric; of `pointing` for this tolerance.

    `energy_inside` has no chance level of its own: see there.
    """
    area, wide = (mask.double().mean((1, 2)) for mask in (truth, _widened(truth, tolerance)))
    levels = {
        "iou_match": area / (2 - area),
        "pointing": wide,
        "mass_inside": area,
        "localization_auc": torch.full_like(area, 0.5),
        "localization_precision": area,
    }
    return {name: _or_nan(level, truth) for name, level in levels.items()}


def excluded(truth: Truth) -> Bool[Tensor, " batch"]:
    """Says which clips have no truth to be found: it is empty, or everything."""
    flat = truth.flatten(1)
    return ~flat.any(1) | flat.all(1)


def time_marginal(values: Values) -> Float[Tensor, "batch 1 frame"]:
    """Returns the sum of the positive values of each frame, for truth that is known in time only."""
    return values.clamp_min(0).sum(1, keepdim=True)


def _share_inside(amount: Values, truth: Truth) -> PerClip:
    inside = (amount * truth).sum((1, 2))
    return _or_nan(inside / amount.sum((1, 2)).clamp_min(1e-30), truth)


def _widened(truth: Truth, tolerance: tuple[int, int]) -> Truth:
    rows, columns = tolerance
    wide = torch.nn.functional.max_pool2d(truth.float()[:, None], (2 * rows + 1, 2 * columns + 1), 1, (rows, columns))
    return wide[:, 0] > 0


def _or_nan(values: PerClip, truth: Truth) -> PerClip:
    return torch.where(excluded(truth), torch.nan, values)
