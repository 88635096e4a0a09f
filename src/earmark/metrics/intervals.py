"""Intervals: percentile bootstrap over clusters, paired differences, and Holm's correction.

Clips of one source (recording, speaker, recordist) are not independent: clusters are drawn with replacement, never
clips alone. Where a number was made by several folds or seeds, these are drawn as well, and a clip counts as often as
its cluster times its run (the pigeonhole bootstrap; Owen, 2007, "The pigeonhole bootstrap").

Values that are NaN are left out and counted.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from ..errors import InputError
from ..types import seeded

PerClip = Float[Tensor, " row"]
N_RESAMPLES = 2000
LEVEL = 0.05  # of a p-value that counts


@dataclass(frozen=True)
class Interval:
    """A mean with its interval.

    Parameters
    ----------
    mean, low, high
        The plain mean over defined values, and the bounds at `level`; NaN if there is none.
    n, n_missing, n_clusters, n_runs
        Values that count, values that were NaN, and from how many clusters and runs the former come.
    p
        Two-sided bootstrap p-value of a mean of 0: of use for differences.
    level
        Of the interval.
    """

    mean: float
    low: float
    high: float
    n: int
    n_missing: int
    n_clusters: int
    n_runs: int
    p: float
    level: float = 0.95


def bootstrap(
    values: PerClip,
    clusters: Sequence[Hashable] | None = None,
    runs: Sequence[Hashable] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Returns the mean of values and its percentile interval.

    Parameters
    ----------
    values
        One per clip, or per clip and run.
    clusters
        What each value's clip comes from; each clip its own if not given.
    runs
        The fold or seed that made each value; with two or more, runs are drawn as well (two levels).

    Raises
    ------
    InputError
        If there are not as many clusters or runs as values.
    """
    defined = ~values.isnan()
    cluster, n_clusters = _codes(clusters if clusters is not None else range(len(values)), defined)
    run, n_runs = _codes(runs if runs is not None else [0] * len(values), defined)
    kept = values[defined].double()
    counts = {"n": len(kept), "n_missing": len(values) - len(kept), "n_clusters": n_clusters, "n_runs": n_runs}
    if not len(kept):
        return Interval(nan := float("nan"), nan, nan, **counts, p=nan, level=level)
    cells = _cells(kept, run, cluster, n_runs, n_clusters)
    means = _resampled(cells, n_resamples, seeded(seed))
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = means.nanquantile(tails).tolist()
    return Interval(float(kept.mean()), low, high, **counts, p=_p_value(means), level=level)


def paired_difference(
    first: PerClip,
    second: Float[Tensor, " _"],
    clusters: Sequence[Hashable] | None = None,
    runs: Sequence[Hashable] | None = None,
    **options: float,
) -> Interval:
    """Returns the interval of `first - second` on the same clips; where one is NaN, the pair is missing.

    `options` are those of `bootstrap`.
    """
    if len(first) != len(second):
        raise InputError(f"A paired difference needs the same clips, got {len(first)} and {len(second)} values.")
    return bootstrap(first - second, clusters, runs, **options)  # type: ignore[arg-type]


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number, in their own order: `max over j <= i of (m - j) p_(j)` (Holm)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        corrected[i] = largest
    return corrected


def _codes(keys: Sequence[Hashable], defined: Tensor) -> tuple[Int[Tensor, " row"], int]:
    if len(keys) != len(defined):
        raise InputError(f"{len(defined)} values need as many clusters and runs, got {len(keys)}; give one per value.")
    known: dict[Hashable, int] = {}
    codes = [known.setdefault(key, len(known)) for key, at in zip(keys, defined.tolist(), strict=True) if at]
    return torch.tensor(codes, dtype=torch.long), len(known)


def _cells(
    values: Tensor, run: Tensor, cluster: Tensor, n_runs: int, n_clusters: int
) -> Float[Tensor, "2 run cluster"]:
    """Returns sum and number of the values of each run and cluster."""
    flat = torch.zeros(2, n_runs * n_clusters, dtype=torch.float64)
    flat.index_add_(1, run * n_clusters + cluster, torch.stack([values, torch.ones_like(values)]))
    return flat.view(2, n_runs, n_clusters)


def _resampled(cells: Tensor, n_resamples: int, generator: Generator) -> Float[Tensor, " resample"]:
    n_runs, n_clusters = cells.shape[1:]
    clusters = _draws(n_resamples, n_clusters, generator)
    runs = _draws(n_resamples, n_runs, generator)
    sums, numbers = torch.einsum("sr,krc,sc->ks", runs, cells, clusters)
    return sums / numbers  # NaN in the rare draw that holds no value at all


def _draws(n_resamples: int, n_things: int, generator: Generator) -> Float[Tensor, "resample thing"]:
    """Returns how often each of several things is drawn in as many draws with replacement."""
    drawn = torch.randint(n_things, (n_resamples, n_things), generator=generator)
    counts = torch.zeros(n_resamples, n_things, dtype=torch.float64)
    return counts.scatter_add_(1, drawn, torch.ones_like(counts))


def _p_value(means: Tensor) -> float:
    """Returns twice the smaller share of resampled means beyond zero, never below what their number can tell."""
    means = means[~means.isnan()]
    tail = 1 + min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * tail / (len(means) + 1))


def least_p(n_clusters: int) -> float:
    """Returns the least p-value that a difference over so many recordings can have: that of a sign test.

    A bootstrap over two or three recordings knows nothing else than these, and would call every difference sure.

    Examples
    --------
    >>> least_p(3), least_p(6)
    (0.25, 0.03125)
    """
    return 2.0 ** (1 - n_clusters)
