"""Which seconds and hertz a cell of the map stands for: probed, never guessed by proportional scaling.

A cell's place on the features is the center of what it responds to: `start + i * jump` in feature rows or columns.
For a few cells of each axis the gradient of the cell with respect to random features is taken; its extent is the
receptive field. Where both borders of these are seen, a line through their middles is exact. Deep networks see more
than a clip; there, the line comes from a walk through the layers of a forward pass, the gradients confirm that cells
follow it, and only where layers cannot be followed it is fitted to the centers of the gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ModelError
from ..types import Map, Region
from .walk import Walk

BoxKind = Literal["cell", "receptive-field", "paper"]


@dataclass(frozen=True)
class Axis:
    """How the cells of one map axis lie on the feature axis; positions are feature indices, centers at integers.

    Parameters
    ----------
    n_cells, n_inputs
        Cells of the map, rows or columns of the features.
    start, jump
        Cell i is centered at `start + i * jump` and covers half a jump to either side.
    reach
        Half the width of the receptive field.
    residual
        Distance of the probed receptive fields from the line: the largest of their borders where these are seen, else
        the median of their centers.
    exact
        Whether the borders of whole receptive fields confirm the line.
    walked
        Whether the line was followed through the layers of a pass; behind attention, which sees the whole clip, that
        is the place of the convolution that made a token.
    """

    n_cells: int
    n_inputs: int
    start: float
    jump: float
    reach: float
    residual: float = 0.0
    exact: bool = False
    walked: bool = False

    def span(self, cell: int, kind: BoxKind = "cell") -> tuple[float, float]:
        """Returns first and last position of a cell, clipped to the features."""
        if kind == "paper":
            size = self.n_inputs / self.n_cells
            return cell * size - 0.5, (cell + 1) * size - 0.5
        half = self.jump / 2 if kind == "cell" else self.reach
        center = self.start + cell * self.jump
        return self._clip(center - half), self._clip(center + half)

    def edges(self) -> list[float]:
        """Returns the `n_cells + 1` borders between cells, clipped to the features."""
        return [self._clip(self.start + (i - 0.5) * self.jump) for i in range(self.n_cells + 1)]

    def centers(self) -> list[float]:
        """Returns the center of each cell."""
        return [self.start + i * self.jump for i in range(self.n_cells)]

    def _clip(self, position: float) -> float:
        return min(max(position, -0.5), self.n_inputs - 0.5)


@dataclass(frozen=True)
class Geometry:
    """Seconds and hertz of map cells for clips of one length.

    Parameters
    ----------
    freq, frame
        The axes of the map on the feature grid.
    row_edges_hz
        Borders of the feature rows in Hz, one more than rows.
    column_s
        Center of feature column 0 and the step between columns, in seconds.
    duration_s
        Length of the clip, to which boxes are clipped.
    rows_are_hz
        Whether rows of the map are bands; where they are not, as those of cepstral coefficients, boxes have the whole
        band, and values in a band are the mean over rows.
    """

    freq: Axis
    frame: Axis
    row_edges_hz: tuple[float, ...]
    column_s: tuple[float, float]
    duration_s: float
    rows_are_hz: bool = True

    @property
    def time_edges_s(self) -> tuple[float, ...]:
        """The borders between map frames in seconds, `n_frames + 1` of them."""
        return tuple(self._seconds(p) for p in self.frame.edges())

    @property
    def hz_edges(self) -> tuple[float, ...]:
        """The borders between map rows in Hz, `n_freq + 1` of them."""
        return tuple(self._hertz(p) for p in self.freq.edges())

    def box(self, freq: int | None, frame: int | None, kind: BoxKind = "cell") -> Region:
        """Returns the box of a cell; `None` stands for the whole axis.

        Parameters
        ----------
        freq, frame
            Cell indices, or `None`.
        kind
            `cell`: the stride of the network. `receptive-field`: all that the cell can see. `paper`: proportional
            scaling, as in the published pictures; up to 0.2 s off, for parity only.
        """
        if not self.rows_are_hz:
            freq = None
        low, high = (-0.5, self.freq.n_inputs - 0.5) if freq is None else self.freq.span(freq, kind)
        first, last = (-0.5, self.frame.n_inputs - 0.5) if frame is None else self.frame.span(frame, kind)
        start = 0.0 if frame is None else self._seconds(first)
        end = self.duration_s if frame is None else self._seconds(last)
        return Region(start, end, self._hertz(low), self._hertz(high))

    def sample(self, values: Float[Tensor, "*k freq frame"], hz: Tensor, seconds: Tensor) -> Tensor:
        """Returns map values at points in time and frequency, bilinear between cell centers.

        Parameters
        ----------
        values
            `[..., freq, frame]` on the map.
        hz, seconds
            The grid, `[freq']` and `[frame']`; beyond the outermost centers the nearest cell counts.

        Returns
        -------
        values
            `[..., freq', frame']`.
        """
        rows = _lerp_matrix(self._rows_of(hz), self.freq).to(values)
        if not self.rows_are_hz:
            rows = torch.full_like(rows, 1 / self.freq.n_cells)
        columns = _lerp_matrix((seconds.double() - self.column_s[0]) / self.column_s[1], self.frame).to(values)
        return rows @ values @ columns.T

    def _rows_of(self, hz: Tensor) -> Tensor:
        edges = torch.tensor(self.row_edges_hz, dtype=torch.float64)
        hz = hz.double().clamp(edges[0], edges[-1])
        upper = torch.searchsorted(edges, hz.contiguous()).clamp(1, len(edges) - 1)
        low, high = edges[upper - 1], edges[upper]
        return upper - 1.5 + (hz - low) / (high - low)

    def _seconds(self, position: float) -> float:
        seconds = self.column_s[0] + position * self.column_s[1]
        return min(max(seconds, 0.0), self.duration_s)

    def _hertz(self, position: float) -> float:
        edges = self.row_edges_hz
        index = min(max(int(position + 0.5), 0), len(edges) - 2)
        share = position + 0.5 - index
        return edges[index] + share * (edges[index + 1] - edges[index])


def probe_axes(
    backbone: Callable[[Tensor], Map], shape: tuple[int, int], *, like: Tensor, n_probes: int = 8
) -> tuple[Axis, Axis]:
    """Returns the frequency and the time axis of a backbone's map for features of `shape` (rows, columns).

    Parameters
    ----------
    backbone
        Features `[batch, row, column]` to the map `[batch, channel, freq, frame]`, differentiable.
    like
        Gives device and dtype.
    n_probes
        Cells probed per axis; the cost is one forward and 2 `n_probes` backward passes over two clips of noise.

    Raises
    ------
    ModelError
        If the map does not depend on the features.
    """
    generator = torch.Generator().manual_seed(11)
    features = torch.randn(2, *shape, generator=generator).to(like)
    with torch.enable_grad():
        features.requires_grad_(True)
        with Walk(shape) as walk:
            maps = backbone(features)
        lines = walk.lines((maps.shape[2], maps.shape[3])) or (None, None)
        signs = torch.randn(maps.shape[1], generator=generator).sign().to(maps)
        mixed = torch.einsum("c,bcft->bft", signs, maps)
        freq = _probe_axis(mixed, features, 1, n_probes, lines[0])
        frame = _probe_axis(mixed, features, 2, n_probes, lines[1])
    return freq, frame


def confirm_frames(
    backbone: Callable[[Tensor], Map], shape: tuple[int, int], known: tuple[Axis, Axis], *, like: Tensor
) -> tuple[Axis, Axis] | None:
    """Returns the axes for features of another length if they follow the known line, else `None`.

    Costs one forward and two backward passes instead of a whole probe: the receptive fields of the first and the last
    frame must be where the line puts them. Networks whose padding depends on the length fail this and are probed.
    """
    freq, frame = known
    if not (freq.exact and frame.exact) or shape[0] != freq.n_inputs:
        return None
    features = torch.randn(1, *shape, generator=torch.Generator().manual_seed(11)).to(like)
    with torch.enable_grad():
        features.requires_grad_(True)
        maps = backbone(features)
        ends = [_profile(maps[:, :, :, cell], features, 2) for cell in (0, -1)]
    first, last = _support(torch.stack(ends), 0.0)
    axis = replace(frame, n_cells=maps.shape[3], n_inputs=shape[1])
    expected = [axis.span(cell, "receptive-field") for cell in (0, axis.n_cells - 1)]
    found = [(float(a) - 0.5, float(b) + 0.5) for a, b in zip(first, last, strict=True)]
    return (freq, axis) if found == expected and maps.shape[2] == freq.n_cells else None


def _probe_axis(mixed: Tensor, features: Tensor, axis: int, n_probes: int, walked: tuple[float, float] | None) -> Axis:
    """Returns the line that a walk through the layers gave, if cells follow it, else one fitted to their responses."""
    n_cells, n_inputs = mixed.shape[axis], features.shape[axis]
    if n_cells == 1:
        return Axis(1, n_inputs, (n_inputs - 1) / 2, float(n_inputs), n_inputs / 2)
    cells = torch.linspace(0, n_cells - 1, min(n_probes, n_cells)).round().long()
    profiles = torch.stack([_profile(mixed.select(axis, int(c)), features, axis) for c in cells])
    alive = profiles.sum(1) > 0
    if int(alive.sum()) < max(2, len(cells) - 2):  # networks that fill their last frame up with zeros have dead ends
        raise ModelError("Some map cells do not depend on the features; choose another map layer.")
    cells, profiles = cells[alive], profiles[alive]
    centers = _centers(profiles)
    whole = _fields(cells, profiles, 0.0)
    if walked is not None and n_cells > 3 and _slope(cells, centers) < -0.2 * walked[1]:
        walked = None  # an axis is turned around between the layers that were followed
    start, jump = walked or (whole and whole[:2]) or _guess(cells, profiles, n_cells)
    if whole is not None and whole[:2] == (start, jump):
        return Axis(n_cells, n_inputs, *whole, exact=True, walked=walked is not None)
    line = start + jump * cells
    first, last = _support(profiles, 0.0)
    reach = float(torch.maximum(line - first, last - line).max()) + 0.5
    residual = float((centers - line).abs().median())
    return Axis(n_cells, n_inputs, start, jump, reach, residual, walked=walked is not None)


def _fields(cells: Tensor, profiles: Tensor, floor: float) -> tuple[float, float, float, float] | None:
    """Returns start, jump, reach and residual of receptive fields of which both borders are seen; else `None`.

    Cells of one window of attention share their field: its borders say nothing of where they lie.
    """
    first, last = _support(profiles, floor)
    low, high = _line(cells, first, first > 0), _line(cells, last, last < profiles.shape[1] - 1)
    if low is None or high is None or low[1] != high[1] or low[1] == 0 or max(low[2], high[2]) >= 1:
        return None
    return (low[0] + high[0]) / 2, low[1], (high[0] - low[0] + 1) / 2, max(low[2], high[2])


def _guess(cells: Tensor, profiles: Tensor, n_cells: int) -> tuple[float, float]:
    """Returns start and jump where receptive fields are cut: from their main lobes, or else from their centers."""
    n_inputs = profiles.shape[1]
    for floor in (1e-4, 1e-2):
        lobes = _fields(cells, profiles, floor)
        if lobes is not None and n_inputs / (n_cells + 1) <= lobes[1] <= n_inputs / (n_cells - 1):
            return lobes[:2]
    centers = _centers(profiles)
    inner = (cells > 0) & (cells < n_cells - 1) if n_cells > 3 else cells >= 0
    jump = _plausible_jump(_slope(cells[inner], centers[inner]), n_cells, n_inputs)
    return round(2 * float((centers - jump * cells).median())) / 2, jump


def _slope(cells: Tensor, positions: Tensor) -> float:
    """Returns the slope of a line fitted to positions of cells."""
    spread = cells.double() - cells.double().mean()
    return float((spread * positions).sum() / spread.square().sum())


def _plausible_jump(slope: float, n_cells: int, n_inputs: int) -> float:
    """Returns the stride nearest to a slope that was probed between cut receptive fields.

    A stride is a whole number by which the inputs give this many cells, one more or one less; strides are products
    of small factors, so of several the one with the largest power of two is taken.
    """
    lowest, highest = n_inputs / (n_cells + 1), n_inputs / max(n_cells - 1, 1)
    wholes = range(max(1, -int(-lowest // 1)), int(highest) + 1)
    if not wholes:
        return min(max(slope, lowest), highest)
    return float(max(wholes, key=lambda j: (j & -j, -abs(j - slope))))


def _profile(cell: Tensor, features: Tensor, axis: int) -> Tensor:
    """Returns the squared gradient of a slice of the map along one feature axis."""
    (gradient,) = torch.autograd.grad(cell.sum(), features, retain_graph=True)
    other = 2 if axis == 1 else 1
    return gradient.detach().double().square().sum((0, other)).cpu()


def _support(profiles: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """Returns the first and last index whose response exceeds `floor` times the largest.

    At 0 this is the receptive field. Where that is cut at both ends of the features (deep networks see everything),
    the main lobe takes its place.
    """
    alive = (profiles > floor * profiles.amax(1, keepdim=True)).int()
    return alive.argmax(1), profiles.shape[1] - 1 - alive.flip(1).argmax(1)


def _centers(profiles: Tensor) -> Tensor:
    """Returns the center of each profile's peak; what lies below a tenth of the peak is left out.

    Deep networks respond a little to everything, and that faint rest would pull the center towards the middle.
    """
    peaks = (profiles - 0.1 * profiles.amax(1, keepdim=True)).clamp_min(0)
    return (peaks * torch.arange(profiles.shape[1])).sum(1) / peaks.sum(1)


def _line(cells: Tensor, positions: Tensor, keep: Tensor) -> tuple[float, float, float] | None:
    """Returns start, jump and residual of `position = start + jump * cell` over the kept cells; None below two.

    A jump is an integer, and a start a multiple of one half, where the fit is near one.
    """
    cells, positions = cells[keep].double(), positions[keep].double()
    if len(cells) < 2:
        return None
    jump = _slope(cells, positions)
    if round(jump) >= 1 and abs(jump - round(jump)) < 0.05 * jump:
        jump = float(round(jump))
    start = float((positions - jump * cells).mean())
    if jump > 1 and abs(2 * start - round(2 * start)) < 0.5:
        start = round(2 * start) / 2
    return start, jump, float((positions - start - jump * cells).abs().max())


def _lerp_matrix(positions: Tensor, axis: Axis) -> Float[Tensor, "point cell"]:
    """Returns the weights of linear interpolation between cell centers at feature positions."""
    cells = ((positions - axis.start) / axis.jump).clamp(0, axis.n_cells - 1)
    lower = cells.floor().clamp(max=max(axis.n_cells - 2, 0)).long()
    share = (cells - lower).clamp(0, 1)
    matrix = torch.zeros(len(positions), axis.n_cells, dtype=torch.float64)
    rows = torch.arange(len(positions))
    matrix[rows, lower] = 1 - share
    if axis.n_cells > 1:
        matrix[rows, lower + 1] += share
    return matrix
