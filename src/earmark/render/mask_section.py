"""The section of a page that stands for a second explanation: what a mask keeps, seen, heard and judged.

Its sounds are the clip's own, at the same gain, so they are played in step with the others: `mask` is on the page, and
`unmasked`, the rest, is the difference. The template is in `page.html.j2`.
"""

import math
from typing import Any

from ..audio.waveform import Waveform
from ..evidence import Mask
from ..explanation import Explanation
from . import words
from .figures import COLORS
from .gallery import Plot
from .players import data_uri
from .raster import RANGE_DB, Axes, color_palette, decibels, grid_heat, heat_palette, levels, png

COLUMNS, ROWS = 400, 128  # pixels of the picture
ADDRESS = "mask/index.html"  # beside the page


def mask_sounds(mask: Explanation) -> dict[str, Waveform]:
    """Returns the sounds that a mask adds to a page; what it leaves out is the clip minus that."""
    return {"mask": mask.listen()}


def mask_view(explanation: Explanation, mask: Explanation) -> dict[str, Any]:
    """Returns all that the template shows of the mask beside an explanation."""
    plot, heat = _pictures(mask)
    return {
        "method": words.method_name(mask.provenance.method),
        "label": explanation.target.label,
        "plot": plot,
        "heat": heat,
        "rows": _rows(explanation, mask),
        "judged": not math.isnan(_measured(mask, "prob_inside")),
        "kept": _kept(mask),
        "address": ADDRESS,
    }


def _pictures(mask: Explanation) -> tuple[Plot, str]:
    """Returns the clip in gray, and the mask to lie over it."""
    axes = Axes.of(mask.waveform)
    steps = levels(decibels(mask.waveform, axes, COLUMNS, ROWS), -RANGE_DB, 0.0)
    gain = grid_heat(mask.evidence.stft_gain(mask.grid), mask.grid)(axes, COLUMNS, ROWS)
    heat = png(levels(gain, 0.0, 1.0), heat_palette(COLORS[4]))
    place = words.where(mask.regions(), words.whole(mask))
    plot = Plot(
        data_uri(png(steps, color_palette("gray")), "image/png"),
        f"Spectrogram of {mask.name} with the mask for {mask.target.label}, which is strongest {place}.",
        tuple((100 * axes.x(t), words.tick_s(t)) for t in axes.second_ticks(4)),
        tuple((100 * axes.y(hz), words.tick_hz(hz)) for hz in axes.hz_ticks(0.17)),
        (),
    )
    return plot, data_uri(heat, "image/png")


def _rows(explanation: Explanation, mask: Explanation) -> list[dict[str, str]]:
    """Returns the clip, what the mask keeps and what it leaves out: how probable the label is there, and its level."""
    whole = float(explanation.prediction.probs[explanation.target.index])
    parts = (
        ("mask", "Kept", _measured(mask, "prob_inside"), mask.listen()),
        ("unmasked", "Left out", _measured(mask, "prob_outside"), mask.complement()),
    )
    first = {
        "sound": "original",
        "name": "Whole clip",
        "prob": _prob(whole),
        "level": _level(mask.waveform, mask.waveform),
    }
    return [first] + [
        {"sound": sound, "name": name, "prob": _prob(prob), "level": _level(mask.waveform, heard)}
        for sound, name, prob, heard in parts
    ]


def _kept(mask: Explanation) -> str:
    """Returns how much the mask keeps, as far as that was measured."""
    mean, energy = _measured(mask, "mask_mean"), _measured(mask, "energy_kept")
    told = [
        f"it keeps {100 * energy:.0f}\u00a0% of the clip\u2019s energy" if math.isfinite(energy) else "",
        f"its mean is {words.number(mean)}" if math.isfinite(mean) else "",
    ]
    return ", ".join(one for one in told if one)


def _level(whole: Waveform, part: Waveform) -> str:
    """Returns how loud a part is beside the clip."""
    return "silent" if math.isinf(part.rms_db) else f"{words.number(part.rms_db - whole.rms_db, 0)}\u00a0dB"


def _prob(value: float) -> str:
    """Returns a probability without its sign of equality."""
    return "" if math.isnan(value) else words.prob(value).removeprefix("p ").removeprefix("= ")


def _measured(mask: Explanation, name: str) -> float:
    evidence = mask.evidence
    return evidence.measured.get(name, math.nan) if isinstance(evidence, Mask) else math.nan
