"""One self-contained page about an evaluation: what beats the controls, curves, tables, and clips to see and hear.

The template is `evaluation.html.j2`; everything that enters it is escaped. A clip's picture and sound are on the page
once, however many explainers show it; examples of lower rank lose their sounds, then their pictures, where there is no
more room.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ..audio.files import encode
from ..audio.waveform import Waveform
from ..evaluation.against import verdicts
from ..evaluation.examples import AREA, Example
from ..evaluation.words import card_lines, cell, headline_table, number, reading, tables_of, verdict_lines
from . import words
from .charts import Series, curve_chart, dot_chart, key_of
from .figures import COLORS
from .players import data_uri
from .raster import RANGE_DB, Axes, color_palette, decibels, grid_heat, heat_palette, levels, png

ROOM = 8_000_000  # characters for pictures and sounds, of a page of at most 10 MB
PAGE_RATE = 16000  # Hz, of its sounds
COLUMNS, ROWS = 220, 84  # pixels of a picture

CHARTS = (  # title, metric, name of the y axis, better
    ("Average drop", "average_drop", "drop of the probability, %", "lower is better"),
    ("Faithfulness", "faithfulness", "probability lost without it", "higher is better"),
    ("Input fidelity", "input_fidelity", "share of decisions kept", "higher is better"),
    ("Energy kept", "energy_kept", "share of the clip's energy", "beside the others: loud bins are no evidence"),
)
DOTS = (  # title, protocol, metric, name of the axis
    ("Area under faithfulness", "matched", "faithfulness", "mean height of the curve, higher is better"),
    ("Area under average drop", "matched", "average_drop", "mean height of the curve, %, lower is better"),
    ("Insertion − deletion", "curve", "insertion_minus_deletion", "difference of areas, higher is better"),
    ("Localization", "localization", "localization_auc", "ROC AUC against known truth, chance is 0.5"),
)


def evaluation_page(summary: Mapping[str, Any], examples: Iterable[Example], *, key: str = "", title: str = "") -> str:
    """Returns the page of an evaluation as HTML, below 10 MB.

    Parameters
    ----------
    summary
        What `summarize` returned.
    examples
        Clips to see and hear, the most telling first.
    key
        By which the page's scores are known.
    title
        What the page is called beside the classifier's name.
    """
    gallery = Gallery()
    for example in examples:
        gallery.add(example)
    names = list(summary["explainers"])
    return str(
        _template().render(
            classifier=summary["card"]["classifier"],
            title=title,
            key=key,
            facts=_facts(summary),
            reading=[line.strip() for line in reading(summary) if line.strip()],
            verdicts=_verdicts(summary),
            legend=[(name, key_of(i)) for i, name in enumerate(names)],
            charts=[*_curves(summary, names)],
            dots=[*_dots(summary, names)],
            stage=summary["card"]["reentry"][0],
            headline=headline_table(summary),
            tables=list(tables_of(summary)),
            card=card_lines(summary),
            gallery=gallery.by_explainer(names),
            images=gallery.images,
            sounds=gallery.sounds,
            left_out=gallery.left_out,
            area=f"{100 * AREA:g}",
            mask_color=COLORS[0],
        )
    )


@lru_cache(maxsize=1)
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(files("earmark.render").joinpath("evaluation.html.j2").read_text(encoding="utf-8"))


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    clips, decisions = summary["clips"], summary["decisions"]
    facts = [
        ("clips scored", f"{clips['scored']} of {clips['n']}"),
        ("explainers", str(len(summary["explainers"]))),
        ("mean confidence", number(decisions["mean_prob"])),
    ]
    if decisions["accuracy"] is not None:
        facts.append(("accuracy", f"{100 * decisions['accuracy']:.1f} %"))
    return facts


def _verdicts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns a mark and a sentence for each explainer."""
    found = [("no" if verdict["fails"] else "yes", verdict["sentence"]) for verdict in verdicts(summary)]
    return found or [("", line) for line in verdict_lines(summary)]


# -- charts ---------------------------------------------------------------------------------------------------------


def _curves(summary: Mapping[str, Any], names: Sequence[str]) -> Iterable[dict[str, Any]]:
    """Yields a chart and its table for each metric, at the first stage."""
    stage = summary["card"]["reentry"][0]
    tables = [t for t in summary["tables"] if t["protocol"] == "matched" and t["reentry"] == stage]
    for title, metric, y_name, better in CHARTS if len(tables) > 1 else ():
        at = {(row["explainer"], t["area"]): row["metrics"].get(metric) for t in tables for row in t["rows"]}
        areas = [table["area"] for table in tables]
        series = [Series(n, tuple(_point(100 * a, at.get((n, a))) for a in areas)) for n in names]
        head = ["explainer", *(f"{100 * a:g} %" for a in areas)]
        table = [head, *([n, *(cell(at.get((n, a))) for a in areas)] for n in names)]
        yield {
            "title": title,
            "better": better,
            "svg": curve_chart(
                series, title=f"{title} against area", x_name="area, % of all bins (log)", y_name=y_name
            ),
            "table": table,
        }


def _point(x: float, told: Mapping[str, Any] | None) -> tuple[float, float | None, float | None, float | None]:
    return (x, None, None, None) if told is None else (x, told["mean"], told["low"], told["high"])


def _dots(summary: Mapping[str, Any], names: Sequence[str]) -> Iterable[dict[str, Any]]:
    """Yields a chart of one number per explainer, the best first."""
    stage = summary["card"]["reentry"][0]
    for title, protocol, metric, x_name in DOTS:
        pool = summary["curves"] if protocol == "matched" else summary["tables"]
        found = [t for t in pool if t.get("protocol", "matched") == protocol and t["reentry"] in (stage, None)]
        told = {row["explainer"]: row["metrics"].get(metric) for t in found for row in t["rows"]}
        known = {name: one for name, one in told.items() if one is not None and one["mean"] is not None}
        if known:
            rows = [(n, v["mean"], v["low"], v["high"], names.index(n)) for n, v in known.items()]
            rows.sort(key=lambda row: row[1] if metric == "average_drop" else -row[1])
            table = [["explainer", "N", x_name], *([n, str(known[n]["n"]), cell(known[n])] for n, *_ in rows)]
            yield {"title": title, "svg": dot_chart(rows, title=title, x_name=x_name), "table": table}


# -- clips ----------------------------------------------------------------------------------------------------------


@dataclass
class Gallery:
    """Pictures and sounds within the room of a page; each clip's own are there once."""

    room: int = ROOM
    images: dict[str, str] = field(default_factory=dict)
    sounds: dict[str, str] = field(default_factory=dict)
    left_out: int = 0
    _shown: list[dict[str, Any]] = field(default_factory=list)
    _of_clip: dict[str, str] = field(default_factory=dict)

    def add(self, example: Example) -> None:
        """Adds an example, with as much of it as there is room for."""
        axes = Axes.of(example.sound)
        image = self._kept(self.images, f"p:{example.clip}", lambda: _picture(example.sound, axes))
        mask = data_uri(_mask(example, axes), "image/png")
        sound = self._kept(self.sounds, f"s:{example.clip}", lambda: _ogg(example.sound))
        kept = self._kept(self.sounds, f"k:{len(self._shown)}", lambda: _ogg(example.kept)) if sound else ""
        self.room -= len(mask) if image else 0
        self._shown.append(
            {
                "explainer": example.explainer,
                "clip": words_of(example.clip),
                "said": f"{example.target}, {words.prob(example.prob)}",
                "best": example.best,
                "value": "undefined" if math.isnan(example.value) else f"{example.value:.3g}",
                "image": image,
                "mask": mask if image else "",
                "sound": sound,
                "kept": kept,
                "span": words.tick_s(round(axes.duration_s, 2)),
                "top": words.tick_hz(axes.top_hz),
            }
        )

    def by_explainer(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Returns the examples of each explainer, the best and the worst."""
        found = []
        for name in names:
            own = [one for one in self._shown if one["explainer"] == name]
            if own:
                best, worst = ([one for one in own if one["best"] is wanted] for wanted in (True, False))
                found.append({"explainer": name, "best": best, "worst": worst})
        return found

    def _kept(self, where: dict[str, str], what: str, make: Any) -> str:
        """Returns the name under which something is on the page; nothing where there is no room for it."""
        if what in self._of_clip:
            return self._of_clip[what]
        uri = make() if self.room > 0 else ""
        if not uri or len(uri) > self.room:
            self.left_out += 1
            return self._of_clip.setdefault(what, "")
        self.room -= len(uri)
        name = f"{what[0]}{len(where)}"
        where[name] = uri
        return self._of_clip.setdefault(what, name)


def words_of(text: str, most: int = 90) -> str:
    """Returns a name, cut where it is very long."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _picture(sound: Waveform, axes: Axes) -> str:
    steps = levels(decibels(sound, axes, COLUMNS, ROWS), -RANGE_DB, 0.0)
    return data_uri(png(steps, color_palette("magma")), "image/png")


def _mask(example: Example, axes: Axes) -> bytes:
    """Returns the mask as a picture: clear where it keeps nothing."""
    shares = grid_heat(example.gain, example.grid)(axes, COLUMNS, ROWS)
    return png(levels(shares, 0.0, 1.0) // 4 * 4, heat_palette(COLORS[0], 0.55))


def _ogg(sound: Waveform) -> str:
    small = sound.mono().resample(min(sound.sample_rate, PAGE_RATE))
    small = small.scale(1 / small.peak) if small.peak > 1 else small
    return data_uri(encode(small, "OGG"), "audio/ogg")
