"""What a bank's page shows and lets hear of its prototypes: a small picture of each clip, and sounds as room allows.

Clips are taken one after the other, so that one sound is in memory at a time. Sounds are mono, up to 12 kHz, in Ogg
Vorbis, which is lossy. The strongest prototypes come first: the regions of the first ones, then their whole clips, and
so on, until the room is used up; the rest is left out and counted.
"""

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..audio.files import encode
from ..audio.stft import Stft
from ..audio.waveform import Waveform
from ..classifiers.base import Grid
from ..evidence import SoundFinder
from ..masking import evidence_of, region_gain
from ..prototypes.bank import Prototype
from ..prototypes.pictures import Picture
from ..types import Region
from .raster import RANGE_DB, Axes, color_palette, decibels, levels, picture_decibels, png

PAGE_RATE = 24000  # Hz
MOST_PICTURES = 3_000_000  # characters of a page, for pictures
EXPECTED = 3000  # characters of a second of sound, at least; what would not fit even so is not encoded

_SIZES = ((200, 72), (140, 56), (96, 40), (64, 28))  # columns and rows of a picture, the largest that fit
_BYTE = 1.0  # characters that a pixel takes, about: half a byte or more after compression, four thirds in base64
_LOUD, _MOST_GAIN = 0.5, 10 ** (30 / 20)  # the peak to which quiet regions are raised, by at most 30 dB
_AFTER = 1.5  # a whole clip comes after the region of the prototype one and a half ranks below

Report = Callable[[int, int], None]
Key = tuple[str, tuple[Region, ...]]  # the clip's hash, and what is heard of it; no region is the whole clip


@dataclass(frozen=True, eq=False)
class Material:
    """Where prototypes' sounds and pictures come from.

    Parameters
    ----------
    name, classifier, basis
        What the page is about.
    row_edges_hz
        Where the rows of features lie, one more than rows; the last one is the top of each picture.
    find
        Returns a prototype's sound, or `None` where it is not at hand.
    pictures
        Small pictures by the hash of the sound, for where it is not.
    """

    name: str
    classifier: str
    basis: str
    row_edges_hz: tuple[float, ...]
    find: SoundFinder | None = None
    pictures: Mapping[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True)
class Heard:
    """A sound of the page: its address, and where it starts in its clip."""

    uri: str
    start_s: float


@dataclass(frozen=True, eq=False)
class Media:
    """What there is to see and hear.

    Parameters
    ----------
    images
        Data URIs by the clip's hash; a clip of which nothing is known has none.
    at_hand
        The clips whose sound was found.
    sounds
        By clip and regions.
    left_out
        How many sounds there was no room for.
    """

    images: dict[str, str]
    at_hand: frozenset[str]
    sounds: dict[Key, Heard]
    left_out: int


def key_of(prototype: Prototype, *, whole: bool = False) -> Key:
    """Returns the name of a prototype's region, or of its whole clip, among sounds."""
    return prototype.sha256, () if whole else prototype.regions


def media_of(prototypes: Sequence[Prototype], material: Material, room: int, report: Report | None = None) -> Media:
    """Returns pictures and sounds of prototypes.

    Parameters
    ----------
    room
        Characters for pictures and sounds.
    report
        Called with clips done and clips in all.
    """
    clips = {p.sha256: p for p in prototypes}
    size = _size(len(clips))
    order = by_priority(prototypes)
    wanted = _wanted(order, clips, room)
    images: dict[str, str] = {}
    made: dict[Key, Heard] = {}
    at_hand = set()
    for done, (sha256, prototype) in enumerate(clips.items(), start=1):
        sound = material.find(prototype) if material.find else None
        if sound is not None:
            at_hand.add(sha256)
            made |= dict(_sounds(sound, sha256, wanted))
        if image := _image(prototype, sound, material, size):
            images[sha256] = image
        if report:
            report(done, len(clips))
    audible = [key for key in order if key[0] in at_hand]
    kept = _within(audible, made, room - sum(map(len, images.values())))
    return Media(images, frozenset(at_hand), kept, len(audible) - len(kept))


def by_priority(prototypes: Iterable[Prototype]) -> list[Key]:
    """Returns regions and whole clips, each once, the most wanted first."""
    ranks: dict[Key, float] = {}
    for p in prototypes:
        for key, rank in ((key_of(p), p.rank), (key_of(p, whole=True), p.rank + _AFTER)):
            ranks[key] = min(ranks.get(key, math.inf), rank)
    return sorted(ranks, key=lambda key: ranks[key])


def axes_of(prototype: Prototype, material: Material) -> Axes:
    """Returns the axes of a prototype's picture: its length, up to the highest frequency that the classifier hears."""
    return Axes(prototype.duration_s, material.row_edges_hz[-1])


def _wanted(order: Sequence[Key], clips: Mapping[str, Prototype], room: int) -> set[Key]:
    """Returns the first sounds, those that can have room if they turn out small."""
    wanted, size = set(), 0.0
    for key in order:
        size += EXPECTED * clips[key[0]].duration_s
        if size > room:
            break
        wanted.add(key)
    return wanted


def _within(order: Sequence[Key], made: Mapping[Key, Heard], room: int) -> dict[Key, Heard]:
    kept, size = {}, 0
    for key in order:
        if key not in made or size + len(made[key].uri) > room:
            break
        size += len(made[key].uri)
        kept[key] = made[key]
    return kept


def _sounds(sound: Waveform, sha256: str, wanted: set[Key]) -> Iterator[tuple[Key, Heard]]:
    """Yields the wanted sounds of a clip."""
    small = sound.mono().resample(min(sound.sample_rate, PAGE_RATE))
    n_fft = max(64, 2 ** round(math.log2(0.032 * small.sample_rate)))  # about 32 ms
    grid = Grid(small.sample_rate, small.n_samples, Stft(n_fft, n_fft // 4))
    for key in sorted((key for key in wanted if key[0] == sha256), key=repr):
        if key[1]:
            start_s, part = _around(evidence_of(small, region_gain(key[1], grid), grid), key[1])
            gain = min(max(_LOUD / max(part.peak, 1e-12), 1.0), _MOST_GAIN) if part.peak > 1e-7 else 1.0
            yield key, Heard(_ogg(part.scale(gain)), start_s)
        else:
            yield key, Heard(_ogg(small), 0.0)


def _around(sound: Waveform, regions: Sequence[Region]) -> tuple[float, Waveform]:
    """Returns the part of a masked sound around its regions, and where it starts in seconds.

    Soft edges reach a quarter of a region's length beyond it; 50 ms are added to that.
    """
    start_s = min(r.start_s - 0.25 * (r.end_s - r.start_s) for r in regions) - 0.05
    end_s = max(r.end_s + 0.25 * (r.end_s - r.start_s) for r in regions) + 0.05
    first = min(max(round(start_s * sound.sample_rate), 0), sound.n_samples - 1)
    return first / sound.sample_rate, sound[first : max(round(end_s * sound.sample_rate), first + 1)]


def _ogg(waveform: Waveform) -> str:
    fitted = waveform.scale(1 / waveform.peak) if waveform.peak > 1 else waveform
    return _uri(encode(fitted, "OGG"), "audio/ogg")


def _uri(content: bytes, mime: str) -> str:
    """Returns bytes as the address of themselves."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _image(prototype: Prototype, sound: Waveform | None, material: Material, size: tuple[int, int]) -> str:
    """Returns a clip's picture: of its sound, else the coarse one, else nothing."""
    axes = axes_of(prototype, material)
    if sound is not None:
        db = decibels(sound, axes, *size)
    elif (picture := material.pictures.get(prototype.sha256)) is not None:
        db = picture_decibels(picture, material.row_edges_hz, axes, size[1])
    else:
        return ""
    return _uri(png(levels(db, -RANGE_DB, 0.0), color_palette("magma")), "image/png")


def _size(n_clips: int) -> tuple[int, int]:
    fitting = (size for size in _SIZES if n_clips * size[0] * size[1] * _BYTE <= MOST_PICTURES)
    return next(fitting, _SIZES[-1])
