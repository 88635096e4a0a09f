"""One self-contained page about a prototype bank: what a classifier listens to, class by class.

The template is `bank.html.j2`; everything that enters it is escaped. Each clip's picture is on the page once, however
many channels it stands for, and so is each sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any

from ..prototypes.bank import Prototype
from ..prototypes.overview import ChannelOverview, ClassOverview, Overview
from ..types import Region
from . import words
from .bank_clips import Key, Material, Media, Report, axes_of, key_of, media_of
from .figures import COLORS
from .raster import inside

MOST_CHARACTERS = 9_500_000  # of a page
ROOM = 8_500_000  # of these, for pictures and sounds
MOST_PROTOTYPES = 1500  # on a page
MOST_CLASSES, MOST_COLUMNS = 60, 40  # rows and columns of the table of classes and channels; beyond, there is none
MOST_LISTED = 12  # recordings, and shared channels
MOST_CHIPS = 4  # labels of a channel's prototypes

#: Most channels per class and prototypes per channel, tried in this order until a page has room for all classes.
_FEWER = ((8, 5), (8, 3), (4, 3), (4, 1), (1, 1))


def bank_page(overview: Overview, material: Material, report: Report | None = None) -> str:
    """Returns the page of a bank as HTML, below 10 MB.

    Where there are too many prototypes or sounds for that, the weakest are left out, and the page says so.
    """
    told, notes = fitted(overview)
    prototypes = [p for one in told.classes for row in one.channels for p in row.prototypes]
    media = media_of(prototypes, material, ROOM, report)
    page = _rendered(told, material, media, notes)
    if len(page.encode()) > MOST_CHARACTERS:
        silent = replace(media, sounds={}, left_out=media.left_out + len(media.sounds))
        page = _rendered(told, material, silent, notes)
    return page


def fitted(overview: Overview) -> tuple[Overview, list[str]]:
    """Returns as much of an overview as a page has room for, and sentences about what is left out."""
    n_classes = len(overview.classes)
    widest = max((len(one.channels) for one in overview.classes), default=0)
    sizes = ((min(top, widest), size) for top, size in ((widest, 5), *_FEWER))
    top, size = next((both for both in sizes if n_classes * both[0] * both[1] <= MOST_PROTOTYPES), (1, 1))
    classes = tuple(_cut(one, top, size) for one in overview.classes[: MOST_PROTOTYPES // max(top * size, 1)])
    notes = []
    if top < widest or len(classes) < n_classes:
        notes.append(
            f"There are too many for one page: {words.plural(top, 'channel')} of each of {len(classes)} classes (of "
            f"{n_classes}) {'is' if top == 1 else 'are'} shown; bank-overview.json holds all."
        )
    return replace(overview, classes=classes), notes


def _cut(one: ClassOverview, top: int, size: int) -> ClassOverview:
    rows = tuple(replace(row, prototypes=row.prototypes[:size]) for row in one.channels[:top])
    covered = None if one.covered is None else sum(row.share or 0.0 for row in rows)
    return replace(one, channels=rows, covered=covered)


@lru_cache(maxsize=1)
def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(files("earmark.render").joinpath("bank.html.j2").read_text(encoding="utf-8"))


def _rendered(told: Overview, material: Material, media: Media, notes: list[str]) -> str:
    sounds = {key: f"s{i}" for i, key in enumerate(media.sounds)}
    images = {sha256: f"p{i}" for i, sha256 in enumerate(media.images)}
    page = _Page(material, media, images, sounds, largest_share(told))
    return str(
        _template().render(
            material=material,
            bank=told.bank,
            top_hz=words.tick_hz(round(material.row_edges_hz[-1])),
            images=[(name, media.images[sha256]) for sha256, name in images.items()],
            sounds={name: media.sounds[key].uri for key, name in sounds.items()},
            matrix=_matrix(told),
            crowded=len(told.classes) > MOST_CLASSES,
            classes=[_class(one, index, page) for index, one in enumerate(told.classes)],
            facts=_facts(told),
            notes=[*notes, *_sound_notes(told, media)],
            why_no_shares=told.note,
            others=told.others,
            box_color=COLORS[1],
        )
    )


# -- the table of classes and channels ------------------------------------------------------------------------------


def _matrix(told: Overview) -> dict[str, Any] | None:
    """Returns shares in percent, a row for each class and a column for each of the strongest channels."""
    if told.shares is None or not 1 < len(told.classes) <= MOST_CLASSES:
        return None
    columns = _columns(told.classes)
    strongest = largest_share(told)
    own = {label: {row.channel for row in one.channels} for label, one in zip(_labels(told), told.classes, strict=True)}
    rows = []
    for index, label in enumerate(_labels(told)):
        if label not in told.labels:
            continue
        values = told.shares[told.labels.index(label)]
        cells = [_cell(index, k, float(values[k]), strongest, k in own[label]) for k in columns]
        rows.append({"label": label, "index": index, "cells": cells})
    return {"columns": columns, "rows": rows, "hidden": len(told.shown) - len(columns)}


def largest_share(told: Overview) -> float:
    """Returns the largest share of any class; 0 where none is known."""
    return max((row.share or 0.0 for one in told.classes for row in one.channels), default=0.0)


def _labels(told: Overview) -> list[str]:
    return [one.label for one in told.classes]


def _columns(classes: Sequence[ClassOverview]) -> list[int]:
    """Returns as many of the strongest channels of each class as there are columns for, at least one of each."""
    most = max((len(one.channels) for one in classes), default=0)
    found: list[int] = []
    for top in range(1, most + 1):
        wider = list(dict.fromkeys(row.channel for one in classes for row in one.channels[:top]))
        if found and len(wider) > MOST_COLUMNS:
            break
        found = wider
    return found


def _cell(index: int, channel: int, share: float, strongest: float, shown: bool) -> dict[str, Any]:
    percent = 100 * share
    return {
        "text": words.number(percent, 0) if abs(percent) >= 0.5 else "",
        "exact": f"{words.number(percent, 1)}\u00a0%",
        "heat": f"{min(max(share / max(strongest, 1e-9), 0.0), 1.0):.3f}",
        "against": percent <= -0.5,
        "link": f"class-{index}-channel-{channel}" if shown else "",
    }


# -- classes --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Page:
    """What all rows of a page share: sources, names of pictures and sounds on the page, the largest share."""

    material: Material
    media: Media
    images: dict[str, str]
    sounds: dict[Key, str]
    largest: float


def _class(one: ClassOverview, index: int, page: _Page) -> dict[str, Any]:
    return {
        "index": index,
        "label": one.label,
        "n_clips": words.plural(one.n_clips, "training clip"),
        "has_clips": one.n_clips > 0,
        "logit": "" if one.logit is None else words.signed(one.logit),
        "offset": "" if one.offset is None else words.signed(one.offset),
        "covered": "" if one.covered is None else f"{100 * one.covered:.0f}\u00a0%",
        "rows": [_row(row, f"class-{index}-channel-{row.channel}", one.label, page) for row in one.channels],
    }


def _row(row: ChannelOverview, name: str, label: str, page: _Page) -> dict[str, Any]:
    labels = list(row.histogram.items())
    return {
        "id": name,
        "channel": row.channel,
        "share": "" if row.share is None else f"{100 * row.share:.1f}\u00a0%",
        "width": 0.0 if row.share is None else 100 * row.share / max(page.largest, 1e-9),
        "contribution": "" if row.contribution is None else words.signed(row.contribution),
        "purity": words.number(row.purity),
        "class_purity": f"{100 * row.class_purity:.0f}\u00a0%",
        "chips": [{"label": one, "count": count, "own": one == label} for one, count in labels[:MOST_CHIPS]],
        "more": ", ".join(f"{one} {count}" for one, count in labels[MOST_CHIPS:]),
        "n_more": max(len(labels) - MOST_CHIPS, 0),
        "marks": marks_of(row),
        "prototypes": [_prototype(prototype, page) for prototype in row.prototypes],
    }


def marks_of(row: ChannelOverview) -> list[str]:
    """Returns what a reader should beware of, in a few words each."""
    marks = ["dead: impure where it is strongest, or excited by no clip"] if row.dead else []
    if row.duplicates:
        marks.append(f"active together with {', '.join(map(str, row.duplicates))}")
    if row.sign == "negative":
        marks.append("below zero in this class: shown are the clips that excite it least")
    return marks


def _prototype(prototype: Prototype, page: _Page) -> dict[str, Any]:
    axes, edges = axes_of(prototype, page.material), page.material.row_edges_hz
    everything = Region(0.0, prototype.duration_s, edges[0], edges[-1])
    key = key_of(prototype)
    heard = page.media.sounds.get(key)
    return {
        "image": page.images.get(prototype.sha256, ""),
        "at_hand": prototype.sha256 in page.media.at_hand,
        "region": page.sounds.get(key, ""),
        "whole": page.sounds.get(key_of(prototype, whole=True), ""),
        "start_s": f"{heard.start_s if heard else 0.0:.3f}",
        "duration_s": f"{prototype.duration_s:.3f}",
        "label": prototype.label.replace(";", ", ") or "no label",
        "clip_id": _shortened(prototype.clip_id),
        "purity": words.number(prototype.purity),
        "where": words.where(prototype.regions, everything),
        "boxes": [_box(*inside(region, axes)) for region in prototype.regions],
    }


def _box(left: float, bottom: float, right: float, top: float) -> dict[str, str]:
    place = {"left": left, "bottom": bottom, "width": right - left, "height": top - bottom}
    return {key: f"{100 * value:.2f}" for key, value in place.items()}


def _shortened(text: str, most: int = 160) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# -- what is said ---------------------------------------------------------------------------------------------------


def _facts(told: Overview) -> dict[str, Any]:
    """Returns what the page lists below its classes."""
    shared = sorted(told.shared.items(), key=lambda item: (-len(item[1]), item[0]))
    recordings = list(told.recordings.items())
    bank = told.bank
    return {
        "shared": shared[:MOST_LISTED],
        "n_shared": len(shared),
        "duplicates": bank.duplicates,
        "dead": bank.dead,
        "recordings": [(_shortened(name), channels) for name, channels in recordings[:MOST_LISTED]],
        "n_recordings": len(recordings),
        "n_shown": len(told.shown),
    }


def _sound_notes(told: Overview, media: Media) -> list[str]:
    """Returns sentences about sounds: what they are, and what is missing."""
    clips = {p.sha256 for one in told.classes for row in one.channels for p in row.prototypes}
    away = len(clips) - len(media.at_hand)
    notes = []
    if media.sounds:
        notes.append(
            "Click a picture to hear the region in its box; “whole clip” plays all of it. Sounds on this page are "
            "mono, up to 12 kHz, in lossy Ogg Vorbis; quiet regions are made louder."
        )
    if media.left_out:
        notes.append(f"To keep this page small, sounds of weaker prototypes are left out ({media.left_out}).")
    if away:
        what = "pictures are coarse where there are any" if media.images else "there are no pictures of them"
        notes.append(
            f"The sound of {away} of {words.plural(len(clips), 'training clip')} is not at hand, so they cannot be "
            f"heard, and {what}; name the folder that holds them with --bank-audio."
        )
    return notes
