"""How alike maps, channels and regions are before and after a small change of the sound was taken back."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..classifiers.base import Grid
from ..evidence import Evidence, PrototypeEvidence
from ..masking import region_mask
from ..metrics.stability import WINDOW, iou_of_top, moved_frames, rank_correlation, ssim
from ..metrics.transforms import Change
from ..types import Region
from .stability_config import StabilityConfig

Row = dict[str, Any]
Values = Float[Tensor, "batch freq frame"]

STAYS = Change("gain")  # by 0 dB: what is read where it lies
NAN = float("nan")
FARTHEST = 3  # times as far as the sound: how far a map is looked for
MOVING = ("time_shift", "time_stretch", "pitch_shift")
NUMBERS = ("ssim", "rank_correlation", "iou_of_top", "as_it_lies", "moved_s")


def compared(
    before: Values,
    after: Float[Tensor, "batch _ _"],
    change: Change,
    grids: tuple[Grid, Grid],
    config: StabilityConfig,
) -> dict[str, Float[Tensor, " batch"]]:
    """Returns how alike maps are after a change was taken back, one number per clip; NaN where a map orders nothing.

    Parameters
    ----------
    before, after
        Maps of the clips and of the changed clips, each on its own of the two `grids`.

    Returns
    -------
    numbers
        `ssim`, `rank_correlation`, `iou_of_top`; `as_it_lies`, the rank correlation where nothing is taken back, which
        is the lower one if the map moved; and `moved_s`, by how many seconds it did, for shifts.
    """
    own, new = grids
    back, where = change.back(after, new, own)
    left, inside = STAYS.back(after, new, own)
    where = where & inside
    ok = _ordered(before) & _ordered(after)
    if not bool(ok.any()):
        return {name: torch.full((len(ok),), NAN) for name in NUMBERS}
    first, second = before[ok], back[ok]
    step_s = own.stft.hop_length / own.sample_rate
    found = {
        "ssim": ssim(first, second, where) if config.ssim and min(first.shape[1:]) >= WINDOW else _nans(ok),
        "rank_correlation": rank_correlation(first, second, where),
        "iou_of_top": iou_of_top(first, second, where, share=config.area),
        "as_it_lies": rank_correlation(first, left[ok], where) if change.name in MOVING else _nans(ok),
        "moved_s": _moved_s(first, after[ok], change, step_s) if change.name == "time_shift" else _nans(ok),
    }
    return {name: _spread(values, ok) for name, values in found.items()}


def _moved_s(before: Values, after: Values, change: Change, step_s: float) -> Float[Tensor, " _"]:
    """Returns by how many seconds maps moved; looked for up to `FARTHEST` times as far as the sound moved."""
    most = max(1, math.ceil(FARTHEST * abs(change.shift_s) / step_s))
    return moved_frames(before, after, most) * step_s


def _ordered(values: Float[Tensor, "batch _ _"]) -> Bool[Tensor, " batch"]:
    """Says which maps order their bins: finite, and not one value everywhere."""
    flat = values.flatten(1)
    return flat.isfinite().all(1) & (flat.amax(1) > flat.amin(1))


def _nans(ok: Bool[Tensor, " batch"]) -> Float[Tensor, " _"]:
    return torch.full((int(ok.sum()),), NAN)


def _spread(values: Float[Tensor, " _"], ok: Bool[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    spread = torch.full((len(ok),), NAN, dtype=torch.float64)
    spread[ok] = values.double()
    return spread


def prototypes_alike(before: Evidence | None, after: Evidence | None, change: Change, grid: Grid) -> Row:
    """Returns how alike channels, contributions and regions are; nothing for other kinds of evidence."""
    if not isinstance(before, PrototypeEvidence) or not isinstance(after, PrototypeEvidence):
        return {}
    first, second = ({channel.channel for channel in e.channels} for e in (before, after))
    ranks = rank_correlation(before.contributions[None, None].float(), after.contributions[None, None].float())
    return {
        "channels": len(first & second) / max(len(first), 1),
        "contributions": known(float(ranks)),
        "regions": known(region_overlap(before.regions(), after.regions(), change, grid)),
    }


def region_overlap(before: Sequence[Region], after: Sequence[Region], change: Change, grid: Grid) -> float:
    """Returns the intersection over union of regions on the grid, those after a change taken back; NaN without any."""
    first, second = region_mask(before, grid) > 0, region_mask([taken_back(r, change) for r in after], grid) > 0
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else NAN


def taken_back(region: Region, change: Change) -> Region:
    """Returns where a region of a changed clip lies in the clip."""
    times = [(t - change.shift_s) / change.time_factor for t in (region.start_s, region.end_s)]
    bands = [hz / change.pitch_ratio for hz in (region.low_hz, region.high_hz)]
    return Region(times[0], times[1], bands[0], bands[1], region.weight, region.label)


def slope(moved_s: Float[Tensor, " shift"], shift_s: Float[Tensor, " shift"]) -> float:
    """Returns how far a map moved for each second that its sound moved: least squares through zero; 1 is with it."""
    ok = ~moved_s.isnan()
    scale = float(shift_s[ok].square().sum())
    return float((moved_s[ok] * shift_s[ok]).sum()) / scale if scale else NAN


def known(value: float) -> float | None:
    """Returns a number, or nothing where it is not finite."""
    return value if value == value and abs(value) != float("inf") else None
