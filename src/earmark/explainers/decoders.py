"""Decoders: from the maps of taps to planes on the STFT grid, for any backbone, any length of clip, few parameters.

A trunk fuses maps from coarse to fine. A head reads planes from what it finds and lays them on the STFT grid, along the
features' own frequency scale; bins of a clip then differ by the level of the clip itself, which costs no convolution.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..classifiers.base import Grid
from ..classifiers.front_ends import FrontEnd
from ..classifiers.taps import Tap
from ..types import ComplexStft

Hidden = Float[Tensor, "batch channel _ _"]  # a map of any resolution
Maps = Sequence[Float[Tensor, "batch _ _ _"]]  # one for each tap
Plane = Float[Tensor, "batch plane freq frame"]
Labels = Float[Tensor, "batch label"]

N_LEVELS = 5  # planes that a clip's own level gives, see `levels`
FLOOR_DB = 80.0  # below the loudest bin, all is as quiet
NEAREST = 5  # neighbors, the bin itself included
MIN_ROWS = 16  # rows of a plane before it is laid on the grid; maps with fewer give several rows per cell


class Film(nn.Module):
    """A scale and a shift for each channel, read from a condition such as a text's embedding (Perez et al., 2018).

    It begins as the identity: until it has learned, no condition changes anything.

    Parameters
    ----------
    n_conditions, width
        Numbers of a condition, and channels.
    """

    def __init__(self, n_conditions: int, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(n_conditions, 2 * width)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, x: Hidden, condition: Labels) -> Hidden:
        """Returns the channels scaled and shifted."""
        scale, shift = self.read(condition)[:, :, None, None].chunk(2, 1)
        return x * (1 + scale) + shift


class Trunk(nn.Module):
    """Fuses maps from coarse to fine: project, resize, add, 3x3 convolution, ReLU (no normalization over the batch).

    Parameters
    ----------
    taps
        Coarse to fine.
    width
        Channels inside.
    n_labels
        Of a trunk that is told which label is asked for; 0 for one that is not.
    n_conditions
        Numbers of a condition that scales and shifts each projection; 0 for none.
    """

    def __init__(self, taps: Sequence[Tap], width: int, n_labels: int = 0, n_conditions: int = 0) -> None:
        super().__init__()
        self.films = nn.ModuleList(Film(n_conditions, width) for _ in taps) if n_conditions else None
        self.projections = nn.ModuleList(nn.Conv2d(tap.n_channels, width, 1) for tap in taps)
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in taps)
        self.asked = nn.Linear(n_labels, width, bias=False) if n_labels else None
        self.register_buffer("scale", torch.ones(len(taps)))
        self.scale: Tensor

    def calibrate(self, maps: Maps) -> None:
        """Divides each tap by its root mean square over some clips from now on."""
        for index, one in enumerate(maps):
            self.scale[index] = one.square().mean().sqrt().clamp_min(1e-6)

    def forward(self, maps: Maps, asked: Labels | None = None) -> Hidden:
        """Returns `[batch, width, freq, frame]` at the finest tap; `asked` is one-hot over labels, or a condition."""
        x = None
        for index, (project, convolve) in enumerate(zip(self.projections, self.convolutions, strict=True)):
            here = project(maps[index] / self.scale[index])
            if self.films is not None and asked is not None:
                here = self.films[index](here, asked)
            if x is not None:
                size = here.shape[-2:]
                here = here + functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
            elif self.asked is not None and asked is not None:
                here = here + self.asked(asked)[:, :, None, None]
            x = functional.relu(convolve(functional.relu(here)))
        assert x is not None
        return x


class Planes(nn.Module):
    """Reads planes from a trunk's output and lays them on the STFT grid.

    Rows of maps lie along the features' frequency scale, such as mel; planes are read at each bin's place on it. A map
    without a frequency axis gives `MIN_ROWS` rows from as many channels.

    Parameters
    ----------
    width
        Channels of the trunk.
    n_planes
        Planes that are read.
    n_freq
        Rows of the trunk's output.
    """

    def __init__(self, width: int, n_planes: int, n_freq: int) -> None:
        super().__init__()
        self.n_planes = n_planes
        self.rows_per_cell = -(-MIN_ROWS // n_freq)
        self.convolution = nn.Conv2d(width, n_planes * self.rows_per_cell, 3, padding=1)

    def forward(self, x: Hidden, positions: Float[Tensor, " freq"], n_frames: int) -> Plane:
        """Returns `[batch, plane, freq, frame]`.

        Parameters
        ----------
        positions
            Where each row of the grid lies between the first and the last border of the features, in [0, 1].
        """
        planes = self.convolution(x)
        batch, _, n_freq, n_columns = planes.shape
        rows = planes.view(batch, self.n_planes, self.rows_per_cell, n_freq, n_columns).transpose(2, 3).flatten(2, 3)
        at = (positions.to(rows) * rows.shape[2] - 0.5).clamp(0, rows.shape[2] - 1)
        low = at.floor().long()
        high = (low + 1).clamp_max(rows.shape[2] - 1)
        read = torch.lerp(rows[:, :, low], rows[:, :, high], (at - low)[:, None])
        flat = functional.interpolate(read.flatten(1, 2), size=n_frames, mode="linear", align_corners=False)
        return flat.view(batch, self.n_planes, len(at), n_frames)


def row_positions(front_end: FrontEnd, grid: Grid) -> Float[Tensor, " freq"]:
    """Returns where each bin lies along the feature rows, in [0, 1]; bins outside of them are at the ends."""
    return _row_positions(tuple(front_end.row_edges_hz().tolist()), grid.sample_rate, grid.stft.n_fft)


@lru_cache(maxsize=32)
def _row_positions(edges: tuple[float, ...], sample_rate: int, n_fft: int) -> Float[Tensor, " freq"]:
    borders = torch.tensor(edges, dtype=torch.float64)
    hz = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    row = (torch.searchsorted(borders, hz, right=True) - 1).clamp(0, len(borders) - 2)
    share = ((hz - borders[row]) / (borders[row + 1] - borders[row])).clamp(0, 1)
    return ((row + share) / (len(borders) - 1)).float()


def levels(whole: ComplexStft) -> Plane:
    """Returns what each bin's level says, `[batch, 5, freq, frame]`, in units of 20 dB.

    The level below the loudest bin, bounded at `FLOOR_DB` and centered; the same above the bin's mean over frames,
    above the frame's mean over bins, and below the loudest of the nearest bins and of the nearest frames.
    """
    db = 10 * torch.log10(whole.real.square() + whole.imag.square() + 1e-20)
    level = (db - db.amax((1, 2), keepdim=True)).clamp_min(-FLOOR_DB) / 20 + FLOOR_DB / 40
    return planes_of(level)


def planes_of(level: Float[Tensor, "batch freq frame"]) -> Plane:
    """Returns a level, and how far it is from its means and its neighbors."""
    return torch.stack(
        [
            level,
            level - level.mean(2, keepdim=True),
            level - level.mean(1, keepdim=True),
            level - _loudest(level.transpose(1, 2)).transpose(1, 2),
            level - _loudest(level),
        ],
        1,
    )


def _loudest(level: Float[Tensor, "batch row column"]) -> Float[Tensor, "batch row column"]:
    """Returns the largest of `NEAREST` neighboring columns."""
    return functional.max_pool1d(level, NEAREST, stride=1, padding=NEAREST // 2)
