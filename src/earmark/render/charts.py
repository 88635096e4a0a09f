"""Charts as SVG: curves with bands, and dots with whiskers. Colors are the page's; markers and dashes tell them apart.

Each chart has axes with ticks and units. A number that is not known leaves a gap.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

N_COLORS = 8  # --s0 ... --s7 in the style of the page
DASHES = ("", "7 4", "2 3", "9 3 2 3")
WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 46

Point = tuple[float, float | None, float | None, float | None]  # x, mean, low, high


@dataclass(frozen=True)
class Series:
    """A curve: its name and its points (x, mean, low, high)."""

    name: str
    points: tuple[Point, ...]


def color_of(index: int) -> str:
    """Returns the style variable of a series."""
    return f"var(--s{index % N_COLORS})"


def curve_chart(series: Sequence[Series], *, title: str, x_name: str, y_name: str) -> Markup:
    """Returns curves over a logarithmic x axis, each with a band from low to high."""
    xs = sorted({x for one in series for x, *_ in one.points})
    numbers = [v for one in series for _, *values in one.points for v in values if v is not None]
    ticks = nice_ticks(min([*numbers, 0.0]), max([*numbers, 1e-9]))
    frame = _Frame((math.log(xs[0]), math.log(xs[-1])), (ticks[0], ticks[-1]))
    parts = [_opened(HEIGHT, title), *_y_axis(ticks, frame, y_name), *_x_axis(xs, frame, x_name)]
    bands = [_band(one, i, frame) for i, one in enumerate(series)]
    lines = [_line(one, i, frame) for i, one in enumerate(series)]
    return Markup("").join([*parts, *bands, *lines, Markup("</svg>")])


def dot_chart(
    rows: Sequence[tuple[str, float | None, float | None, float | None, int]], *, title: str, x_name: str
) -> Markup:
    """Returns one row per name with a dot at its mean and a whisker from low to high; the last number is its color."""
    numbers = [v for _, *values, _ in rows for v in values if v is not None]
    ticks = nice_ticks(min([*numbers, 0.0]), max([*numbers, 1e-9]))
    left = min(220, 24 + 8 * max(len(name) for name, *_ in rows))
    height = 26 * len(rows) + BOTTOM + TOP

    def x(value: float) -> float:
        return left + (WIDTH - left - RIGHT) * (value - ticks[0]) / (ticks[-1] - ticks[0])

    foot = height - BOTTOM
    parts = [_opened(height, title)]
    for tick in ticks:
        parts += [
            _svg_line(x(tick), TOP, x(tick), foot, "zero" if tick == 0 else "grid"),
            _text(x(tick), foot + 16, tick_text(tick)),
        ]
    parts.append(_text((left + WIDTH - RIGHT) / 2, foot + 36, x_name, "name"))
    for i, (name, mean, low, high, color) in enumerate(rows):
        y = TOP + 26 * i + 13
        parts.append(_text(left - 10, y + 4, name if len(name) <= 24 else f"{name[:23]}…", "row"))
        if mean is not None:
            whisker = (
                ""
                if low is None or high is None
                else f'<path d="M{x(low):.1f} {y}H{x(high):.1f}" stroke="{color_of(color)}" stroke-width="3"/>'
            )
            parts.append(Markup(whisker) + marker(color, x(mean), y))
    return Markup("").join([*parts, Markup("</svg>")])


def key_of(index: int) -> Markup:
    """Returns the sample of a series for a legend: its line and its marker."""
    line = f'<path d="M1 8H33" stroke="{color_of(index)}" stroke-width="2" stroke-dasharray="{_dash(index)}"/>'
    return (
        Markup('<svg class="key" viewBox="0 0 34 16" aria-hidden="true">')
        + Markup(line)
        + marker(index, 17, 8)
        + Markup("</svg>")
    )


def marker(index: int, x: float, y: float, r: float = 4.2) -> Markup:
    """Returns one of seven shapes."""
    shapes = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{x - r:.1f} {y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        f"M{x:.1f} {y - r:.1f}l{r} {2 * r}h{-2 * r}z",
        f"M{x:.1f} {y - r - 1:.1f}l{r + 1} {r + 1}l{-r - 1} {r + 1}l{-r - 1} {-r - 1}z",
        f"M{x:.1f} {y + r:.1f}l{r} {-2 * r}h{-2 * r}z",
        f"M{x - r:.1f} {y - 1.4:.1f}h{2 * r}v2.8h{-2 * r}z",
        f"M{x - 1.4:.1f} {y - r:.1f}h2.8v{2 * r}h-2.8z",
    )
    return Markup(f'<path d="{shapes[index % len(shapes)]}" fill="{color_of(index)}" class="dot"/>')


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Returns round numbers that span a range, evenly spaced, at most `most + 1`.

    Examples
    --------
    >>> nice_ticks(0, 0.93)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    steps = (m * 10.0**e for e in range(-12, 12) for m in (1, 2, 5))
    step = next(s for s in steps if math.ceil(high / s - 1e-9) - math.floor(low / s + 1e-9) <= most)
    first, last = math.floor(low / step + 1e-9), max(math.ceil(high / step - 1e-9), math.floor(low / step + 1e-9) + 1)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def tick_text(value: float) -> str:
    """Returns the text at a tick, with a real minus sign."""
    return f"{value:g}".replace("-", "−")


@dataclass(frozen=True)
class _Frame:
    """Where logarithms of x and values of y lie on a chart of curves."""

    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        span = self.xs[1] - self.xs[0]
        return LEFT + (WIDTH - LEFT - RIGHT) * ((math.log(value) - self.xs[0]) / span if span else 0.5)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - self.ys[0]) / (self.ys[1] - self.ys[0])


def _opened(height: float, title: str) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, title)


def _y_axis(ticks: Sequence[float], frame: _Frame, name: str) -> Iterator[Markup]:
    for tick in ticks:
        yield _svg_line(LEFT, frame.y(tick), WIDTH - RIGHT, frame.y(tick), "zero" if tick == 0 else "grid")
        yield _text(LEFT - 8, frame.y(tick) + 4, tick_text(tick), "row")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield Markup('<text class="name" transform="translate(14 {}) rotate(-90)">{}</text>').format(middle, name)


def _x_axis(xs: Sequence[float], frame: _Frame, name: str) -> Iterator[Markup]:
    last = -math.inf
    for x in xs:
        at = frame.x(x)
        yield _svg_line(at, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 5, "zero")
        if at - last > 22:
            last = at
            yield _text(at, HEIGHT - BOTTOM + 18, tick_text(x))
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, name, "name")


def _band(series: Series, index: int, frame: _Frame) -> Markup:
    known = [(x, low, high) for x, _, low, high in series.points if low is not None and high is not None]
    edge = [*((x, high) for x, _, high in known), *((x, low) for x, low, _ in reversed(known))]
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in edge)
    return Markup(f'<polygon points="{path}" fill="{color_of(index)}" class="band"/>')


def _line(series: Series, index: int, frame: _Frame) -> Markup:
    known = [(frame.x(x), frame.y(mean)) for x, mean, *_ in series.points if mean is not None]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in known)
    line = Markup(
        f'<polyline points="{path}" fill="none" stroke="{color_of(index)}" stroke-width="2" '
        f'stroke-dasharray="{_dash(index)}"/>'
    )
    dots = Markup("").join(marker(index, x, y) for x, y in known)
    return Markup("<g><title>{}</title>").format(series.name) + line + dots + Markup("</g>")


def _dash(index: int) -> str:
    return DASHES[(index + index // N_COLORS) % len(DASHES)]


def _svg_line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup(f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>')


def _text(x: float, y: float, text: str, kind: str = "tick") -> Markup:
    return Markup(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">') + escape(text) + Markup("</text>")
