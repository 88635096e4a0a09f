"""Charts of checks as SVG: lines with bands over names or numbers, in the style of `charts`."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup, escape

from ..checks.results import Chart, Line
from .charts import DASHES, N_COLORS, color_of, marker, nice_ticks, tick_text

WIDTH, HEIGHT = 620, 300
LEFT, RIGHT, TOP = 62, 16, 12
LONGEST = 20  # characters of a name below the axis
CROWD = 24  # names that can lie aslant below it; more stand upright


def line_chart(chart: Chart) -> Markup:
    """Returns the lines of a chart with their 95 % bands; names are places side by side, numbers lie to scale."""
    xs = list(dict.fromkeys(point.x for line in chart.lines for point in line.points))
    values = [v for line in chart.lines for p in line.points for v in (p.mean, p.low, p.high) if v is not None]
    ticks = nice_ticks(min([*values, 0.0]), max([*values, 1e-9]))
    frame = _Frame(xs, (ticks[0], ticks[-1]))
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, frame.foot + frame.room, chart.title
        ),
        *_axes(chart, frame, ticks),
        *(_band(line, i, frame) for i, line in enumerate(chart.lines)),
        *(_line(line, i, frame) for i, line in enumerate(chart.lines)),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


class _Frame:
    """Where places and values lie."""

    def __init__(self, xs: Sequence[str | float], ys: tuple[float, float]) -> None:
        self.xs, self.ys, self.foot = list(xs), ys, HEIGHT
        self.is_scale = len(xs) > 1 and not any(isinstance(x, str) for x in xs)
        longest = max((len(self.name(x)) for x in xs), default=0)
        self.turned = longest * 7 > (WIDTH - LEFT - RIGHT) / max(len(xs), 1)
        self.upright = len(xs) > CROWD
        self.room = 46 if not self.turned else 40 + (7 if self.upright else 5) * longest

    def name(self, x: str | float) -> str:
        """Returns the text below a place."""
        text = x if isinstance(x, str) else tick_text(float(x))
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

    def x(self, x: str | float) -> float:
        """Returns how far to the right a place lies."""
        if self.is_scale:
            low, high = min(map(float, self.xs)), max(map(float, self.xs))
            share = (float(x) - low) / (high - low)
            return LEFT + 10 + (WIDTH - LEFT - RIGHT - 20) * share
        return LEFT + (WIDTH - LEFT - RIGHT) * (self.xs.index(x) + 0.5) / len(self.xs)

    def y(self, value: float) -> float:
        """Returns how far down a value lies."""
        return self.foot - (self.foot - TOP) * (value - self.ys[0]) / (self.ys[1] - self.ys[0])


def _axes(chart: Chart, frame: _Frame, ticks: Sequence[float]) -> Iterator[Markup]:
    for tick in ticks:
        kind = "zero" if tick == 0 else "grid"
        yield Markup(f'<path class="{kind}" d="M{LEFT} {frame.y(tick):.1f}H{WIDTH - RIGHT}"/>')
        yield Markup(f'<text class="row" x="{LEFT - 8}" y="{frame.y(tick) + 4:.1f}">{tick_text(tick)}</text>')
    for x in frame.xs:
        at = frame.x(x)
        yield Markup(f'<path class="zero" d="M{at:.1f} {frame.foot}v5"/>')
        turn = f"{frame.foot + 10}) rotate(-90" if frame.upright else f"{frame.foot + 15}) rotate(-32"
        place = f'transform="translate({at + 4:.1f} {turn})" class="row"'
        level = f'x="{at:.1f}" y="{frame.foot + 18}" class="tick"'
        yield Markup(f"<text {place if frame.turned else level}>") + escape(frame.name(x)) + Markup("</text>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield Markup('<text class="name" x="{}" y="{}">{}</text>').format(middle, frame.foot + frame.room - 8, chart.x_name)
    yield Markup('<text class="name" transform="translate(14 {}) rotate(-90)">{}</text>').format(
        (TOP + frame.foot) / 2, chart.y_name
    )


def _band(line: Line, index: int, frame: _Frame) -> Markup:
    known = [(p.x, p.low, p.high) for p in line.points if p.low is not None and p.high is not None]
    edge = [*((x, high) for x, _, high in known), *((x, low) for x, low, _ in reversed(known))]
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in edge)
    return Markup(f'<polygon points="{path}" fill="{color_of(index)}" class="band"/>')


def _line(line: Line, index: int, frame: _Frame) -> Markup:
    known = [(frame.x(p.x), frame.y(p.mean)) for p in line.points if p.mean is not None]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in known)
    dash = DASHES[(index + index // N_COLORS) % len(DASHES)]
    drawn = (
        f'<polyline points="{path}" fill="none" stroke="{color_of(index)}" stroke-width="2" stroke-dasharray="{dash}"/>'
    )
    dots = Markup("").join(marker(index, x, y) for x, y in known)
    return Markup("<g><title>{}</title>").format(line.name) + Markup(drawn) + dots + Markup("</g>")
