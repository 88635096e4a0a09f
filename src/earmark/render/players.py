"""The sounds of a page: as good as its size allows, and it says how good that is.

A page is one file that is opened without a network, so its sounds are inside it. They are encoded by the first of a
list of plans that keeps the page small: without loss while there is room, then as Ogg Vorbis, then mono at a lower
rate, then fewer of them. What can be computed from them (complement, regions) is not stored: the viewer makes it.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..audio.files import encode
from ..audio.waveform import Waveform
from ..types import Region

Kind = Literal["clip", "training", "excerpt"]

RATES = (8000, 96000)  # Hz; what every browser decodes. Played slowly, sound beyond hearing is heard


@dataclass(frozen=True, eq=False)
class PageSound:
    """A sound of a page.

    Parameters
    ----------
    waveform
        What is heard.
    kind
        `clip`: original, evidence, residual. `training`: a whole training clip. `excerpt`: the part of one around its
        regions, for where there is no room for the whole; a plan takes one or the other.
    start_s
        Where it starts in the clip that it is a part of.
    """

    waveform: Waveform
    kind: Kind
    start_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """How sounds are encoded: the kinds without loss, the kinds with loss (others are left out), and what to say."""

    lossless: tuple[Kind, ...]
    lossy: tuple[Kind, ...]
    highest_rate: int
    mono: bool
    sentence: str


PLANS = (
    Plan(("clip", "training"), (), RATES[1], False, "Sounds on this page are FLAC, 16 bit, without loss."),
    Plan(
        ("clip",),
        ("training",),
        RATES[1],
        False,
        "Sounds of this clip are FLAC, 16 bit, without loss; training clips are Ogg Vorbis, which is lossy.",
    ),
    Plan((), ("clip", "training"), 48000, False, "To keep this page small, its sounds are Ogg Vorbis, which is lossy."),
    Plan(
        (),
        ("clip", "training"),
        24000,
        True,
        "To keep this page small, its sounds are mono, up to 12 kHz, in lossy Ogg Vorbis.",
    ),
    Plan(
        (),
        ("clip", "excerpt"),
        24000,
        True,
        "To keep this page small, its sounds are mono, up to 12 kHz, in lossy Ogg Vorbis, and of training clips only "
        "the parts around their regions are on it.",
    ),
    Plan(
        (),
        ("clip",),
        16000,
        True,
        "To keep this page small, only the clip's own sounds are on it: mono, up to 8 kHz, in lossy Ogg Vorbis.",
    ),
    Plan((), (), 16000, True, "The clip is too long for its sounds to be on this page."),
)


def encode_sounds(sounds: Mapping[str, PageSound], budget: int) -> tuple[dict[str, dict[str, Any]], Plan]:
    """Returns sounds as the viewer takes them, by the first plan with which they stay within `budget` characters.

    Returns
    -------
    packed
        By name: `data` (base64 of FLAC or Ogg), `rate` in Hz, and `start_s`.
    plan
        The plan that was followed.
    """
    for plan in PLANS:
        packed = _packed(sounds, plan, budget)
        if packed:
            return packed, plan
    return {}, PLANS[-1]


def _packed(sounds: Mapping[str, PageSound], plan: Plan, budget: int) -> dict[str, dict[str, Any]] | None:
    """Returns the sounds of a plan, or `None` as soon as they exceed the budget."""
    wanted = {name: sound for name, sound in sounds.items() if sound.kind in plan.lossless + plan.lossy}
    if _expected(wanted.values(), plan) > 1.5 * budget:
        return None
    packed: dict[str, dict[str, Any]] = {}
    size = 0
    for name, sound in wanted.items():
        packed[name] = _pack(sound, plan)
        size += len(packed[name]["data"])
        if size > budget:
            return None
    return packed


def _pack(sound: PageSound, plan: Plan) -> dict[str, Any]:
    waveform = _for_page(sound.waveform, plan)
    data = encode(waveform, "FLAC" if sound.kind in plan.lossless else "OGG", 16)
    return {"data": base64.b64encode(data).decode("ascii"), "rate": waveform.sample_rate, "start_s": sound.start_s}


def _expected(sounds: Any, plan: Plan) -> float:
    """Returns about how many characters a plan takes, from two seconds in the middle of each sound.

    Encoding minutes of sound only to find that they are too many takes long.
    """
    size = 0.0
    for sound in sounds:
        whole = sound.waveform
        if whole.duration_s > 8:
            middle = whole.n_samples // 2
            part = replace(sound, waveform=whole[middle - whole.sample_rate : middle + whole.sample_rate])
            size += len(_pack(part, plan)["data"]) * whole.duration_s / 2
    return size


def _for_page(waveform: Waveform, plan: Plan) -> Waveform:
    """Returns a sound that browsers play: at most two channels, within their rates and full scale."""
    if plan.mono or waveform.n_channels > 2:
        waveform = waveform.mono()
    waveform = waveform.resample(max(RATES[0], min(waveform.sample_rate, plan.highest_rate)))
    return waveform.scale(1 / waveform.peak) if waveform.peak > 1 else waveform


def data_uri(content: bytes, mime: str) -> str:
    """Returns bytes as the address of themselves."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def excerpt(sound: Waveform, regions: Sequence[Region]) -> PageSound:
    """Returns the part of a training clip around its regions.

    Smooth edges reach a quarter of a region's length beyond it; 100 ms are added to that.
    """
    start = min((r.start_s - 0.25 * (r.end_s - r.start_s) for r in regions), default=0.0) - 0.1
    end = max((r.end_s + 0.25 * (r.end_s - r.start_s) for r in regions), default=sound.duration_s) + 0.1
    first = min(max(round(start * sound.sample_rate), 0), sound.n_samples - 1)
    part = sound[first : max(round(end * sound.sample_rate), first + 1)]
    return PageSound(part, "excerpt", first / sound.sample_rate)


def browser_note(waveform: Waveform) -> str:
    """Returns a sentence if a clip's sound is changed for the page whatever its size, else nothing."""
    notes = []
    if waveform.n_channels > 2:
        notes.append(f"the {waveform.n_channels} channels are mixed to one")
    if waveform.sample_rate > RATES[1]:
        notes.append(f"sound above {RATES[1] // 2000} kHz is left out")
    return f"For browsers, {' and '.join(notes)}." if notes else ""
