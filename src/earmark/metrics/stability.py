"""How alike two maps are, and two decisions: the change of a map under a small change of the sound, or of the model.

Conventions: maps `[batch, freq, frame]` on one grid; `where` says which bins are defined in both (`Change.back`); one
number per clip. Smallness as such is not the aim: a map should move with the sound, and is taken back before it is
compared. Beside each number stand the same clip under another seed of the explainer (upper reference) and another clip
of the class (lower reference).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import InputError
from ..masks import count_of, descending
from ..types import Logits, Task, probabilities
from .ranks import average_ranks

PerClip = Float[Tensor, " batch"]
Values = Float[Tensor, "batch freq frame"]
Where = Bool[Tensor, "freq frame"]

WINDOW = 7  # bins and frames
TINY = 1e-12


def ssim(first: Values, second: Values, where: Where | None = None) -> PerClip:
    """Returns the structural similarity of the positive parts of maps, each over its maximum, in [-1, 1] (higher).

    Windows of 7 x 7, data range 1, sample covariance, K1 = .01, K2 = .03: the defaults of scikit-image, so that the
    numbers agree with it. Only windows that lie wholly inside are averaged. Source: Wang et al. (2004), eq. 13.

    Raises
    ------
    InputError
        If a map is smaller than the window.
    """
    if min(first.shape[1:]) < WINDOW:
        raise InputError(f"SSIM needs maps of at least 7 x 7, got {tuple(first.shape[1:])}; use rank_correlation.")
    x, y = _scaled(first, where), _scaled(second, where)
    mean_x, mean_y = _means(x), _means(y)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    var_x, var_y = (unbiased * (_means(z * z) - mean * mean) for z, mean in ((x, mean_x), (y, mean_y)))
    covariance = unbiased * (_means(x * y) - mean_x * mean_y)
    top = (2 * mean_x * mean_y + 0.01**2) * (2 * covariance + 0.03**2)
    values = top / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))
    inside = _means(_area(first, where)[None].double())[0] > 1 - 0.5 / WINDOW**2
    return (values * inside).sum((1, 2)) / inside.sum()


def rank_correlation(first: Values, second: Values, where: Where | None = None, *, absolute: bool = False) -> PerClip:
    """Returns Spearman's correlation, ties with mean ranks, in [-1, 1] (higher); NaN where a map is constant.

    Parameters
    ----------
    absolute
        Compare absolute values, as sanity checks also do.
    """
    area = _area(first, where)
    pairs = zip(first[:, area], second[:, area], strict=True)
    return torch.stack([_spearman(*((x.abs(), y.abs()) if absolute else (x, y))) for x, y in pairs])


def iou_of_top(first: Values, second: Values, where: Where | None = None, *, share: float = 0.1) -> PerClip:
    """Returns the intersection over union of the largest tenth of the bins, in [0, 1] (higher; chance is 1/19)."""
    area = _area(first, where)
    x, y = _top(first[:, area], share), _top(second[:, area], share)
    return (x & y).sum(1).double() / (x | y).sum(1).clamp_min(1)


def moved_frames(before: Values, after: Values, most: int | None = None) -> PerClip:
    """Returns by how many frames the map moved: the lag at which the positive parts of frames correlate most.

    A map that moves with its sound moves by the sound's own shift; both are on one grid, nothing is taken back. At each
    lag, Pearson's correlation is that of the frames that lie over one another: a sum over all frames would favor no
    shift for maps that are wide. Of equal lags the smallest counts, 0 for a constant map.

    Parameters
    ----------
    most
        The largest lag that is looked at, in frames; half of the clip if not given.
    """
    x, y = (values.double().clamp_min(0).sum(1) for values in (before, after))
    n_frames = x.shape[1]
    most = n_frames // 2 if most is None else min(most, n_frames // 2)
    lags = torch.arange(-most, most + 1, device=x.device)
    n = (n_frames - lags.abs()).double()
    sum_x, sum_xx = (_under(values, -lags) for values in (x, x * x))
    sum_y, sum_yy = (_under(values, lags) for values in (y, y * y))
    spectrum = torch.fft.rfft(y, 2 * n_frames) * torch.fft.rfft(x, 2 * n_frames).conj()
    products = torch.fft.irfft(spectrum, 2 * n_frames)[:, lags % (2 * n_frames)]
    spread = ((sum_xx - sum_x * sum_x / n) * (sum_yy - sum_y * sum_y / n)).clamp_min(0).sqrt()
    largest = (sum_xx.amax(1, keepdim=True) * sum_yy.amax(1, keepdim=True)).sqrt()
    found = torch.where(spread > TINY * largest, (products - sum_x * sum_y / n) / spread, 0.0)
    return lags[(found - 1e-9 * lags.abs()).argmax(1)].double()


def _under(values: Float[Tensor, "batch frame"], lags: Int[Tensor, " lag"]) -> Float[Tensor, "batch lag"]:
    """Returns sums over the frames that have a partner `lag` frames earlier, or later where it is negative."""
    total = torch.nn.functional.pad(values.cumsum(1), (1, 0))
    first, last = lags.clamp_min(0), values.shape[1] + lags.clamp_max(0)
    return total[:, last] - total[:, first]


def confidence_change(before: Logits, after: Logits, target: Int[Tensor, " batch"], task: Task) -> PerClip:
    """Returns the explained label's probability after the change minus that before, in [-1, 1]."""
    p, q = (probabilities(z.double(), task).gather(1, target[:, None].long())[:, 0] for z in (before, after))
    return q - p


def same_decision(before: Logits, after: Logits, task: Task, threshold: float = 0.5) -> PerClip:
    """Returns 1 where the decision is unchanged: the top label, or the set of labels above the threshold."""
    if task == "multiclass":
        return (before.argmax(1) == after.argmax(1)).double()
    above = (probabilities(z, task) >= threshold for z in (before, after))
    return torch.eq(*above).all(1).double()


def _area(values: Values, where: Where | None) -> Where:
    return torch.ones(values.shape[1:], dtype=torch.bool, device=values.device) if where is None else where


def _scaled(values: Values, where: Where | None) -> Values:
    positive = values.double().clamp_min(0) * _area(values, where)
    return positive / positive.amax((1, 2), keepdim=True).clamp_min(1e-300)


def _means(values: Float[Tensor, "batch freq frame"]) -> Float[Tensor, "batch _ _"]:
    rows = torch.nn.functional.avg_pool2d(values[:, None], (WINDOW, 1), 1)  # one axis, then the other: 14 sums, not 49
    return torch.nn.functional.avg_pool2d(rows, (1, WINDOW), 1)[:, 0]


def _spearman(x: Tensor, y: Tensor) -> Tensor:
    a, b = (ranks - ranks.mean() for ranks in (average_ranks(x), average_ranks(y)))
    scale = (a.square().sum() * b.square().sum()).sqrt()
    return torch.where(scale > TINY, (a * b).sum() / scale, torch.nan)


def _top(values: Float[Tensor, "batch bin"], share: float) -> Bool[Tensor, "batch bin"]:

    order = descending(values)[:, : count_of(share, values.shape[1])]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, order, True)
