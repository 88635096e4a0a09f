"""Accuracy against the share of bins, the area between curves, and what masks alone tell: tables and charts.

A training on intact clips is the point where nothing is removed: `tau = 0` of removing, `tau = 1` of keeping. The area
under a curve is its mean height. How far a method is from the control is the area between both curves, so signed that
more is better for the method: under removing the control's minus the method's, under keeping the reverse. Intervals are
over clips (by group) and seeds; both curves are of the same clips and seeds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...metrics.intervals import Interval, bootstrap, holm, least_p, paired_difference
from ...metrics.matched import area_under
from ..results import Cell, Chart, Line, Point, Table
from .config import RetrainingConfig
from .outcomes import Outcome
from .removal import Variant

CONTROL = "random"
WORDS = {"remove": "removed", "keep": "kept"}
FILL_WORDS = {"band_mean": "the mean of each band", "silence": "silence"}


@dataclass(frozen=True, eq=False)
class Results:
    """All trainings of a run.

    Parameters
    ----------
    config
        What was changed.
    intact
        Trainings on unchanged clips, one per seed.
    methods
        Those on changed clips, by method.
    groups
        What each test clip comes from.
    chance
        The accuracy of always naming the commonest label.
    n_training
        How many training clips there are.
    """

    config: RetrainingConfig
    intact: Sequence[Outcome]
    methods: Mapping[str, Sequence[Outcome]]
    groups: Sequence[str]
    chance: float
    n_training: int

    def xs(self, mode: str) -> tuple[float, ...]:
        """Returns the shares of a curve, that of the intact clips among them."""
        return (0.0, *self.config.taus) if mode == "remove" else (*self.config.taus, 1.0)

    def curve(self, method: str, mode: str, fill: str) -> Float[Tensor, "seed clip tau"]:
        """Returns 1 where a clip is right; NaN for clips whose map failed, at the intact end as well."""
        found = {(o.variant, o.seed): o.correct for o in self.methods[method]}
        whole = {o.seed: o.correct for o in self.intact}
        seeds = range(self.config.seeds)
        taus = [[found[Variant(mode, tau, fill), seed] for seed in seeds] for tau in self.config.taus]
        ends = [[whole[seed] for seed in seeds]]
        points = [*ends, *taus] if mode == "remove" else [*taus, *ends]
        right = [[[math.nan if one is None else one for one in clips] for clips in seeds] for seeds in points]
        values = torch.tensor(right, dtype=torch.float64).permute(1, 2, 0)
        return torch.where(values.isnan().any(2, keepdim=True), torch.nan, values)

    def mean(self, values: Float[Tensor, "seed clip"]) -> Interval:
        """Returns the mean over clips and seeds, with its interval."""
        return bootstrap(values.flatten(), *self._levels(values))

    def against(self, method: str, mode: str, fill: str, control: str = CONTROL) -> Interval:
        """Returns the area between a method's curve and the control's; positive speaks for the method."""
        own, other = (area_under(self.curve(name, mode, fill), self.xs(mode)) for name in (method, control))
        first, second = (other, own) if mode == "remove" else (own, other)
        return paired_difference(first.flatten(), second.flatten(), *self._levels(own))

    def on_masks(self, method: str) -> dict[float, Interval]:
        """Returns the accuracy of trainings on masks alone, by share."""
        found: dict[float, list[list[float]]] = {}
        for outcome in self.methods[method]:
            if outcome.variant.mode == "masks":
                right = [math.nan if one is None else float(one) for one in outcome.correct]
                found.setdefault(outcome.variant.tau, []).append(right)
        return {tau: self.mean(torch.tensor(rows, dtype=torch.float64)) for tau, rows in found.items()}

    def lost(self, method: str) -> tuple[int, int]:
        """Returns how many training and test clips are left out, since the method's map of them failed."""
        first = self.methods[method][0]
        return first.n_lost, sum(right is None for right in first.correct)

    def _levels(self, values: Float[Tensor, "seed clip"]) -> tuple[list[str], list[int]]:
        """Returns the group and the seed of each value."""
        seeds = [seed for seed in range(len(values)) for _ in self.groups]
        return list(self.groups) * len(values), seeds


def tables_of(results: Results) -> tuple[Table, ...]:
    """Returns accuracy by share, one table for each mode and fill, and the one of masks alone."""
    found = [_table(results, mode, fill) for mode, fill in ways(results.config)]
    return (*found, _mask_table(results)) if results.config.mask_seeds else tuple(found)


def charts_of(results: Results) -> tuple[Chart, ...]:
    """Returns accuracy against share, one chart for each mode and fill."""
    return tuple(_chart(results, mode, fill) for mode, fill in ways(results.config))


def ways(config: RetrainingConfig) -> list[tuple[str, str]]:
    """Returns modes with fills."""
    return [(mode, fill) for mode in config.modes for fill in config.fills]


def said(interval: Interval, digits: int = 3) -> str:
    """Returns a mean with its interval."""
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def title_of(mode: str, fill: str) -> str:
    """Returns what was done, in words."""
    return f"Accuracy after training with the top bins {WORDS[mode]}, {FILL_WORDS[fill]} in place of what is missing"


def _table(results: Results, mode: str, fill: str) -> Table:
    methods = list(results.methods)
    gaps = {name: results.against(name, mode, fill) for name in methods if name != CONTROL}
    corrected = dict(zip(gaps, holm([max(gap.p, least_p(gap.n_clusters)) for gap in gaps.values()]), strict=True))
    rows: list[tuple[Cell, ...]] = []
    for name in methods:
        curve = results.curve(name, mode, fill)
        cells = [said(results.mean(curve[:, :, i])) for i in range(curve.shape[2])]
        area = said(results.mean(area_under(curve, results.xs(mode))))
        gap = (said(gaps[name]), corrected[name]) if name in gaps else ("", None)
        rows.append((name, *cells, area, *gap))
    shares = [f"{100 * x:g} % {WORDS[mode]}" for x in results.xs(mode)]
    better = "control - method" if mode == "remove" else "method - control"
    columns = ("method", *shares, "mean height", f"area to {CONTROL} ({better})", "p (Holm)")
    return Table(title_of(mode, fill), columns, tuple(rows))


def _mask_table(results: Results) -> Table:
    shares = [f"{100 * tau:g} % marked" for tau in results.config.taus]
    rows = tuple((name, *(said(v) for v in results.on_masks(name).values())) for name in results.methods)
    title = f"Accuracy after training on the binary masks alone (always the commonest label: {results.chance:.3f})"
    return Table(title, ("method", *shares), rows)


def _chart(results: Results, mode: str, fill: str) -> Chart:
    lines = []
    for name in results.methods:
        curve = results.curve(name, mode, fill)
        intervals = [results.mean(curve[:, :, i]) for i in range(curve.shape[2])]
        places = zip(results.xs(mode), intervals, strict=True)
        lines.append(Line(name, tuple(Point(x, i.mean, i.low, i.high) for x, i in places)))
    return Chart(title_of(mode, fill), f"share of bins {WORDS[mode]}", "accuracy", tuple(lines))
