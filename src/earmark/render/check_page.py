"""One self-contained page about the checks of an explainer: verdicts in words, charts, tables, maps step by step.

The template is `check.html.j2`; everything that enters it is escaped. Nothing on it needs a script or a network.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch

from ..checks.results import CheckResult, Table
from ..checks.run import CheckReport
from .charts import key_of
from .line_chart import line_chart
from .players import data_uri
from .raster import N_LEVELS, color_palette, png

VERDICTS = {True: ("yes", "passes"), False: ("no", "fails"), None: ("", "not judged")}
TITLES = {
    "determinism": "Determinism",
    "completeness": "Completeness",
    "randomization": "Randomized weights",
    "stability": "Stability",
    "decoder": "Controls of the decoder",
    "decoder-refits": "Decoders trained anew",
    "labels": "Randomized labels",
    "roar": "Remove and retrain",
}
ASKED = {
    "determinism": "The same seed twice, a clip alone and in a batch, and other seeds.",
    "completeness": "Do values sum to what they claim to divide: the score minus that of the baseline?",
    "randomization": "From the head to the input, all weights are drawn anew. A map that shows what the model has "
    "learned must change; one that stays shows the sound. It must not be more like the intact map than the map of "
    "another clip is.",
    "stability": "Does the map stay what it is when the sound hardly changes, and move where the sound moves?",
    "decoder": "A trained decoder draws something in any case. Does its map follow what the classifier passes on (D2), "
    "and do its masks keep more than those of decoders that were never trained (D3)? D1 is the decoder on a classifier "
    "with new weights, which is unusual input to it, and so no proof by itself.",
    "decoder-refits": "The decoder is trained anew: on a classifier with new weights (D4) and on one that learned "
    "shuffled labels (D5) its maps must differ; one that knows the sound alone (D6) must be beaten.",
    "labels": "The classifier is trained anew on shuffled labels: do its maps differ from those of the real one?",
    "roar": "What the maps mark is removed, and the classifier trained anew: does it miss what was removed?",
}


#: Above the pictures of a check: what they are.
SHOWN = {
    "randomization": (
        "Maps, layer by layer",
        "The first draw: the sound, the intact map, and the map of the same label after each layer, from the head on, "
        "is re-drawn with all before it.",
    ),
    "decoder": ("Maps of the controls", "The first draw: the sound, the intact map, and the same label's by control."),
}
SHOWN["decoder-refits"] = SHOWN["decoder"]


def check_page(report: CheckReport, *, title: str = "") -> str:
    """Returns the page of a report as HTML.

    Parameters
    ----------
    report
        What was checked.
    title
        What the data are called.
    """
    about = report.about
    return str(
        _template().render(
            explainer=about["explainer"]["name"],
            classifier=about["classifier"],
            title=title,
            mark=report.mark,
            facts=_facts(report),
            checks=[_check(result, report.pictures.get(result.name, ())) for result in report.results],
            card=card_rows(report),
            warnings=about.get("warnings", ()),
        )
    )


@lru_cache(maxsize=1)
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(files("earmark.render").joinpath("check.html.j2").read_text(encoding="utf-8"))


def _facts(report: CheckReport) -> list[tuple[str, str]]:
    clips = report.about["clips"]
    judged = [result.passed for result in report.results if result.passed is not None]
    return [
        ("checks that hold", f"{sum(judged)} of {len(judged)}"),
        ("clips explained", f"{clips['scored']} of {clips['n']}"),
        ("recordings", str(clips["groups"])),
    ]


def _check(result: CheckResult, pictures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    mark, verdict = VERDICTS[result.passed]
    return {
        "name": result.name,
        "title": TITLES.get(result.name, result.name),
        "asked": ASKED.get(result.name, ""),
        "mark": mark,
        "verdict": verdict,
        "sentence": result.sentence,
        "notes": list((result.about or {}).get("notes", ())),
        "charts": [
            {
                "title": chart.title,
                "svg": line_chart(chart),
                "legend": [(line.name, key_of(i)) for i, line in enumerate(chart.lines)],
            }
            for chart in result.charts
            if any(line.points for line in chart.lines)
        ],
        "tables": [{"title": table.title, "grid": grid_of(table)} for table in result.tables],
        "shown": SHOWN.get(result.name, SHOWN["randomization"]),
        "clips": [*_clips(pictures)],
    }


def grid_of(table: Table) -> list[list[str]]:
    """Returns the cells of a table as text, the head first."""
    return [list(table.columns), *([cell_text(cell) for cell in row] for row in table.rows)]


def cell_text(cell: object) -> str:
    """Returns the text of a cell.

    Examples
    --------
    >>> cell_text(None), cell_text(True), cell_text(-0.25)
    ('–', 'yes', '−0.25')
    """
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return f"{cell:.3g}".replace("-", "−") if isinstance(cell, float) else str(cell)


def card_rows(report: CheckReport) -> list[tuple[str, str]]:
    """Returns what every number depends on, in words."""
    about, clips = report.about, report.about["clips"]
    explainer, config = about["explainer"], about["config"]
    left_out = {**clips["excluded"], **({"broken": len(clips["broken"])} if clips["broken"] else {})}
    rows = [
        ("classifier", f"{about['classifier']} ({about['fingerprint'][:12]}), {about['task']}"),
        ("explainer", f"{explainer['method']}, {_listed(explainer['config'])}"),
        ("data", _listed(about["told"]) or "given"),
        ("clips", f"{clips['scored']} of {clips['n']}, {clips['groups']} recordings" + _without(left_out)),
        ("seeds", ", ".join(map(str, config["seeds"]))),
        ("settings", _listed({k: v for k, v in config.items() if not isinstance(v, Mapping)})),
        ("intervals", "95 %, bootstrap over recordings and draws"),
        ("versions", _listed(about["versions"])),
    ]
    return [(name, str(value)) for name, value in rows]


def _without(left_out: Mapping[str, int]) -> str:
    return f"; left out: {_listed(left_out)}" if left_out else ""


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _clips(pictures: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yields for each clip its name and pictures in a row."""
    for shown in pictures:
        maps = zip(shown["names"], shown["maps"], strict=True)
        images = [(name, _image(rows, "gray" if name == "sound" else "magma")) for name, rows in maps]
        yield {"clip": shown["clip"], "label": shown["label"], "images": images}


def _image(rows: Sequence[Sequence[int]], palette: str) -> str:
    steps = torch.tensor(rows, dtype=torch.long) * (N_LEVELS - 1) // 255
    return data_uri(png(steps.to(torch.uint8), color_palette(palette)), "image/png")
