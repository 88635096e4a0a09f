"""Connected bins of a map, as boxes in seconds and hertz."""

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from .classifiers.base import Grid
from .types import Region

Indices = Int[np.ndarray, " _"]


def islands(values: Float[Tensor, "freq frame"], grid: Grid, most: int = 5) -> list[Region]:
    """Returns the bounding boxes of connected bins above half the maximum, the largest sum first.

    Bins are connected along both axes and diagonals; a box reaches half a bin beyond its outermost centers.
    """
    if not bool((values > 0).any()):
        return []
    above = (values > 0.5 * values.max()).cpu().numpy()
    rows, first, last = _runs(above)
    island = _components(len(rows), *_touching(rows, first, last, above.shape[1]))
    total = np.concatenate([[0.0], values.cpu().double().flatten().cumsum(0).numpy()])
    start = rows * above.shape[1]
    sums = np.zeros(len(rows))
    np.add.at(sums, island, total[start + last + 1] - total[start + first])
    order = np.argsort(-sums, kind="stable")[:most]
    return [_box(island == i, rows, first, last, float(sums[i]), grid) for i in order if sums[i] > 0]


def _runs(above: np.ndarray) -> tuple[Indices, Indices, Indices]:
    """Returns row, first and last column of each run of bins that are above, in reading order."""
    edges = np.diff(np.pad(above, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, first = np.nonzero(edges == 1)
    return rows, first, np.nonzero(edges == -1)[1] - 1


def _touching(rows: Indices, first: Indices, last: Indices, width: int) -> tuple[Indices, Indices]:
    """Returns pairs of runs of neighboring rows that share a side or a corner."""
    span = width + 2  # a row's runs, one behind the other on a line, never reach the next row's
    begin = np.searchsorted(rows * span + last, (rows + 1) * span + first - 1)
    end = np.searchsorted(rows * span + first, (rows + 1) * span + last + 1, side="right")
    counts = np.maximum(end - begin, 0)
    left = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
    return left, np.repeat(begin, counts) + within


def _components(n: int, left: Indices, right: Indices) -> Indices:
    """Returns the smallest member of each node's connected part: labels sink along pairs, and chains are halved."""
    label = np.arange(n)
    while True:
        low = np.minimum(label[left], label[right])
        sunk = label.copy()
        for ends in (label[left], label[right]):
            np.minimum.at(sunk, ends, low)
        while not np.array_equal(sunk, sunk[sunk]):
            sunk = sunk[sunk]
        if np.array_equal(sunk, label):
            return label
        label = sunk


def _box(mine: np.ndarray, rows: Indices, first: Indices, last: Indices, weight: float, grid: Grid) -> Region:
    half_hz, half_s = grid.sample_rate / grid.stft.n_fft / 2, grid.stft.hop_length / grid.sample_rate / 2
    return Region(
        max(float(grid.seconds[first[mine].min()]) - half_s, 0.0),
        min(float(grid.seconds[last[mine].max()]) + half_s, grid.duration_s),
        max(float(grid.hz[rows[mine].min()]) - half_hz, 0.0),
        min(float(grid.hz[rows[mine].max()]) + half_hz, grid.sample_rate / 2),
        weight,
    )
