"""Figures for notebooks and documents, drawn by matplotlib without its global state."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..audio.waveform import Waveform
from ..evidence import Attribution, PrototypeEvidence
from ..explanation import Explanation
from ..prototypes.bank import Prototype
from ..types import Region
from . import words
from .raster import RANGE_DB, Axes, Heat, Pixels, decibels, grid_heat, map_heat, mels, picture_decibels

#: Told apart by people with any color vision (after Okabe and Ito), bright enough for a dark spectrogram.
COLORS = ("#56c8ff", "#ffd21f", "#3ddc97", "#ff8fc7", "#ff9f1c", "#c9b6ff", "#ffffff", "#e8604c")
AGAINST = "#58a6ff"  # heat that speaks against the target; its counterpart is COLORS[4]

#: Left, bottom, width and height of the picture in `spectrogram_png`, as shares of the whole.
PLACE = (0.075, 0.15, 0.905, 0.76)

_COLUMNS, _ROWS = 900, 256


@dataclass(frozen=True)
class Mark:
    """A region as it is drawn: its color, the short tag at its corner, and what its boxes are."""

    region: Region
    color: str
    tag: str
    name: str


def marks(explanation: Explanation) -> list[Mark]:
    """Returns the boxes of an explanation; those of a channel share a color and a tag."""
    evidence = explanation.evidence
    if not isinstance(evidence, PrototypeEvidence):
        regions = explanation.regions()
        return [Mark(r, COLORS[4], str(i + 1), f"Region {i + 1}") for i, r in enumerate(regions)]
    return [
        Mark(region, COLORS[i % len(COLORS)], str(c.channel), f"Channel {c.channel}")
        for i, c in enumerate(evidence.channels)
        for region in c.regions
    ]


def by_channels(explanation: Explanation) -> PrototypeEvidence:
    """Returns the evidence of an explanation by channels and prototypes."""
    assert isinstance(explanation.evidence, PrototypeEvidence)
    return explanation.evidence


def heat_of(explanation: Explanation, shown: int = 0) -> Heat:
    """Returns the heat of an explanation, 1 and -1 at full color; for prototypes, that of one shown channel.

    A channel's map and a mask are drawn as they are; attributions, which have no scale of their own, reach full color
    at the strongest hundredth of the picture.
    """
    evidence = explanation.evidence
    if isinstance(evidence, PrototypeEvidence):
        return map_heat(evidence.heatmaps[shown], evidence.geometry)
    if isinstance(evidence, Attribution):
        return _scaled(grid_heat(evidence.values, explanation.grid))
    return grid_heat(evidence.stft_gain(explanation.grid), explanation.grid)


def _scaled(heat: Heat) -> Heat:
    def scaled(axes: Axes, columns: int, rows: int) -> Pixels:
        values = heat(axes, columns, rows)
        return values / values.abs().flatten().quantile(0.99).clamp_min(1e-30)

    return scaled


def spectrogram_png(
    waveform: Waveform,
    *,
    regions: Sequence[Region | Mark] = (),
    heatmap: Heat | None = None,
    top_hz: float | None = None,
    title: str = "",
    size: tuple[int, int] = (900, 320),
) -> bytes:
    """Returns a PNG of a clip's spectrogram on axes in seconds and hertz, evenly spaced in mels.

    Parameters
    ----------
    regions
        Boxes; drawn at their exact seconds and hertz.
    heatmap
        What lies over it, from `heat_of`, `map_heat` or `grid_heat`; 1 and -1 are full color.
    top_hz
        The upper end of the picture; the clip's Nyquist frequency if not given.
    title
        What stands above it.
    size
        Width and height in pixels; the picture takes the share `PLACE` of them.
    """
    figure = _figure((size[0] / 100, size[1] / 100))
    plot = figure.add_axes(PLACE)
    _draw(plot, waveform, Axes.of(waveform, top_hz), heat=heatmap)
    for i, region in enumerate(regions):
        _draw_box(plot, region if isinstance(region, Mark) else Mark(region, COLORS[i % len(COLORS)], "", ""))
    plot.set_title(title, fontsize=9)
    return figure_png(figure)


def draw_explanation(explanation: Explanation) -> Any:
    """Returns a matplotlib figure: the clip with all boxes, then its heat; for prototypes, one row a channel.

    A row shows where the channel lies in the clip and, where their sound is at hand, its first three prototypes.
    """
    evidence = explanation.evidence
    rows = evidence.channels if isinstance(evidence, PrototypeEvidence) else ()
    figure = _figure((11.0, 2.9 + 2.0 * max(len(rows), 1)))
    grid = figure.add_gridspec(1 + max(len(rows), 1), 5, height_ratios=[1.3] + [1.0] * max(len(rows), 1))
    clip = figure.add_subplot(grid[0, :])
    axes = Axes.of(explanation.waveform)
    _draw(clip, explanation.waveform, axes)
    for mark in marks(explanation):
        _draw_box(clip, mark)
    clip.set_title(_headline(explanation), fontsize=11, loc="left")
    if not isinstance(evidence, PrototypeEvidence):
        _draw(figure.add_subplot(grid[1, :]), explanation.waveform, axes, heat=heat_of(explanation))
    for i in range(len(rows)):
        _draw_channel(figure, grid, explanation, i)
    figure.set_layout_engine("constrained")
    # Notebooks know how to show a figure only once pyplot is imported; this one says it itself.
    figure._repr_png_ = partial(figure_png, figure)
    return figure


def figure_png(figure: Any) -> bytes:
    """Returns a matplotlib figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _headline(explanation: Explanation) -> str:
    prediction = explanation.prediction
    heard = words.prob(float(prediction.probs[prediction.index]))
    told = f"{explanation.name} was heard as {prediction.label} ({heard})"
    return told if explanation.target.label == prediction.label else f"{told}; why {explanation.target.label}?"


def _figure(inches: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, dpi=100)
    FigureCanvasAgg(figure)
    return figure


def _draw(plot: Any, waveform: Waveform, axes: Axes, *, heat: Heat | None = None, columns: int = _COLUMNS) -> None:
    """Draws the spectrogram in magma, or in gray where heat lies over it, and the ticks."""
    _draw_decibels(plot, decibels(waveform, axes, columns, _ROWS), axes, "gray" if heat else "magma")
    if heat:
        values = heat(axes, columns // 3, _ROWS // 2).clamp(-1, 1)
        look = {"cmap": "PuOr_r", "vmin": -1, "vmax": 1, "alpha": 0.75 * values.abs().numpy()}
        plot.imshow(values.numpy(), **look, **_placed(axes))
    _draw_ticks(plot, axes)


def _draw_decibels(plot: Any, db: Pixels, axes: Axes, colors: str = "magma") -> None:
    look = {"cmap": colors, "vmin": -RANGE_DB, "vmax": 0, "interpolation": "nearest"}
    plot.imshow(db.numpy(), **look, **_placed(axes))


def _placed(axes: Axes) -> dict[str, Any]:
    return {"extent": (0.0, axes.duration_s, 0.0, mels(axes.top_hz)), "origin": "lower", "aspect": "auto"}


def _draw_ticks(plot: Any, axes: Axes) -> None:
    times, octaves = axes.second_ticks(), axes.hz_ticks()
    plot.set_xticks(times, [words.tick_s(t) for t in times], fontsize=7)
    plot.set_yticks([mels(hz) for hz in octaves], [words.tick_hz(hz) for hz in octaves], fontsize=7)
    plot.set_xlim(0, axes.duration_s)
    plot.set_ylim(0, mels(axes.top_hz))


def _draw_box(plot: Any, mark: Mark) -> None:
    """Draws a box with a dark rim, so that its color is seen on any ground."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import Normal, Stroke

    region = mark.region
    left, low = region.start_s, mels(region.low_hz)
    box = Rectangle((left, low), region.end_s - left, mels(region.high_hz) - low, fill=False, ec=mark.color, lw=1.4)
    box.set_path_effects([Stroke(linewidth=3.2, foreground="black"), Normal()])
    plot.add_patch(box)
    if mark.tag:
        style = {"facecolor": mark.color, "edgecolor": "black", "pad": 1.2, "linewidth": 0.6}
        at = (left, mels(region.high_hz))
        plot.text(*at, mark.tag, fontsize=7, va="top", color="black", bbox=style, clip_on=True)


def _draw_channel(figure: Any, grid: Any, explanation: Explanation, i: int) -> None:
    """Draws one channel's row: heat and boxes in the clip, then its prototypes."""
    evidence = by_channels(explanation)
    channel, color = evidence.channels[i], COLORS[i % len(COLORS)]
    plot = figure.add_subplot(grid[i + 1, :2])
    _draw(plot, explanation.waveform, Axes.of(explanation.waveform), heat=heat_of(explanation, i), columns=450)
    for region in channel.regions:
        _draw_box(plot, Mark(region, color, "", ""))
    places = words.decimals(evidence.score, channel.contribution)
    told = f"channel {channel.channel}: {words.signed(channel.contribution, places)}"
    plot.set_title(f"{told} of {words.number(evidence.score, places)}", fontsize=9, loc="left")
    for j, prototype in enumerate(channel.prototypes[:3]):
        _draw_prototype(figure.add_subplot(grid[i + 1, 2 + j]), evidence, prototype, color)


def _draw_prototype(plot: Any, evidence: PrototypeEvidence, prototype: Prototype, color: str) -> None:
    sound = evidence.find_sound(prototype) if evidence.find_sound else None
    plot.set_title(f"{prototype.label} #{prototype.rank + 1}", fontsize=8, loc="left")
    if sound is None:
        _draw_without_sound(plot, evidence, prototype)
    else:
        _draw(plot, sound, Axes.of(sound), columns=300)
    for region in prototype.regions:
        _draw_box(plot, Mark(region, color, "", ""))


def _draw_without_sound(plot: Any, evidence: PrototypeEvidence, prototype: Prototype) -> None:
    """Draws the small picture of a prototype, if there is one, and says that its sound is not at hand."""
    edges = evidence.geometry.row_edges_hz
    axes = Axes(prototype.duration_s, edges[-1])
    picture = evidence.pictures.get(prototype.sha256)
    if picture is not None:
        _draw_decibels(plot, picture_decibels(picture, edges, axes, _ROWS // 2), axes)
    style = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    at = {"ha": "center", "va": "center", "fontsize": 8, "transform": plot.transAxes}
    plot.text(0.5, 0.5, "sound not at hand", bbox=style, **at)
    _draw_ticks(plot, axes)
