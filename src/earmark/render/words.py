"""What pictures and pages say in words: numbers, places, scores."""

import math
from collections.abc import Iterable

from ..audio.waveform import Waveform
from ..evidence import PrototypeEvidence
from ..explanation import Explanation
from ..types import Region, Target

#: Method names as people write them, where it is not the registry name itself.
METHODS = {
    "apex": "APEX",
    "lmac": "L-MAC",
    "lmac-td": "LMAC-TD",
    "lmac-zs": "LMAC-ZS",
    "l2i": "L2I",
    "rise": "RISE",
    "lime": "LIME",
    "slime": "SLIME",
    "audiolime": "audioLIME",
    "grad-cam": "Grad-CAM",
}


def method_name(method: str) -> str:
    """Returns a method's name as people write it: `APEX`, `integrated gradients`."""
    return METHODS.get(method, method.replace("-", " "))


def prob(value: float) -> str:
    """Returns a probability as words: `p = 0.97`.

    Examples
    --------
    >>> prob(0.9999), prob(0.00001)
    ('p > 0.999', 'p < 0.001')
    """
    if value >= 0.9995:
        return "p > 0.999"
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.2f}" if 0.01 <= value < 0.995 else f"p = {value:.3f}"


def decimals(*values: float) -> int:
    """Returns how many decimals show the largest of these with three digits, at least two."""
    largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return 2 if largest == 0 else min(max(2, 2 - math.floor(math.log10(largest))), 12)


def number(value: float, places: int = 2) -> str:
    """Returns a number with a real minus sign; what rounds to zero has none."""
    text = f"{value:.{places}f}"
    return text.replace("-", "−") if float(text) != 0 else text.lstrip("-")


def signed(value: float, places: int = 2) -> str:
    """Returns a number with its sign: `+2.31`."""
    text = number(value, places)
    return text if text.startswith("−") or float(text) == 0 else f"+{text}"


def seconds(region: Region) -> str:
    """Returns a region's time: `0.82–1.41 s`."""
    places = 2 if region.end_s - region.start_s >= 0.05 else 3
    return f"{region.start_s:.{places}f}–{region.end_s:.{places}f} s"


def hertz(region: Region) -> str:
    """Returns a region's band: `480–2300 Hz`."""
    return f"{region.low_hz:.0f}–{region.high_hz:.0f} Hz"


def tick_hz(hz: float) -> str:
    """Returns the text at a frequency tick."""
    return f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz:g} Hz"


def tick_s(value: float) -> str:
    """Returns the text at a time tick."""
    return f"{value:g} s"


def whole(explanation: Explanation, duration_s: float | None = None) -> Region:
    """Returns the box of all that could be seen: the whole clip, the classifier's whole band."""
    duration_s = explanation.waveform.duration_s if duration_s is None else duration_s
    if isinstance(explanation.evidence, PrototypeEvidence):
        edges = explanation.evidence.geometry.row_edges_hz
        return Region(0.0, duration_s, edges[0], edges[-1])
    return Region(0.0, duration_s, 0.0, explanation.grid.sample_rate / 2)


def where(regions: Iterable[Region], everything: Region) -> str:
    """Returns where regions lie; an axis that is covered in full is not named.

    Examples
    --------
    >>> where([Region(0.82, 1.41, 480, 2300)], Region(0, 5, 0, 16000))
    'at 0.82–1.41 s, 480–2300 Hz'
    """
    return " and ".join(_where(region, everything) for region in regions) or "nowhere"


def _where(region: Region, everything: Region) -> str:
    all_time = region.start_s <= 0.002 and region.end_s >= everything.end_s - 0.002
    all_hz = region.low_hz <= everything.low_hz + 1 and region.high_hz >= everything.high_hz - 1
    if all_time and all_hz:
        return "everywhere"
    if all_time:
        return f"in {hertz(region)}, at all times"
    if all_hz:
        return f"at {seconds(region)}, at all frequencies"
    return f"at {seconds(region)}, {hertz(region)}"


def score_name(target: Target) -> str:
    """Returns which scalar is explained: `the logit of dog`."""
    if target.score == "contrast":
        return f"the logit of {target.label} minus that of {target.against_label}"
    names = {"logit": "logit", "log_prob": "log-probability", "prob": "probability"}
    return f"the {names[target.score]} of {target.label}"


def score_value(explanation: Explanation) -> float:
    """Returns the value of the scalar that is explained."""
    prediction = explanation.prediction
    return float(explanation.target.of(prediction.logits[None], prediction.task)[0])


def loudness(whole: Waveform, part: Waveform) -> str:
    """Returns how loud a sound is beside the one that it is a part of: `12 dB below the original`."""
    below = whole.rms_db - part.rms_db
    if math.isinf(part.rms_db):
        return "silent"
    if abs(below) < 0.5:
        return "as loud as the original"
    return f"{abs(below):.0f} dB {'below' if below > 0 else 'above'} the original"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Returns `1 channel`, `4 channels`."""
    return f"{count} {one if count == 1 else many or one + 's'}"
