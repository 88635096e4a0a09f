"""One self-contained page of several methods on the same clips: seen, heard and measured side by side.

The template is `compare.html.j2`; everything that enters it is escaped. Each clip has one viewer, whose overlays are
the methods, and a row of small pictures, which need no script.
"""

import base64
import hashlib
import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from statistics import median
from typing import Any

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from ..audio.waveform import Waveform
from ..evaluation.compare import Comparison, Side
from ..evidence import Mask, PrototypeEvidence
from ..explanation import Explanation, Provenance
from ..masking import common_gain
from ..types import Region
from . import words
from .figures import COLORS
from .players import PageSound, data_uri, encode_sounds
from .raster import RANGE_DB, Axes, Pixels, color_palette, decibels, grid_heat, heat_palette, inside, levels, png, rgb
from .viewer import FINE_COLUMNS, FINE_ROWS, clip_data, packed, script, script_json, style, viewer_data

MOST_CHARACTERS = 9_500_000  # of a page
MOST_SOUND = 8_000_000  # of these, for sounds
MOST_CLIPS = 24  # on a page

COLUMNS, ROWS = 320, 120  # pixels of a small picture
HEAT, OUTLINE, BOX = COLORS[4], COLORS[0], COLORS[6]  # the same for every method
AROUND = 5  # pixels over which a mask is averaged before its outline is drawn

_OPEN = "earmark.openComparison().then((viewers) => Object.assign(earmark, { viewers }));\n"


def compare_page(comparisons: Sequence[Comparison], *, most_characters: int = MOST_CHARACTERS) -> str:
    """Returns the page as HTML, below 10 MB; where sounds are too many for that, they are made smaller.

    Parameters
    ----------
    comparisons
        At most `MOST_CLIPS`, of one classifier or of several, with the same explainers.
    """
    clips = [_clip_view(comparison, at) for at, comparison in enumerate(comparisons)]
    data = [_viewer(comparison, view) for comparison, view in zip(comparisons, clips, strict=True)]
    taken = len(script_json(data)) + sum(len(uri) for view in clips for uri in view["images"])
    budget = min(MOST_SOUND, max(most_characters - taken, 0))
    sounds, plan = encode_sounds(dict(_sounds(comparisons)), budget)
    for at, (one, comparison) in enumerate(zip(data, comparisons, strict=True)):
        _add_sounds(one, comparison, {k.split(":")[1]: v for k, v in sounds.items() if k.startswith(f"{at}:")})
    code = script() + _OPEN
    return str(
        _template().render(
            title=_title(comparisons),
            methods=_methods(comparisons),
            classifiers=list(dict.fromkeys(comparison.classifier for comparison in comparisons)),
            area=f"{100 * comparisons[0].area:g}",
            chance=f"{comparisons[0].area / (2 - comparisons[0].area):.2f}",
            glance=_glance(comparisons),
            clips=clips,
            heard=bool(sounds),
            sound_note=plan.sentence,
            colors={"heat": HEAT, "outline": OUTLINE, "box": BOX},
            style=style(),
            data=script_json(data),
            script=code,
            script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii"),
        )
    )


@lru_cache(maxsize=1)
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(files("earmark.render").joinpath("compare.html.j2").read_text(encoding="utf-8"))


def color_of(index: int) -> str:
    """Returns the color of a method."""
    return COLORS[index % len(COLORS)]


# -- what is said ---------------------------------------------------------------------------------------------------


def _title(comparisons: Sequence[Comparison]) -> str:
    names = [words.method_name(side.name) for side in comparisons[0].sides]
    listed = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    return f"{listed} on {words.plural(len(comparisons), 'clip')}"


def _methods(comparisons: Sequence[Comparison]) -> list[dict[str, str]]:
    """Returns each method's color, name, settings and cost."""
    found = []
    for at, side in enumerate(comparisons[0].sides):
        made = next((c.sides[at].explanation for c in comparisons if c.sides[at].explanation), None)
        config = made.provenance.config if made else {}
        typical_s = median(c.sides[at].seconds for c in comparisons)
        found.append(
            {
                "name": words.method_name(side.name),
                "color": color_of(at),
                "cost": _cost(side),
                "seconds": f"{typical_s:.2g} s",
                "settings": ", ".join(f"{name} = {value}" for name, value in config.items()),
            }
        )
    return found


def _cost(side: Side) -> str:
    forward, backward = side.passes
    told = words.plural(forward, "forward pass", "forward passes")
    return f"{told}, {backward} back" if backward else told


def _glance(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    return [
        {
            "at": at,
            "clip": comparison.clip,
            "target": comparison.target.label,
            "prob": _prob(comparison.prob),
            "sides": [(_prob(side.prob_inside), _prob(side.prob_outside)) for side in comparison.sides],
        }
        for at, comparison in enumerate(comparisons)
    ]


def _prob(value: float) -> str:
    """Returns a probability without its sign of equality; nothing stands for an undefined one."""
    return "undefined" if math.isnan(value) else words.prob(value).removeprefix("p ").removeprefix("= ")


def _clip_view(comparison: Comparison, at: int) -> dict[str, Any]:
    """Returns all that the template shows of a clip but its viewer."""
    axes = Axes.of(comparison.waveform)
    db = decibels(comparison.waveform, axes, COLUMNS, ROWS)
    steps = levels(db, -RANGE_DB, 0.0)
    loud, gray = (data_uri(png(steps, color_palette(name)), "image/png") for name in ("magma", "gray"))
    target, decided = comparison.target.label, comparison.prediction.decided
    sides = [_side_view(comparison, side, i, axes) for i, side in enumerate(comparison.sides)]
    return {
        "at": at,
        "name": comparison.clip,
        "classifier": comparison.classifier,
        "target": target,
        "prob": words.prob(comparison.prob),
        "heard": [] if target in decided else list(decided),
        "images": [loud, gray, *(side["image"] for side in sides)],
        "loud": loud,
        "gray": gray,
        "x_ticks": [(100 * axes.x(t), words.tick_s(t)) for t in axes.second_ticks(4)],
        "y_ticks": [(100 * axes.y(hz), words.tick_hz(hz)) for hz in axes.hz_ticks(0.2)],
        "sides": sides,
        "agreement": [_agreement_row(comparison, pair) for pair in comparison.agreement],
    }


def _side_view(comparison: Comparison, side: Side, index: int, axes: Axes) -> dict[str, Any]:
    level = "" if side.failed else words.loudness(comparison.waveform, comparison.kept(side))
    return {
        "id": f"m{index}",
        "name": words.method_name(side.name),
        "color": color_of(index),
        "image": _heat_image(comparison, side, axes),
        "boxes": [_box(region, axes) for region in _shown(side)],
        "inside": _prob(side.prob_inside),
        "outside": _prob(side.prob_outside),
        "energy": "undefined" if math.isnan(side.energy) else f"{100 * side.energy:.1f} %",
        "level": level,
        "cost": _cost(side),
        "failed": side.failed or "",
        "note": "Its map orders no bins here." if side.says_nothing and not side.failed else "",
        "regions": [_region_row(region) for region in side.regions()],
    }


def _region_row(region: Region) -> tuple[str, str, str, str]:
    times, bands = (region.start_s, region.end_s), (region.low_hz, region.high_hz)
    return (*(f"{t:.3f}" for t in times), *(f"{hz:.0f}" for hz in bands))  # type: ignore[return-value]


def _agreement_row(comparison: Comparison, pair: Any) -> dict[str, str]:
    """Returns a pair's names and numbers."""
    told = {"first": words.method_name(pair.first), "second": words.method_name(pair.second)}
    numbers = {"ranks": pair.rank_correlation, "iou": pair.iou}
    return told | {key: "undefined" if v is None else words.number(v) for key, v in numbers.items()}


# -- pictures -------------------------------------------------------------------------------------------------------


def _shown(side: Side) -> list[Region]:
    """Returns the regions that are drawn: those of prototypes; maps have the outline of their mask."""
    evidence = side.explanation.evidence if side.explanation else None
    return side.regions() if isinstance(evidence, PrototypeEvidence) else []


def _box(region: Region, axes: Axes) -> dict[str, str]:
    left, bottom, right, top = (100 * share for share in inside(region, axes))
    place = {"left": left, "bottom": bottom, "width": right - left, "height": top - bottom}
    title = f"{words.seconds(region)}, {words.hertz(region)}"
    return {key: f"{value:.3f}" for key, value in place.items()} | {"title": title}


def _heat(comparison: Comparison, side: Side, axes: Axes, columns: int, rows: int) -> Pixels:
    """Returns what speaks for the label, full at the strongest hundredth of the picture."""
    values = grid_heat(side.values.clamp_min(0), comparison.grid)(axes, columns, rows)
    full = float(values.flatten().quantile(0.99))
    return (values / (full if full > 0 else float(values.max().clamp_min(1e-30)))).clamp(0, 1)


def _heat_image(comparison: Comparison, side: Side, axes: Axes) -> str:
    """Returns a method's heat with the outline of its mask, as a picture that lies over the spectrogram."""
    steps = levels(_heat(comparison, side, axes, COLUMNS, ROWS), 0.0, 1.0).clamp_max(125) // 5 * 5
    shares = grid_heat(side.gain, comparison.grid)(axes, COLUMNS, ROWS)
    line, rim = outline(shares)
    palette = heat_palette(HEAT)
    palette[126], palette[127] = (0, 0, 0, 190), (*rgb(OUTLINE), 255)
    steps = torch.where(rim, 126, torch.where(line, 127, steps)).to(torch.uint8)
    return data_uri(png(steps, palette), "image/png")


def outline(shares: Pixels) -> tuple[Bool[Tensor, "row column"], Bool[Tensor, "row column"]]:
    """Returns the pixels of a mask's outline, and a rim around it; where at least half of what is around is kept.

    Parameters
    ----------
    shares
        How much of each pixel the mask keeps, in [0, 1].
    """
    near = torch.nn.functional.avg_pool2d(shares[None], AROUND, 1, AROUND // 2, count_include_pad=False)[0]
    kept = (near >= 0.5).float()
    smaller = -torch.nn.functional.max_pool2d(-kept[None], 3, 1, 1)[0]
    larger = torch.nn.functional.max_pool2d(kept[None], 3, 1, 1)[0]
    return (kept > smaller), (larger > kept)


# -- viewers and sounds ---------------------------------------------------------------------------------------------


def _viewer(comparison: Comparison, view: dict[str, Any]) -> dict[str, Any]:
    """Returns what a clip's viewer gets, its sounds apart."""
    axes = Axes.of(comparison.waveform)
    overlays = [
        {
            "id": shown["id"],
            "name": shown["name"],
            "tag": "",
            "note": "",
            "color": shown["color"],
            "boxes": [_edges(region) for region in side.regions()],
            "heat": _packed_heat(_heat(comparison, side, axes, FINE_COLUMNS, FINE_ROWS), axes),
        }
        for side, shown in zip(comparison.sides, view["sides"], strict=True)
    ]
    return {**viewer_data(_bare(comparison)), "overlays": overlays, "show_heat": True, "gallery": []}


def _packed_heat(values: Pixels, axes: Axes) -> dict[str, Any]:
    steps: UInt8[Tensor, "row column"] = (values * 255).round().to(torch.uint8)
    return {**packed(steps), "top_hz": axes.top_hz, "signed": False}


def _edges(region: Region) -> dict[str, float]:
    return {name: getattr(region, name) for name in ("start_s", "end_s", "low_hz", "high_hz")}


def _bare(comparison: Comparison) -> Explanation:
    """Returns the clip as an explanation that says nothing: all methods may have failed."""
    c = comparison
    nothing = Mask(torch.zeros(c.grid.shape), c.grid)
    made = Provenance(method="compare", config={}, classifier=c.classifier, fingerprint="")
    return Explanation(c.waveform, c.target, c.prediction, nothing, c.grid, made, c.clip)


def _sounds(comparisons: Sequence[Comparison]) -> Iterator[tuple[str, PageSound]]:
    """Yields the sounds of all clips by `CLIP:NAME`; those of one clip have one gain."""
    for at, comparison in enumerate(comparisons):
        own: dict[str, Waveform] = {"original": comparison.waveform}
        own |= {f"m{i}": comparison.kept(side) for i, side in enumerate(comparison.sides) if not side.failed}
        gain = common_gain(*own.values())
        yield from ((f"{at}:{name}", PageSound(sound.scale(gain), "clip")) for name, sound in own.items())


def _add_sounds(data: dict[str, Any], comparison: Comparison, sounds: dict[str, Any]) -> None:
    original = {"original": sounds["original"]} if "original" in sounds else {}
    data["clip"] = clip_data(_bare(comparison), original)
    data["evidence"] = {name: sound for name, sound in sounds.items() if name != "original"}
