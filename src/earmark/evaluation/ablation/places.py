r"""Regions in units of map cells, and what they take of a clip: soft masks, areas and energies.

Positions are cells of the map: cell i covers `i - 1/2` to `i + 1/2`, so that a region has the same size wherever it
lies, whatever hertz its rows stand for. A box removes `m = r c`, where r over bins and c over frames have raised-cosine
edges half a cell wide, centered on the borders, and none where the region ends with the features. A cross is a row and
a column taken out one after the other, :math:`m = 1 - (1 - r)(1 - c)`. Areas are shares of the features' plane.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...classifiers.base import Grid
from ...classifiers.geometry import Axis, Geometry

EDGE = 0.5  # width of an edge, in cells
END = 1e-6  # cells; how near the end of the features is at their end

Power = Float[Tensor, "freq frame"]
PerPlace = Float[Tensor, " place"]


@dataclass(frozen=True)
class Place:
    """A region: centers and sizes in cells; a center of `None` is the whole axis.

    Parameters
    ----------
    freq, frame
        Centers.
    height, width
        Sizes along frequency and time.
    cross
        Whether the row and the column are both taken out, instead of where they meet.
    """

    freq: float | None
    frame: float | None
    height: float = 1.0
    width: float = 1.0
    cross: bool = False


@dataclass(frozen=True, eq=False)
class _Ruler:
    """Positions along one axis in cells: of STFT bins or frames, of feature rows or columns, and both ends."""

    stft: Float[Tensor, " position"]
    features: Float[Tensor, " feature"]
    low: float
    high: float

    @property
    def size(self) -> float:
        """How many cells fill the axis, with what lies beyond the outermost ones."""
        return self.high - self.low

    def windows(
        self, centers: Sequence[float | None], sizes: Sequence[float], at: Float[Tensor, " position"]
    ) -> Float[Tensor, "place position"]:
        """Returns soft windows, in [0, 1]."""
        middle = torch.tensor([0.0 if c is None else c for c in centers], dtype=torch.float64)
        reach = [torch.inf if c is None else s / 2 for c, s in zip(centers, sizes, strict=True)]
        half = torch.tensor(reach, dtype=torch.float64)
        low, high = (middle - half)[:, None], (middle + half)[:, None]
        rising = torch.where(low <= self.low + END, 1.0, _ease((at - low) / EDGE + 0.5))
        falling = torch.where(high >= self.high - END, 1.0, _ease((high - at) / EDGE + 0.5))
        return rising * falling


def _ease(share: Tensor) -> Tensor:
    return 0.5 - 0.5 * torch.cos(torch.pi * share.clamp(0, 1))


class Ground:
    """The plane on which regions of clips of one length lie: the map's cells over the STFT grid and the features.

    Parameters
    ----------
    geometry
        Of the map.
    grid
        Of the STFT.
    """

    def __init__(self, geometry: Geometry, grid: Grid) -> None:
        edges = np.asarray(geometry.row_edges_hz, dtype=np.float64)
        rows = np.interp(grid.hz.double().numpy(), edges, np.arange(len(edges)) - 0.5)
        columns = (grid.seconds.double() - geometry.column_s[0]) / geometry.column_s[1]
        self.rows = _ruler(torch.from_numpy(rows), geometry.freq)
        self.columns = _ruler(columns, geometry.frame)
        self.n_cells = geometry.freq.n_cells, geometry.frame.n_cells

    def gains(self, places: Sequence[Place]) -> Float[Tensor, "place freq frame"]:
        """Returns what places take, on the STFT grid: soft masks in [0, 1]."""
        rows, columns = (window.float() for window in self._windows(places))
        cross = _crosses(places)[:, None]
        rows, columns = (torch.where(cross, 1 - window, window) for window in (rows, columns))
        boxes = rows[:, :, None] * columns[:, None]
        return torch.where(cross[:, None], 1 - boxes, boxes)

    def areas(self, places: Sequence[Place]) -> PerPlace:
        """Returns the share of the features' plane that places take."""
        rows, columns = (w.mean(1) for w in self._windows(places, features=True))
        return torch.where(_crosses(places), 1 - (1 - rows) * (1 - columns), rows * columns)

    def energies(self, places: Sequence[Place], power: Power) -> tuple[PerPlace, PerPlace]:
        """Returns the energy of what places take, `sum m^2 |X|^2`, and of what they leave, `sum (1 - m)^2 |X|^2`."""
        power = power.double().cpu()
        rows, columns = self._windows(places)
        cross = _crosses(places)
        rows, columns = (torch.where(cross[:, None], 1 - w, w) for w in (rows, columns))
        once, twice = (((w @ power) * c).sum(1) for w, c in ((rows, columns), (rows.square(), columns.square())))
        rest = (power.sum() - 2 * once + twice).clamp_min(0)
        return torch.where(cross, rest, twice), torch.where(cross, twice, rest)

    def _windows(
        self, places: Sequence[Place], *, features: bool = False
    ) -> tuple[Float[Tensor, "place row"], Float[Tensor, "place column"]]:
        at = [ruler.features if features else ruler.stft for ruler in (self.rows, self.columns)]
        rows = self.rows.windows([p.freq for p in places], [p.height for p in places], at[0])
        return rows, self.columns.windows([p.frame for p in places], [p.width for p in places], at[1])


def _ruler(positions: Tensor, axis: Axis) -> _Ruler:
    """Returns a ruler of feature positions given as feature indices."""
    low, high = ((end - axis.start) / axis.jump for end in (-0.5, axis.n_inputs - 0.5))
    features = (torch.arange(axis.n_inputs, dtype=torch.float64) - axis.start) / axis.jump
    return _Ruler((positions - axis.start) / axis.jump, features, low, high)


def _crosses(places: Sequence[Place]) -> Tensor:
    return torch.tensor([place.cross for place in places])


def overlap(first: Float[Tensor, "place freq frame"], second: Float[Tensor, "freq frame"]) -> PerPlace:
    """Returns the soft intersection over union of masks with another one, `sum min / sum max`."""
    both = torch.minimum(first, second).sum((1, 2)).double()
    return both / torch.maximum(first, second).sum((1, 2)).double().clamp_min(1e-12)


def shaped(view: str, freq: float | None, frame: float | None) -> Place:
    """Returns a view's region at a cell: a cell, a whole column, a whole row, or a row and a column."""
    return {
        "square": Place(freq, frame),
        "time": Place(None, frame),
        "frequency": Place(freq, None),
        "time-frequency": Place(freq, frame, cross=True),
    }[view]


def everywhere(view: str, n_cells: tuple[int, int]) -> list[Place]:
    """Returns a view's region at every cell, rows first."""
    rows: list[int | None] = [None] if view == "time" else list(range(n_cells[0]))
    columns: list[int | None] = [None] if view == "frequency" else list(range(n_cells[1]))
    return [shaped(view, freq, frame) for freq in rows for frame in columns]
