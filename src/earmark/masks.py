"""Masks made from a map's values: soft, or binary at a given area or share of energy; and what is wrong with a map.

Conventions: values are `[batch, freq, frame]`, signed, larger means more evidence; masks are linear gains in [0, 1] on
the same grid. No clip depends on its batch mates. A map that cannot be ranked has a stated mask and a flag, and no
clip is ever dropped here:

| map | mask | flag |
|---|---|---|
| NaN or infinite somewhere | zero everywhere | `NOT_FINITE` |
| zero everywhere | zero everywhere | `ZERO` |
| one value everywhere | ranked at random (binary masks; soft ones as any other map) | `CONSTANT` |
| negative somewhere | soft and native masks clip at 0; a ranking keeps the sign | `NEGATIVE` |
| above 1 somewhere | only native masks care: they are divided by their maximum | `ABOVE_ONE` |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .errors import InputError
from .types import seeded

Values = Float[Tensor, "batch freq frame"]
Power = Float[Tensor, "batch freq frame"]
Flags = Int[Tensor, " batch"]
How = Literal["soft", "native", "area", "energy"]
Order = Literal["signed", "absolute"]


class MapFlag(IntFlag):
    """What is unusual about a map; see the table of the module."""

    NOT_FINITE = 1
    ZERO = 2
    CONSTANT = 4
    NEGATIVE = 8
    ABOVE_ONE = 16


@dataclass(frozen=True, eq=False)
class MaskBatch:
    """Masks, and what was unusual about the maps that they were made from.

    Parameters
    ----------
    gain
        `[batch, freq, frame]` in [0, 1].
    flags
        `[batch]`, sums of `MapFlag`.
    """

    gain: Values
    flags: Flags


@dataclass(frozen=True, eq=False)
class Ranking:
    """The bins of maps in the order in which masks take them.

    Parameters
    ----------
    ranks
        `[batch, freq, frame]`, each clip's 0 ... N - 1; 0 is taken first.
    flags
        `[batch]`, sums of `MapFlag`.
    """

    ranks: Int[Tensor, "batch freq frame"]
    flags: Flags

    @property
    def void(self) -> Bool[Tensor, " batch"]:
        """Whether a map says nothing: zero everywhere, or not finite."""
        return (self.flags & (MapFlag.NOT_FINITE | MapFlag.ZERO)).bool()

    def counts(self, shares: Sequence[float], *, keep_void: bool = False) -> Int[Tensor, "batch share"]:
        """Returns how many bins are kept at each share: exactly `floor(share N)`, and none of a map that says nothing.

        Parameters
        ----------
        keep_void
            Keep that many of these maps as well; their order is random.
        """
        counts = torch.tensor([count_of(share, self.ranks[0].numel()) for share in shares], device=self.ranks.device)
        return counts * (~self.void | keep_void)[:, None]

    def first(self, clips: Int[Tensor, " row"], counts: Int[Tensor, " row"]) -> Float[Tensor, "row freq frame"]:
        """Returns 1 for the first `counts[i]` bins of clip `clips[i]`, else 0."""
        return (self.ranks[clips] < counts[:, None, None]).float()

    def mask(self, share: float) -> Values:
        """Returns 1 for the first `floor(share N)` bins, else 0; zero for maps that say nothing."""
        return self.first(torch.arange(len(self.ranks)), self.counts([share])[:, 0])


def mask_of(
    values: Values,
    how: How = "soft",
    share: float | None = None,
    *,
    power: Power | None = None,
    by: Order = "signed",
    seed: int = 0,
) -> MaskBatch:
    """Returns masks of maps.

    Parameters
    ----------
    values
        Signed, on the grid of the mask.
    how
        `soft`: the map over its maximum, negative values clipped. `native`: the values themselves, for explainers
        whose values are masks. `area`: exactly `floor(share N)` bins. `energy`: as few of the first bins as hold
        `share` of the clip's energy.
    share
        In [0, 1]; needed for `area` and `energy`.
    power
        `|STFT|^2` of the clips, needed for `energy`. Other weights give other areas: the ERB number that a bin spans
        makes `share` a share of the area as heard.
    by
        Whether bins are ranked by signed or by absolute value. Of equal values the lower index comes first, that is
        the lower row, then the earlier frame.
    seed
        Of the random order of constant maps.

    Raises
    ------
    InputError
        If a share or the power is missing or of no use.
    """
    if how in ("soft", "native"):
        return _graded(values, how)
    if share is None or not 0 <= share <= 1:
        raise InputError(f"A mask by {how} needs a share from 0 to 1, got {share}; set share=0.1 for a tenth.")
    ranking = ranking_of(values, by, seed)
    if how == "area":
        return MaskBatch(ranking.mask(share).to(values.dtype), ranking.flags)
    if power is None or power.shape != values.shape:
        shape = None if power is None else tuple(power.shape)
        raise InputError(f"A mask by energy needs the power of shape {tuple(values.shape)}, got {shape}; set power=.")
    return MaskBatch(_energy(ranking, share, power).to(values.dtype), ranking.flags)


def cleaned(values: Values) -> tuple[Values, Flags]:
    """Returns the maps with zeros for those that are not finite, and the flags of all."""
    flat = values.flatten(1)
    finite = flat.isfinite().all(1)
    flat = torch.where(finite[:, None], flat, 0)
    least, most = flat.amin(1), flat.amax(1)
    zero, constant = (least == 0) & (most == 0), least == most
    found = {
        MapFlag.NOT_FINITE: ~finite,
        MapFlag.ZERO: zero & finite,
        MapFlag.CONSTANT: constant & ~zero,
        MapFlag.NEGATIVE: least < 0,
        MapFlag.ABOVE_ONE: most > 1,
    }
    flags = torch.stack([int(flag) * where.long() for flag, where in found.items()]).sum(0)
    return flat.view_as(values), flags


def ranking_of(values: Values, by: Order = "signed", seed: int = 0) -> Ranking:
    """Returns the order of the bins: larger values first, then the lower index; constant maps at random."""
    values, flags = cleaned(values)
    if by == "absolute":
        values = values.abs()
    order = descending(values.flatten(1))
    constant = (flags & (MapFlag.NOT_FINITE | MapFlag.ZERO | MapFlag.CONSTANT)).bool()
    if bool(constant.any()):
        order[constant] = torch.randperm(order.shape[1], generator=seeded(seed)).to(order.device)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return Ranking(ranks.view_as(values), flags)


def descending(values: Float[Tensor, "batch bin"]) -> Int[Tensor, "batch bin"]:
    """Returns the indices of values from large to small, of equal values the lower index first; all are finite.

    For float32 on the CPU, value and index are packed into one integer, which sorts four times faster.
    """
    if values.dtype != torch.float32 or values.device.type != "cpu":
        return values.argsort(dim=1, descending=True, stable=True)
    bits = torch.where(values == 0, 0, values.neg().contiguous().view(torch.int32))  # -0 and 0 are equal
    rising = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    packed = (rising.long() << 32) + torch.arange(values.shape[1])
    return torch.from_numpy(np.sort(packed.numpy(), axis=1)) & 0xFFFFFFFF


def n_distinct(values: Values) -> Int[Tensor, " batch"]:
    """Returns how many different values each map has: few mean that its order is mostly by index."""
    return torch.tensor([len(clip.unique()) for clip in values])


def count_of(share: float, n_bins: int) -> int:
    """Returns `floor(share * n_bins)` for the share as it is written in decimals: .29 of 100 is 29, not 28."""
    return int(Fraction(repr(float(share))) * n_bins)


def smoothed(mask: Values) -> Values:
    """Returns masks with edges that are one bin and one frame wide: a binomial filter (1, 2, 1) / 4 along both axes.

    The smoothing is part of the mask: it is applied to what is scored and to what is heard alike.
    """
    kernel = torch.tensor([0.25, 0.5, 0.25]).to(mask)
    padded = torch.nn.functional.pad(mask[:, None], (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.conv2d(padded, (kernel[:, None] * kernel)[None, None])[:, 0].clamp(0, 1)


def _graded(values: Values, how: How) -> MaskBatch:
    values, flags = cleaned(values)
    positive = values.clamp_min(0)
    most = positive.amax((1, 2), keepdim=True)
    scale = torch.where(most > 0, most, 1) if how == "soft" else most.clamp_min(1)
    return MaskBatch(positive / scale, flags)


def _energy(ranking: Ranking, share: float, power: Power) -> Values:
    ranks = ranking.ranks.flatten(1)
    ordered = torch.empty_like(power.flatten(1), dtype=torch.float64).scatter_(1, ranks, power.flatten(1).double())
    reached = ordered.cumsum(1)
    before = reached - ordered
    wanted = before < share * reached[:, -1:] * (1 - 1e-12)
    return wanted.gather(1, ranks).view_as(power) * ranking.mask(1.0)
