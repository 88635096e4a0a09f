"""The gallery of a page: each shown channel with the training clips that it stands for, seen, heard and described."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..audio.waveform import Waveform
from ..evidence import ChannelEvidence, PrototypeEvidence
from ..explanation import Explanation
from ..prototypes.bank import Prototype
from ..types import Region
from . import words
from .figures import COLORS, by_channels
from .players import PageSound, data_uri, excerpt
from .raster import RANGE_DB, Axes, Pixels, color_palette, decibels, inside, levels, picture_decibels, png


@dataclass(frozen=True)
class Plot:
    """A small picture of a training clip with its axes and boxes: places are percent from the left and the bottom."""

    image: str  # a data URI, or nothing where neither sound nor picture is at hand
    alt: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    boxes: tuple[dict[str, str], ...]


Sounds = Mapping[str, Waveform]  # training clips that are at hand, by the hash of their sound


def training_sounds(explanation: Explanation) -> dict[str, Waveform]:
    """Returns the sounds of the shown prototypes that are at hand, each clip once, by its hash."""
    evidence = explanation.evidence
    if not isinstance(evidence, PrototypeEvidence) or evidence.find_sound is None:
        return {}
    shown = {p.sha256: p for channel in evidence.channels for p in channel.prototypes}
    found = {sha256: evidence.find_sound(prototype) for sha256, prototype in shown.items()}
    return {sha256: sound for sha256, sound in found.items() if sound is not None}


def page_sounds(explanation: Explanation, sounds: Sounds) -> dict[str, PageSound]:
    """Returns the training clips as sounds of a page: whole, and the parts around their regions."""
    regions: dict[str, list[Region]] = {}
    for channel in by_channels(explanation).channels:
        for prototype in channel.prototypes:
            regions.setdefault(prototype.sha256, []).extend(prototype.regions)
    whole = {sha256: PageSound(sound, "training") for sha256, sound in sounds.items()}
    parts = {f"{sha256}-part": excerpt(sound, regions[sha256]) for sha256, sound in sounds.items()}
    return whole | parts


def gallery_data(explanation: Explanation, packed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns what the viewer's gallery plays: for each channel the boxes and sounds of its training clips."""

    def name(sha256: str) -> str | None:
        return next((n for n in (sha256, f"{sha256}-part") if n in packed), None)

    return [
        {
            "overlay": f"channel-{i}",
            "prototypes": [
                {
                    "sound": name(p.sha256),
                    "duration_s": p.duration_s,
                    "boxes": [{k: getattr(r, k) for k in ("start_s", "end_s", "low_hz", "high_hz")} for r in p.regions],
                }
                for p in channel.prototypes
            ],
        }
        for i, channel in enumerate(by_channels(explanation).channels)
    ]


def channel_cards(explanation: Explanation, sounds: Sounds) -> list[dict[str, Any]]:
    """Returns what the page says and shows of each channel."""
    evidence = by_channels(explanation)
    n_pictures = sum(len(channel.prototypes) for channel in evidence.channels)
    size = (320, 128) if n_pictures <= 32 else (160, 64) if n_pictures <= 200 else (80, 32)
    return [
        {
            "id": f"channel-{i}",
            "number": channel.channel,
            "color": COLORS[i % len(COLORS)],
            "sentence": _sentence(channel, explanation),
            "n_boxes": len(channel.regions),
            "empty": float(evidence.maps[i].max()) <= 0,
            "activation": words.number(channel.activation, words.decimals(channel.activation)),
            "purity": words.number(channel.purity),
            "prototypes": [_card(explanation, (i, j), sounds, size) for j in range(len(channel.prototypes))],
        }
        for i, channel in enumerate(evidence.channels)
    ]


def _sentence(channel: ChannelEvidence, explanation: Explanation) -> str:
    evidence = by_channels(explanation)
    places = words.decimals(evidence.score, *(c.contribution for c in evidence.channels))
    value = words.signed(channel.contribution, places)
    verb = "adds" if channel.contribution >= 0 else "takes"
    place = words.where(channel.regions, words.whole(explanation))
    return f"{verb} {value} of {words.number(evidence.score, places)}; found {place}"


def _card(explanation: Explanation, at: tuple[int, int], sounds: Sounds, size: tuple[int, int]) -> dict[str, Any]:
    """Returns one training clip of a channel: its picture, and what is known of it."""
    channel = by_channels(explanation).channels[at[0]]
    prototype = channel.prototypes[at[1]]
    sound = sounds.get(prototype.sha256)
    place = words.where(prototype.regions, words.whole(explanation, prototype.duration_s))
    return {
        "key": f"{at[0]}:{at[1]}",
        "sha256": prototype.sha256,
        "at_hand": sound is not None,
        "itself": sound is not None and torch.equal(sound.samples, explanation.waveform.samples),
        "plot": _plot(explanation, prototype, sound, COLORS[at[0] % len(COLORS)], size, place),
        "label": prototype.label.replace(";", ", ") or "no label",
        "sign": prototype.sign,
        "clip_id": prototype.clip_id,
        "where": place,
        "score": words.number(prototype.score, words.decimals(prototype.score)),
        "purity": words.number(prototype.purity),
        "similarity": words.number(channel.similarity[at[1]]) if at[1] < len(channel.similarity) else "unknown",
    }


def _plot(
    explanation: Explanation,
    prototype: Prototype,
    sound: Waveform | None,
    color: str,
    size: tuple[int, int],
    place: str,
) -> Plot:
    axes = Axes.of(sound) if sound else Axes(prototype.duration_s, explanation.grid.sample_rate / 2)
    db = _decibels(explanation, prototype, sound, axes, size)
    what = "Box" if db is None else "Spectrogram"
    return Plot(
        "" if db is None else data_uri(png(levels(db, -RANGE_DB, 0.0), color_palette("magma")), "image/png"),
        f"{what} of the training clip {prototype.clip_id}; channel {prototype.channel} is found {place}.",
        tuple((100 * axes.x(t), words.tick_s(t)) for t in axes.second_ticks(4)),
        tuple((100 * axes.y(hz), words.tick_hz(hz)) for hz in axes.hz_ticks(0.17)),
        tuple(_box(region, axes, color) for region in prototype.regions),
    )


def _decibels(
    explanation: Explanation, prototype: Prototype, sound: Waveform | None, axes: Axes, size: tuple[int, int]
) -> Pixels | None:
    """Returns the pixels of a training clip: from its sound, else from the small picture of it, else nothing."""
    if sound is not None:
        return decibels(sound, axes, *size)
    evidence = by_channels(explanation)
    picture = evidence.pictures.get(prototype.sha256)
    return None if picture is None else picture_decibels(picture, evidence.geometry.row_edges_hz, axes, size[1])


def _box(region: Region, axes: Axes, color: str) -> dict[str, str]:
    left, bottom, right, top = (100 * share for share in inside(region, axes))
    place = {"left": left, "bottom": bottom, "width": right - left, "height": top - bottom}
    title = f"Region: {words.seconds(region)}, {words.hertz(region)}"
    return {key: f"{value:.4f}" for key, value in place.items()} | {"color": color, "title": title}
