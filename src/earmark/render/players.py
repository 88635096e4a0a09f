"""The sounds of a page: as good as its size allows, and it says how good that is.

A page is one file that is opened without a network, so its sounds are inside it. They are encoded by the first of a
list of plans that keeps the page small: without loss while there is room, then as Ogg Vorbis, then mono at a lower
rate, then fewer of them.
"""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..audio.files import encode
from ..audio.waveform import Waveform
from ..classifiers.base import Grid
from ..masking import evidence_of, region_gain
from ..types import Region

Kind = Literal["clip", "region", "prototype"]

_MIME = {"FLAC": "audio/flac", "OGG": "audio/ogg"}
_HIGHEST_RATE = 48000  # Hz; what every browser plays
_MOST_BOOST_DB = 30.0
_LOUD = 0.5  # the peak to which quiet excerpts are raised


@dataclass(frozen=True, eq=False)
class PageSound:
    """A sound of a page.

    Parameters
    ----------
    waveform
        What is heard.
    kind
        `clip`: original, evidence, complement. `region`: an excerpt around regions. `prototype`: a whole training clip.
    start_s
        Where it starts on the plot beside it.
    boost_db
        How much louder than it is it was made.
    """

    waveform: Waveform
    kind: Kind
    start_s: float = 0.0
    boost_db: float = 0.0


@dataclass(frozen=True)
class Plan:
    """How sounds are encoded: the kinds without loss, the kinds with loss (others are left out), and what to say."""

    lossless: tuple[Kind, ...]
    lossy: tuple[Kind, ...]
    highest_rate: int
    mono: bool
    sentence: str


_ALL: tuple[Kind, ...] = ("clip", "region", "prototype")

PLANS = (
    Plan(_ALL, (), _HIGHEST_RATE, False, "Sounds on this page are FLAC, 16 bit, without loss."),
    Plan(
        ("clip", "region"),
        ("prototype",),
        _HIGHEST_RATE,
        False,
        "Sounds of this clip, and of regions, are FLAC, 16 bit, without loss; whole training clips are Ogg Vorbis, "
        "which is lossy.",
    ),
    Plan((), _ALL, _HIGHEST_RATE, False, "To keep this page small, its sounds are Ogg Vorbis, which is lossy."),
    Plan((), _ALL, 24000, True, "To keep this page small, its sounds are mono, up to 12 kHz, in lossy Ogg Vorbis."),
    Plan(
        (),
        ("clip", "region"),
        24000,
        True,
        "To keep this page small, its sounds are mono, up to 12 kHz, in lossy Ogg Vorbis, and whole training clips are "
        "left out.",
    ),
    Plan(
        (),
        ("clip",),
        16000,
        True,
        "To keep this page small, only the clip's own sounds are on it: mono, up to 8 kHz, in lossy Ogg Vorbis.",
    ),
    Plan(
        (),
        ("region",),
        24000,
        True,
        "The clip is too long for this page; only excerpts are on it: mono, up to 12 kHz, in lossy Ogg Vorbis.",
    ),
    Plan((), (), 16000, True, "The clip is too long for its sounds to be on this page."),
)


def encode_sounds(sounds: Mapping[str, PageSound], budget: int) -> tuple[dict[str, str], Plan]:
    """Returns data URIs by name, by the first plan whose URIs together stay within `budget` characters."""
    for plan in PLANS:
        uris = _encoded(sounds, plan, budget)
        if uris:
            return uris, plan
    return {}, PLANS[-1]


def _encoded(sounds: Mapping[str, PageSound], plan: Plan, budget: int) -> dict[str, str] | None:
    """Returns the data URIs of a plan, or `None` as soon as they exceed the budget."""
    if _expected(sounds, plan) > 1.5 * budget:
        return None
    uris: dict[str, str] = {}
    size = 0
    for name, sound in sounds.items():
        if sound.kind not in plan.lossless + plan.lossy:
            continue
        uris[name] = _encode(sound, plan)
        size += len(uris[name])
        if size > budget:
            return None
    return uris


def _encode(sound: PageSound, plan: Plan) -> str:
    container = "FLAC" if sound.kind in plan.lossless else "OGG"
    return data_uri(encode(_for_page(sound.waveform, plan), container, 16), _MIME[container])


def _expected(sounds: Mapping[str, PageSound], plan: Plan) -> float:
    """Returns about how many characters a plan takes, from two seconds in the middle of each sound.

    Encoding minutes of sound only to find that they are too many takes long.
    """
    size = 0.0
    for sound in sounds.values():
        if sound.kind in plan.lossless + plan.lossy and sound.waveform.duration_s > 8:
            whole = sound.waveform
            middle = whole.n_samples // 2
            part = replace(sound, waveform=whole[middle - whole.sample_rate : middle + whole.sample_rate])
            size += len(_encode(part, plan)) * whole.duration_s / 2
    return size


def _for_page(waveform: Waveform, plan: Plan) -> Waveform:
    """Returns a sound that browsers play: at most two channels, at most 48 kHz, within full scale."""
    if plan.mono or waveform.n_channels > 2:
        waveform = waveform.mono()
    waveform = waveform.resample(min(waveform.sample_rate, plan.highest_rate))
    return waveform.scale(1 / waveform.peak) if waveform.peak > 1 else waveform


def data_uri(content: bytes, mime: str) -> str:
    """Returns bytes as the address of themselves."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def excerpt(sound: Waveform, regions: Sequence[Region]) -> PageSound:
    """Returns the part of a masked sound around its regions, made louder where it is quiet.

    Soft edges reach a quarter of a region's length beyond it; 50 ms are added to that.
    """
    start = min((r.start_s - 0.25 * (r.end_s - r.start_s) for r in regions), default=0.0) - 0.05
    end = max((r.end_s + 0.25 * (r.end_s - r.start_s) for r in regions), default=sound.duration_s) + 0.05
    first = min(max(round(start * sound.sample_rate), 0), sound.n_samples - 1)
    part = sound[first : max(round(end * sound.sample_rate), first + 1)]
    gain = min(max(_LOUD / max(part.peak, 1e-12), 1.0), 10 ** (_MOST_BOOST_DB / 20)) if part.peak > 1e-7 else 1.0
    return PageSound(part.scale(gain), "region", first / sound.sample_rate, 20 * math.log10(gain))


def browser_note(waveform: Waveform) -> str:
    """Returns a sentence if a clip's sound is changed for the page whatever its size, else nothing."""
    notes = []
    if waveform.n_channels > 2:
        notes.append(f"the {waveform.n_channels} channels are mixed to one")
    if waveform.sample_rate > _HIGHEST_RATE:
        notes.append(f"sound above {_HIGHEST_RATE // 2000} kHz is left out")
    return f"For browsers, {' and '.join(notes)}." if notes else ""


def heard_in(regions: Iterable[Region], sound: Waveform, grid: Grid) -> Waveform:
    """Returns what a sound lets hear in regions of its own, masked with the analysis of an explanation's grid.

    Parameters
    ----------
    sound
        Any clip, such as a prototype's; its length need not be the explained clip's.
    grid
        Whose rate and STFT are used.
    """
    own = Grid(grid.sample_rate, sound.resample(grid.sample_rate).n_samples, grid.stft)
    return evidence_of(sound, region_gain(regions, own), own)
