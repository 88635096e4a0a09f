"""One self-contained page about a masking ablation: what beats the controls, charts, tables, clips to see and hear.

The template is `ablation.html.j2`; everything that enters it is escaped. The page has no script.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ..audio.files import encode
from ..audio.waveform import Waveform
from ..evaluation.ablation.config import CONTROLS, REGION
from ..evaluation.ablation.examples import Example
from ..evaluation.ablation.words import (
    NAMES,
    card_lines,
    classification_table,
    condition_table,
    difference_table,
    reading,
    title_of,
    verdicts,
)
from . import words
from .charts import dot_chart
from .figures import COLORS
from .players import data_uri
from .raster import RANGE_DB, Axes, color_palette, decibels, grid_heat, heat_palette, levels, png

ROOM = 8_000_000  # characters for pictures and sounds, of a page of at most 10 MB
PAGE_RATE = 16000  # Hz, of its sounds
COLUMNS, ROWS = 220, 84  # pixels of a picture
HEARD = ("Original", "Without APEX's region", "Without a random region")


def ablation_page(summary: Mapping[str, Any], examples: Iterable[Example], *, key: str = "", title: str = "") -> str:
    """Returns the page of an ablation as HTML, below 10 MB.

    Parameters
    ----------
    summary
        What `summarize` returned.
    examples
        Clips to see and hear.
    key
        By which the page's table is known.
    title
        What the page is called beside the classifier's name.
    """
    decisions, clips = summary["decisions"], summary["clips"]
    return str(
        _template().render(
            classifier=summary["card"]["classifier"],
            title=title,
            key=key,
            facts=[
                ("clips scored", f"{clips['scored']} of {clips['n']}"),
                ("decisions", str(decisions["n"])),
                ("mean confidence", f"{decisions['mean_prob']:.3f}"),
                ("masked passes", str(summary["passes"]["masked"])),
            ],
            reading=reading(summary),
            verdicts=verdicts(summary),
            asked=[(NAMES[name], what) for name, what in CONTROLS.items()],
            views=[_view(table) for table in summary["views"]],
            card=card_lines(summary),
            gallery=list(_shown(examples)),
            mask_color=COLORS[0],
        )
    )


@lru_cache(maxsize=1)
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(files("earmark.render").joinpath("ablation.html.j2").read_text(encoding="utf-8"))


def _view(table: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the chart and the tables of a view and fill."""
    metric, x_name = ("prob", "probability of the region alone") if table["kept"] else ("logit_lost", "logit lost")
    order = [REGION, *CONTROLS]
    known = [row for row in table["rows"] if row["metrics"][metric]["mean"] is not None]
    dots = [_dot(row, metric, order) for row in known]
    return {
        "title": title_of(table),
        "svg": dot_chart(dots, title=title_of(table), x_name=x_name) if dots else "",
        "conditions": condition_table(table),
        "differences": difference_table(table),
        "classification": classification_table(table) if table["classification"] else [],
        "kept": table["kept"],
    }


def _dot(
    row: Mapping[str, Any], metric: str, order: Sequence[str]
) -> tuple[str, float | None, float | None, float | None, int]:
    told = row["metrics"][metric]
    return NAMES[row["condition"]], told["mean"], told["low"], told["high"], order.index(row["condition"])


# -- clips ----------------------------------------------------------------------------------------------------------


def _shown(examples: Iterable[Example]) -> Iterable[dict[str, Any]]:
    """Yields clips with three pictures and three sounds, as long as there is room."""
    room = ROOM
    for example in examples:
        axes = Axes.of(example.sounds[0])
        panes = [_pane(example, i, axes) for i in range(3)]
        room -= sum(len(pane["image"]) + len(pane["mask"]) + len(pane["sound"]) for pane in panes)
        if room < 0:
            return
        span, top = words.tick_s(round(axes.duration_s, 2)), words.tick_hz(axes.top_hz)
        yield {"clip": example.clip, "target": example.target, "view": example.view, "panes": panes} | {
            "span": span,
            "top": top,
        }


def _pane(example: Example, index: int, axes: Axes) -> dict[str, str]:
    steps = levels(decibels(example.sounds[index], axes, COLUMNS, ROWS), -RANGE_DB, 0.0)
    return {
        "name": HEARD[index],
        "prob": words.prob(example.probs[index]),
        "image": data_uri(png(steps, color_palette("magma")), "image/png"),
        "mask": "" if index == 0 else data_uri(_mask(example, index - 1, axes), "image/png"),
        "sound": _ogg(example.sounds[index]),
    }


def _mask(example: Example, index: int, axes: Axes) -> bytes:
    shares = grid_heat(example.gains[index], example.grid)(axes, COLUMNS, ROWS)
    return png(levels(shares, 0.0, 1.0) // 4 * 4, heat_palette(COLORS[0], 0.55))


def _ogg(sound: Waveform) -> str:
    small = sound.mono().resample(min(sound.sample_rate, PAGE_RATE))
    small = small.scale(1 / small.peak) if small.peak > 1 else small
    return data_uri(encode(small, "OGG"), "audio/ogg")
