"""How the channels of several layers belong together, as one self-contained page, as Markdown and as a picture.

The template is `consistency.html.j2`; everything that enters it is escaped. Nothing on it needs a script or a network.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ..checks.results import Chart, Line, Point, Table
from ..evaluation.words import markdown, plain
from ..explainers.apex.matchings import Consistency
from .charts import key_of
from .check_page import grid_of
from .figures import _figure, figure_png
from .line_chart import line_chart
from .words import number

SHOWN_CHAINS = 12
DRAWN_CHAINS = 6
CHAIN = "#7a2c8f"
MEASURES = {
    "correlation": (
        "Matched correlation",
        "Mean absolute correlation of the pooled activations of matched channels, on held-out clips.",
    ),
    "overlap": (
        "Overlap of prototypes",
        "Mean Jaccard overlap of the prototypes of matched channels, which the matching did not see.",
    ),
    "iou": (
        "Overlap in time",
        "Where matched channels name the same clip: intersection over union of the seconds that they mean.",
    ),
}


def consistency_page(found: Consistency) -> str:
    """Returns the page as HTML."""
    return str(
        _template().render(
            classifier=found.classifier,
            sentence=sentence(found),
            facts=[
                ("emergence layer", str(found.emergence)),
                ("layers", str(len(found.layers))),
                ("held-out clips", str(found.n_clips)),
            ],
            notes=found.notes,
            layers=found.layers,
            heats=[_heat(found, name, *told) for name, told in MEASURES.items()],
            charts=[_drawn(chart) for chart in (_last_chart(found), _chain_chart(found)) if chart.lines],
            chains=grid_of(chain_table(found)),
            pairs=grid_of(pair_table(found)),
        )
    )


def consistency_markdown(found: Consistency) -> str:
    """Returns the same tables as Markdown."""
    lines = [f"# Layers of {plain(found.classifier)}", "", sentence(found)]
    for note in found.notes:
        lines += ["", note]
    for table in (pair_table(found), chain_table(found)):
        lines += ["", f"## {table.title}", "", *markdown(grid_of(table))]
    return "\n".join(lines) + "\n"


def sentence(found: Consistency) -> str:
    """Returns what came out."""
    last, first = found.layers[-1], found.emergence
    where = f"overlaps of prototypes with layer {last} above {found.threshold:g}, and above chance,"
    if first == last:
        return f"No earlier layer has {where} so that what the channels of layer {last} show begins there."
    one = found.of(first, last)
    return (
        f"Layer {first} is the first that has {where} on average {one.overlap:.2f} (shuffled pairs "
        f"{one.overlap_shuffled:.2f}, p = {one.p_value:.3g}); matched channels correlate by {one.correlation:.2f} "
        f"(shuffled clips {one.correlation_chance:.2f})."
    )


def pair_table(found: Consistency) -> Table:
    """Returns one row for each two layers, each number beside what chance gives."""
    columns = (
        "layers",
        "correlation",
        "by chance",
        "overlap",
        "random sets",
        "shuffled",
        "p",
        "IoU in time",
        "shared clips",
    )
    rows = tuple(
        (
            f"{one.layer} and {one.other}",
            one.correlation,
            one.correlation_chance,
            one.overlap,
            one.overlap_chance,
            one.overlap_shuffled,
            one.p_value,
            one.iou,
            one.n_shared,
        )
        for one in found.matchings
    )
    return Table("Each two layers", columns, rows)


def chain_table(found: Consistency) -> Table:
    """Returns the chains that hold best: the channel at each layer, and the weakest correlation of two of them."""
    columns = ("weakest correlation", *(f"layer {layer}" for layer in found.layers))
    rows = tuple((one.weakest, *one.channels) for one in found.chains()[:SHOWN_CHAINS])
    return Table("Chains of matched channels", columns, rows)


def consistency_png(found: Consistency) -> bytes:
    """Returns a picture: matched correlation and overlap of each two layers, and the chains that hold best."""
    figure = _figure((12.0, 3.9))
    grid = figure.add_gridspec(1, 3, wspace=0.38, left=0.05, right=0.98, bottom=0.16, top=0.88)
    for i, name in enumerate(("correlation", "overlap")):
        _draw_heat(figure, figure.add_subplot(grid[0, i]), found, name)
    _draw_chains(figure.add_subplot(grid[0, 2]), found)
    return figure_png(figure)


@lru_cache(maxsize=1)
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(files("earmark.render").joinpath("consistency.html.j2").read_text(encoding="utf-8"))


def _heat(found: Consistency, name: str, title: str, told: str) -> dict[str, Any]:
    rows = found.table(name)
    cells = [
        [{"text": "–" if value is None else number(value), "heat": f"{value or 0.0:.3f}"} for value in row]
        for row in rows
    ]
    return {"title": title, "told": told, "rows": list(zip(found.layers, cells, strict=True))}


def _drawn(chart: Chart) -> dict[str, Any]:
    legend = [(line.name, key_of(i)) for i, line in enumerate(chart.lines)]
    return {"title": chart.title, "svg": line_chart(chart), "legend": legend}


def _last_chart(found: Consistency) -> Chart:
    """Returns how each layer belongs to the last one."""
    last = found.layers[-1]
    before = [found.of(layer, last) for layer in found.layers[:-1]]
    names = {
        "correlation": "correlation",
        "correlation_chance": "correlation, shuffled clips",
        "overlap": "overlap",
        "overlap_shuffled": "overlap, shuffled pairs",
    }
    lines = [
        Line(shown, tuple(Point(str(one.layer), one.to_dict()[name]) for one in before))
        for name, shown in names.items()
    ]
    return Chart(f"Each layer and layer {last}", "layer", "share", tuple(lines))


def _chain_chart(found: Consistency) -> Chart:
    steps = [f"{a}–{b}" for a, b in zip(found.layers[:-1], found.layers[1:], strict=True)]
    lines = [
        Line(
            _name(one.channels), tuple(Point(step, value) for step, value in zip(steps, one.correlations, strict=True))
        )
        for one in found.chains()[:DRAWN_CHAINS]
    ]
    return Chart("Chains that hold best", "from layer to layer", "absolute correlation", tuple(lines))


def _name(channels: Sequence[int | None]) -> str:
    return " → ".join("–" if channel is None else str(channel) for channel in channels)


def _draw_heat(figure: Any, plot: Any, found: Consistency, name: str) -> None:
    values = [[0.0 if value is None else value for value in row] for row in found.table(name)]
    image = plot.imshow(values, cmap="magma", vmin=0, vmax=1, origin="lower")
    places: Mapping[str, Any] = {"ticks": range(len(found.layers)), "labels": found.layers, "fontsize": 8}
    plot.set_xticks(**places)
    plot.set_yticks(**places)
    plot.set_title(MEASURES[name][0], fontsize=10)
    plot.set_xlabel("layer", fontsize=8)
    if len(found.layers) <= 12:
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                color = "black" if value > 0.6 else "white"
                plot.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    figure.colorbar(image, ax=plot, fraction=0.046, pad=0.03).ax.tick_params(labelsize=7)


def _draw_chains(plot: Any, found: Consistency) -> None:
    """Draws a column of channels for each layer and a line for each chain, the darker the better it holds."""
    chains = found.chains()[:SHOWN_CHAINS]
    for y, one in enumerate(reversed(chains)):
        for x, value in enumerate(one.correlations):
            if value is not None:
                look = {"color": CHAIN, "alpha": 0.12 + 0.88 * value, "lw": 5, "solid_capstyle": "butt"}
                plot.plot([x, x + 1], [y, y], **look)
        for x, channel in enumerate(one.channels):
            if channel is not None:
                style = {"facecolor": "white", "edgecolor": CHAIN, "boxstyle": "round,pad=0.2", "linewidth": 0.7}
                plot.text(x, y, str(channel), ha="center", va="center", fontsize=7, bbox=style)
    plot.set_xticks(range(len(found.layers)), found.layers, fontsize=8)
    plot.set_yticks([])
    plot.set_xlim(-0.5, len(found.layers) - 0.5)
    plot.set_ylim(-0.7, max(len(chains), 1) - 0.3)
    plot.set_xlabel("layer", fontsize=8)
    plot.set_title("Chains of matched channels", fontsize=10)
    for side in ("top", "right", "left"):
        plot.spines[side].set_visible(False)
