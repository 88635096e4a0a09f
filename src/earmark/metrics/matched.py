"""Methods compared at equal area: hard masks of the top 1 to 50 % of each map, and the area under each curve.

Conventions: a map is ranked as `earmark.masks.ranking_of` says, and exactly `floor(a N)` bins are kept. Signed maps are
ranked by signed value; ranking by absolute value is another row of the table. Maps of zeros, or that are not finite,
have masks of zeros; constant ones are ranked at random; both are flagged. The caller scores masks in batches through a
callback, so that one forward pass serves several areas and clips.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import InputError
from ..masks import Order, Ranking, ranking_of, smoothed
from ..types import Logits, Task
from .faithfulness import Passes

AREAS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)

Gain = Float[Tensor, "row freq frame"]
Score = Callable[[Int[Tensor, " row"], Gain], Logits]  # clips by position, one mask each -> logits [row, label]


@dataclass(frozen=True, eq=False)
class Curves:
    """What masks of rising area score.

    Parameters
    ----------
    areas
        Shares of all bins.
    inside, outside
        Logits `[batch, area, label]` of what is kept and of what is left out.
    area_kept
        `[batch, area]`, share of the bins that is kept, before edges are softened; 0 where a map says nothing.
    flags
        `[batch]`, sums of `earmark.masks.MapFlag`.
    """

    areas: tuple[float, ...]
    inside: Float[Tensor, "batch area label"]
    outside: Float[Tensor, "batch area label"]
    area_kept: Float[Tensor, "batch area"]
    flags: Int[Tensor, " batch"]

    def passes(self, whole: Logits, target: Int[Tensor, " batch"], task: Task, threshold: float = 0.5) -> Passes:
        """Returns one row per clip and area, clip by clip; `metric(passes).view(-1, len(areas))` holds the curves."""
        n_areas = len(self.areas)
        rows = {"inside": self.inside.flatten(0, 1), "outside": self.outside.flatten(0, 1)}
        repeated = whole.repeat_interleave(n_areas, 0), target.repeat_interleave(n_areas, 0)
        return Passes(*repeated, **rows, task=task, threshold=threshold)


def matched_curves(
    values: Float[Tensor, "batch freq frame"],
    score: Score,
    *,
    areas: Sequence[float] = AREAS,
    by: Order = "signed",
    smooth: bool = False,
    batch_size: int = 32,
) -> Curves:
    """Returns the logits of what masks of equal area keep and leave out.

    Parameters
    ----------
    values
        Maps on the STFT grid, one per clip.
    score
        `score(clips, gains) -> logits`: `clips [row]` are positions in `values`, `gains [row, freq, frame]` what is let
        through. It is called with at most `batch_size` rows.
    smooth
        Soften edges by one bin and one frame (`earmark.masks.smoothed`); part of the mask.
    """
    ranking = ranking_of(values, by)
    counts = ranking.counts(areas)
    edge = smoothed if smooth else _hard
    inside = scored(ranking, counts, lambda clips, gains: score(clips, edge(gains)), batch_size)
    outside = scored(ranking, counts, lambda clips, gains: score(clips, 1 - edge(gains)), batch_size)
    return Curves(tuple(areas), inside, outside, counts / values[0].numel(), ranking.flags)


def scored(
    ranking: Ranking, counts: Int[Tensor, "batch step"], score: Score, batch_size: int
) -> Float[Tensor, "batch step _"]:
    """Returns logits `[batch, step, label]` of the first `counts[i, k]` bins of clip i, scored in batches."""
    clips = torch.arange(len(counts)).repeat_interleave(counts.shape[1])
    flat = counts.flatten()
    parts = [score(clips[at], ranking.first(clips[at], flat[at])) for at in _slices(len(flat), batch_size)]
    return torch.cat(parts).unflatten(0, counts.shape)


def area_under(curve: Float[Tensor, "*batch area"], areas: Sequence[float] = AREAS) -> Float[Tensor, "*batch"]:
    """Returns the area under a curve by the trapezoid rule, over its span in area: .49 for the grid from .01 to .5.

    It is the mean height of the curve: that of a constant is the constant.

    Raises
    ------
    InputError
        If the areas do not rise, are fewer than two, or are not those of the curve.
    """
    grid = torch.tensor(areas, dtype=torch.float64, device=curve.device)
    if len(grid) < 2 or len(grid) != curve.shape[-1] or bool((grid.diff() <= 0).any()):
        raise InputError(f"A curve of {curve.shape[-1]} points needs as many rising areas, got {list(areas)}.")
    return torch.trapezoid(curve.double(), grid, dim=-1) / (grid[-1] - grid[0])


def _slices(n_rows: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, n_rows, size))


def _hard(gains: Gain) -> Gain:
    return gains
