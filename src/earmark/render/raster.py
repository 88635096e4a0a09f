"""Pictures as arrays: the axes they lie on, spectrograms and heat on their pixels, and small PNG files.

One class, `Axes`, says where seconds and hertz lie, for the page and for matplotlib alike. Pixels are cells with
edges: what lies in a cell is averaged over it, so that nothing thin is missed and nothing is shifted.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..audio.mel import hz_to_mel, mel_points_hz, power_to_db
from ..audio.waveform import Waveform
from ..classifiers.base import Grid
from ..classifiers.geometry import Geometry
from ..types import Region

RANGE_DB = 80.0  # what a spectrogram shows below the clip's own maximum
N_LEVELS = 128  # steps of a palette; 0.63 dB each

Pixels = Float[Tensor, "row column"]
#: Gives values on the pixels of a picture: axes, columns, rows -> [row, column], row 0 at the bottom.
Heat = Callable[["Axes", int, int], Pixels]


@dataclass(frozen=True)
class Axes:
    """Seconds to the right and hertz upward, evenly spaced in HTK mels.

    Parameters
    ----------
    duration_s
        The right end; the left one is 0 s.
    top_hz
        The upper end; the lower one is 0 Hz.

    Examples
    --------
    >>> Axes(5.0, 16000).x(1.25)
    0.25
    """

    duration_s: float
    top_hz: float

    @classmethod
    def of(cls, waveform: Waveform, top_hz: float | None = None) -> "Axes":
        """Returns the axes of a clip: its length, and up to its Nyquist frequency unless told otherwise."""
        return cls(waveform.duration_s, top_hz or waveform.sample_rate / 2)

    def x(self, seconds: float) -> float:
        """Returns how far to the right a time lies, as a share in [0, 1]."""
        return min(max(seconds / self.duration_s, 0.0), 1.0)

    def y(self, hz: float) -> float:
        """Returns how far up a frequency lies, as a share in [0, 1]."""
        return min(max(mels(hz) / mels(self.top_hz), 0.0), 1.0)

    def second_edges(self, columns: int) -> Float[Tensor, " edge"]:
        """Returns the `columns + 1` borders of the pixel columns in seconds."""
        return torch.linspace(0, self.duration_s, columns + 1, dtype=torch.float64)

    def hz_edges(self, rows: int) -> Float[Tensor, " edge"]:
        """Returns the `rows + 1` borders of the pixel rows in Hz, the lowest first."""
        return mel_points_hz(rows + 1, 0.0, self.top_hz)

    def second_ticks(self, most: int = 10) -> list[float]:
        """Returns at most `most + 1` round times, evenly spaced."""
        steps = (m * 10.0**e for e in range(-4, 6) for m in (1, 2, 5))
        step = next(step for step in steps if self.duration_s / step <= most)
        return [round(i * step, 6) for i in range(int(self.duration_s / step + 1e-9) + 1)]

    def hz_ticks(self, closest: float = 0.075) -> list[float]:
        """Returns 0 Hz and the octaves of 125 Hz that lie at least the share `closest` from one another."""
        ticks = [0.0]
        for octave in range(14):
            hz = 125.0 * 2**octave
            if hz <= self.top_hz and self.y(hz) - self.y(ticks[-1]) >= closest:
                ticks.append(hz)
        return ticks


def mels(hz: float) -> float:
    """Returns the HTK mels of a frequency in Hz."""
    return float(hz_to_mel(torch.tensor(hz, dtype=torch.float64)))


def decibels(waveform: Waveform, axes: Axes, columns: int, rows: int) -> Pixels:
    """Returns the power spectrogram of a clip's channel mean on the pixels of a picture.

    Returns
    -------
    decibels
        `[row, column]`, row 0 at the bottom; relative to the clip's own maximum, in [-80, 0] dB.
    """
    n_fft = max(64, 2 ** round(torch.tensor(0.035 * waveform.sample_rate).log2().item()))  # about 35 ms
    power = _column_power(waveform.mono().samples[0], columns, n_fft)
    bin_edges = (torch.arange(n_fft // 2 + 2, dtype=torch.float64) - 0.5) * (waveform.sample_rate / n_fft)
    pooled = overlap(axes.hz_edges(rows), bin_edges).float() @ power
    db = power_to_db(pooled[None], top_db=RANGE_DB)[0]
    return (db - db.max()).clamp(-RANGE_DB, 0) if float(pooled.max()) > 0 else torch.full_like(db, -RANGE_DB)


def picture_decibels(
    picture: UInt8[Tensor, "freq frame"], row_edges_hz: Sequence[float], axes: Axes, rows: int
) -> Pixels:
    """Returns a prototype's small picture on the rows of a plot, as decibels would lie there.

    Parameters
    ----------
    picture
        Features in 256 steps, which are drawn over the range of a spectrogram.
    row_edges_hz
        Where its rows lie, one more than rows.
    """
    share = overlap(axes.hz_edges(rows), torch.tensor(row_edges_hz, dtype=torch.float64))
    return (share @ (picture.double() / 255) - 1).float() * RANGE_DB


def _column_power(samples: Float[Tensor, " sample"], columns: int, n_fft: int) -> Float[Tensor, "freq column"]:
    """Returns the mean power of the frames within each pixel column; frames lie at most half a window apart."""
    hop = len(samples) / columns
    n_parts = max(1, -int(-2 * hop // n_fft))
    frames = torch.nn.functional.pad(samples, (n_fft // 2, n_fft // 2)).unfold(0, n_fft, 1)
    window = torch.hann_window(n_fft)
    power = torch.zeros(columns, n_fft // 2 + 1)
    for part in range(n_parts):
        centers = ((torch.arange(columns) + (part + 0.5) / n_parts) * hop).long()
        power += torch.fft.rfft(frames[centers] * window).abs().square()
    return power.T / n_parts


def overlap(targets: Float[Tensor, " t"], sources: Float[Tensor, " s"]) -> Float[Tensor, "target source"]:
    """Returns which share of each target cell lies in each source cell; both are given by their edges."""
    low = torch.maximum(targets[:-1, None], sources[None, :-1])
    high = torch.minimum(targets[1:, None], sources[None, 1:])
    return (high - low).clamp_min(0) / (targets[1:] - targets[:-1])[:, None]


def map_heat(values: Float[Tensor, "freq frame"], geometry: Geometry) -> Heat:
    """Returns the heat of a map: bilinear between the true centers of its cells."""

    def heat(axes: Axes, columns: int, rows: int) -> Pixels:
        hz, seconds = axes.hz_edges(rows), axes.second_edges(columns)
        return geometry.sample(values.double(), (hz[1:] + hz[:-1]) / 2, (seconds[1:] + seconds[:-1]) / 2).float()

    return heat


def grid_heat(values: Float[Tensor, "freq frame"], grid: Grid) -> Heat:
    """Returns the heat of values on the STFT grid: their mean over each pixel; a bin reaches half a bin around it."""

    def heat(axes: Axes, columns: int, rows: int) -> Pixels:
        hz, seconds = _cell_edges(grid.hz), _cell_edges(grid.seconds)
        of_rows = overlap(axes.hz_edges(rows), hz)
        of_columns = overlap(axes.second_edges(columns), seconds)
        return (of_rows @ values.double() @ of_columns.T).float()

    return heat


def _cell_edges(centers: Float[Tensor, " cell"]) -> Float[Tensor, " edge"]:
    """Returns the borders of evenly spaced cells."""
    step = float(centers[1] - centers[0]) if len(centers) > 1 else 1.0
    return (torch.arange(len(centers) + 1, dtype=torch.float64) - 0.5) * step + float(centers[0])


def levels(values: Pixels, low: float, high: float) -> UInt8[Tensor, "row column"]:
    """Returns palette steps: 0 at `low` or below, `N_LEVELS - 1` at `high` or above."""
    share = ((values - low) / max(high - low, 1e-30)).clamp(0, 1)
    return (share * (N_LEVELS - 1)).round().to(torch.uint8)


def color_palette(name: str) -> list[tuple[int, int, int, int]]:
    """Returns the steps of a matplotlib color map as red, green, blue, alpha in 0 ... 255."""
    from matplotlib import colormaps

    colors = colormaps[name].resampled(N_LEVELS)(range(N_LEVELS), bytes=True)
    return [(int(r), int(g), int(b), int(a)) for r, g, b, a in colors]


def heat_palette(color: str, opacity: float = 0.85) -> list[tuple[int, int, int, int]]:
    """Returns one color, from clear to `opacity`."""
    r, g, b = rgb(color)
    return [(r, g, b, round(255 * opacity * i / (N_LEVELS - 1))) for i in range(N_LEVELS)]


def signed_palette(positive: str, negative: str) -> list[tuple[int, int, int, int]]:
    """Returns one color for values below the middle and one for those above, clear in the middle."""
    half = N_LEVELS // 2
    up, down = heat_palette(positive), heat_palette(negative)
    return [down[2 * (half - i) - 1] for i in range(half)] + [up[2 * i + 1] for i in range(half)]


def rgb(color: str) -> tuple[int, int, int]:
    """Returns red, green and blue of `#rrggbb`."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def png(steps: UInt8[Tensor, "row column"], palette: list[tuple[int, int, int, int]]) -> bytes:
    """Returns a PNG with a palette, one byte a pixel before compression; row 0 is drawn at the bottom."""
    rows, columns = steps.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    colors = b"".join(bytes(color[:3]) for color in palette)
    alphas = bytes(color[3] for color in palette)
    lines = torch.nn.functional.pad(steps.flip(0), (1, 0))  # each line starts with 0: no filter
    data = zlib.compress(lines.contiguous().numpy().tobytes(), 9)
    chunks = (b"IHDR", header), (b"PLTE", colors), (b"tRNS", alphas), (b"IDAT", data), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def inside(region: Region, axes: Axes) -> tuple[float, float, float, float]:
    """Returns a region's left, bottom, right and top as shares of the picture."""
    return axes.x(region.start_s), axes.y(region.low_hz), axes.x(region.end_s), axes.y(region.high_hz)
