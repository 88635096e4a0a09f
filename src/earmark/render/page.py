"""One self-contained page about one explanation: to be seen, heard and checked, without a network.

Pictures are bare pixels; axes, boxes and texts lie over them as HTML, so that they stay sharp at any width, follow
light and dark, and can be read aloud. The template is `page.html.j2`; everything that enters it is escaped.
`index_page` leads to the pages of several labels of one clip.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import torch

from ..audio.waveform import Waveform
from ..explanation import Attribution, ChannelEvidence, Explanation, PrototypeEvidence
from ..masking import common_gain, evidence_of
from ..prototypes.bank import Prototype
from . import words
from .figures import AGAINST, COLORS, Mark, by_channels, heat_of, marks
from .players import PageSound, browser_note, data_uri, encode_sounds, excerpt, heard_in
from .raster import (
    RANGE_DB,
    Axes,
    Heat,
    Pixels,
    color_palette,
    decibels,
    heat_palette,
    inside,
    levels,
    picture_decibels,
    png,
    signed_palette,
)

MOST_CHARACTERS = 9_500_000  # of a page
MOST_SOUND = 8_000_000  # of these, for sounds

_QUIET = 0.2  # evidence with a lower peak can be played louder, too
_LINES = ("solid", "dashed", "dotted")
_FOR = COLORS[4]  # heat that speaks for the target

#: Method names as people write them.
_METHODS = {
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


@dataclass(frozen=True)
class Plot:
    """A picture with its axes: positions are percent from the left and from the bottom."""

    id: str
    image: str  # a data URI, or nothing where the sound is not at hand
    alt: str
    duration_s: float
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    boxes: tuple[dict[str, Any], ...]
    unheard: float = 0.0  # percent at the top that the classifier does not hear


def explanation_page(explanation: Explanation) -> str:
    """Returns the page of an explanation as HTML.

    It holds its pictures and sounds and asks for nothing outside itself. It stays below 10 MB: where sounds are too
    many for that, they are made smaller, and the page says so.
    """
    prototypes = _prototype_sounds(explanation)
    sounds = _sounds(explanation, prototypes)
    view = _view(explanation, prototypes)
    pictures = sum(len(plot.image) for plot in _plots(view)) + sum(len(heat) for heat in view["heats"].values())
    uris, plan = encode_sounds(sounds, min(MOST_SOUND, max(MOST_CHARACTERS - pictures, 0)))
    return _template("page.html.j2").render(
        **view, sounds=sounds, uris=uris, sound_note=f"{plan.sentence} {browser_note(explanation.waveform)}".strip()
    )


def index_page(name: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Returns a page that leads to the explanations of several labels of one clip.

    Parameters
    ----------
    name
        What the clip is called.
    rows
        Label, its probability, and the folder of its explanation beside this page.
    """
    links = [
        {"label": label, "prob": words.prob(prob), "percent": 100 * prob, "address": f"{quote(folder)}/index.html"}
        for label, prob, folder in rows
    ]
    return _template("index.html.j2").render(name=name, links=links)


@lru_cache(maxsize=2)
def _template(name: str) -> Any:
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    return environment.from_string(files("earmark.render").joinpath(name).read_text(encoding="utf-8"))


def _view(explanation: Explanation, prototypes: dict[str, Waveform]) -> dict[str, Any]:
    """Returns all that the template shows but the sounds."""
    evidence = explanation.evidence
    plot = _clip_plot(explanation)
    return {
        "name": explanation.name,
        "heard": _heard(explanation),
        "target": explanation.target,
        "summary": _summary(explanation),
        "kind": evidence.kind,
        "plot": plot,
        "legend": _legend(explanation),
        "loudness": _loudness(explanation),
        "heats": _heats(explanation),
        "heat_note": _heat_note(explanation),
        "bars": _bars(evidence) if isinstance(evidence, PrototypeEvidence) else None,
        "channels": _channels(explanation, prototypes, plot) if isinstance(evidence, PrototypeEvidence) else [],
        "regions": _region_rows(explanation),
        "top": _top_rows(explanation),
        "provenance": _provenance(explanation),
        "threshold": explanation.prediction.threshold,
        "multilabel": explanation.prediction.task == "multilabel",
    }


def _plots(view: dict[str, Any]) -> list[Plot]:
    shown = [prototype["plot"] for channel in view["channels"] for prototype in channel["prototypes"]]
    return [view["plot"], view["plot"], *shown]  # the clip's picture is there twice: seen, and under heat


# -- sounds ---------------------------------------------------------------------------------------------------------


def _prototype_sounds(explanation: Explanation) -> dict[str, Waveform]:
    """Returns the sounds of the prototypes that are at hand, by their names on the page."""
    evidence = explanation.evidence
    if not isinstance(evidence, PrototypeEvidence) or evidence.find_sound is None:
        return {}
    found = {
        _name(i, j): evidence.find_sound(prototype)
        for i, channel in enumerate(evidence.channels)
        for j, prototype in enumerate(channel.prototypes)
    }
    return {name: sound for name, sound in found.items() if sound is not None}


def _name(channel: int, prototype: int) -> str:
    return f"channel-{channel}-prototype-{prototype}"


def _sounds(explanation: Explanation, prototypes: dict[str, Waveform]) -> dict[str, PageSound]:
    """Returns the sounds of the page by name, in the order in which they matter."""
    gain = _gain(explanation)
    sounds = {name: PageSound(sound.scale(gain), "clip") for name, sound in explanation.sounds().items()}
    if 0 < sounds["evidence"].waveform.peak < _QUIET:
        sounds["evidence-loud"] = excerpt(sounds["evidence"].waveform, ())
    evidence = explanation.evidence
    if not isinstance(evidence, PrototypeEvidence):
        return sounds
    for i, channel in enumerate(evidence.channels):
        masked = evidence_of(explanation.waveform, evidence.channel_gain(i, explanation.grid), explanation.grid)
        sounds[f"channel-{i}"] = excerpt(masked, channel.regions)
        for j, prototype in enumerate(channel.prototypes):
            if (sound := prototypes.get(_name(i, j))) is not None:
                region = heard_in(prototype.regions, sound, explanation.grid)
                sounds[f"{_name(i, j)}-region"] = excerpt(region, prototype.regions)
    return sounds | {name: PageSound(sound, "prototype") for name, sound in prototypes.items()}


def _gain(explanation: Explanation) -> float:
    return common_gain(*explanation.sounds().values())


def _loudness(explanation: Explanation) -> dict[str, str]:
    """Returns how loud evidence, complement and residual are, in words."""
    whole = explanation.waveform.rms_db
    said = {}
    for name, sound in explanation.sounds().items():
        below = whole - sound.rms_db
        if math.isinf(sound.rms_db):
            said[name] = "silent"
        elif abs(below) < 0.5:
            said[name] = "as loud as the original"
        else:
            said[name] = f"{abs(below):.0f} dB {'below' if below > 0 else 'above'} the original"
    return said | {"original": f"{explanation.waveform.duration_s:.2f} s"}


# -- what is said ---------------------------------------------------------------------------------------------------


def _heard(explanation: Explanation) -> list[dict[str, str]]:
    """Returns the labels that count as present, each with its probability, the most probable first."""
    prediction = explanation.prediction
    order = sorted(prediction.decided, key=lambda label: -float(prediction.probs[prediction.labels.index(label)]))
    return [{"label": x, "prob": words.prob(float(prediction.probs[prediction.labels.index(x)]))} for x in order]


def _summary(explanation: Explanation) -> dict[str, Any]:
    """Returns what is explained, and by what."""
    evidence, target = explanation.evidence, explanation.target
    score = words.score_value(explanation)
    return {
        "score_name": words.score_name(target),
        "score": words.number(score, words.decimals(score)),
        "other": target.label not in explanation.prediction.decided,
        "prob": words.prob(float(explanation.prediction.probs[target.index])),
        "classifier": explanation.provenance.classifier,
        "method": _METHODS.get(explanation.provenance.method, explanation.provenance.method),
        "view": evidence.view if isinstance(evidence, PrototypeEvidence) else "",
        "identity": isinstance(evidence, PrototypeEvidence) and evidence.basis == "identity",
        "n_shown": len(evidence.channels) if isinstance(evidence, PrototypeEvidence) else 0,
        "n_channels": len(evidence.contributions) if isinstance(evidence, PrototypeEvidence) else 0,
        "covered": f"{100 * evidence.covered:.0f}\u00a0%" if isinstance(evidence, PrototypeEvidence) else "",
    }


def _legend(explanation: Explanation) -> list[dict[str, str]]:
    """Returns each mark's color, tag and name once, with where its boxes are."""
    everything = words.whole(explanation)
    rows: dict[str, dict[str, Any]] = {}
    for mark in marks(explanation):
        row = rows.setdefault(mark.name, {"color": mark.color, "tag": mark.tag, "name": mark.name, "regions": []})
        row["regions"].append(mark.region)
    return [{**row, "where": words.where(row["regions"], everything)} for row in rows.values()]


def _heat_note(explanation: Explanation) -> str:
    evidence = explanation.evidence
    if isinstance(evidence, Attribution):
        return (
            "Orange speaks for the target, blue against it; full color is reached by the strongest hundredth of the "
            "picture."
        )
    return "The stronger the color, the more of the sound there is kept as evidence."


def _bars(evidence: PrototypeEvidence) -> dict[str, Any]:
    """Returns the sum as bars, each of which starts where the last one ended; positions in percent."""
    shown = [c.channel for c in evidence.channels]
    others = evidence.contributions.double().clone()
    others[shown] = 0
    terms = [(f"Channel {c.channel}", c.contribution, COLORS[i % len(COLORS)]) for i, c in enumerate(evidence.channels)]
    if len(others) > len(shown):
        terms.append((f"{words.plural(len(others) - len(shown), 'other channel')}", float(others.sum()), ""))
    terms.append(("Offset", evidence.offset, ""))
    edges = [0.0]
    for _, value, _ in terms:
        edges.append(edges[-1] + value)
    total = edges[-1]
    low, high = min(edges), max(edges)
    places = words.decimals(evidence.score, *(value for _, value, _ in terms))
    bars = [
        _bar(name, value, edges[i], (low, high), places) | {"color": color, "note": ""}
        for i, (name, value, color) in enumerate(terms)
    ]
    if len(others) > len(shown):
        up, down = (words.signed(float(part.sum()), places) for part in (others.clamp_min(0), others.clamp_max(0)))
        bars[-2]["note"] = f"({up} and {down})"
    return {
        "rows": bars,
        "zero": 100 * (0 - low) / max(high - low, 1e-30),
        "total": _bar("Sum", total, 0.0, (low, high), places),
        "score": words.number(evidence.score, places),
        "residual": f"{evidence.residual:.1g}",
        "additive": evidence.exact,
        "mode": evidence.mode,
    }


def _bar(name: str, value: float, start: float, span: tuple[float, float], places: int) -> dict[str, Any]:
    left, width = min(start, start + value), abs(value)
    scale = 100 / max(span[1] - span[0], 1e-30)
    return {
        "name": name,
        "value": words.signed(value, places),
        "left": (left - span[0]) * scale,
        "width": width * scale,
        "negative": value < 0,
    }


def _region_rows(explanation: Explanation) -> list[dict[str, str]]:
    weights = [mark.region.weight for mark in marks(explanation)]
    places = words.decimals(*weights)
    return [
        {
            "name": mark.name,
            "color": mark.color,
            "start": f"{mark.region.start_s:.3f}",
            "end": f"{mark.region.end_s:.3f}",
            "low": f"{mark.region.low_hz:.0f}",
            "high": f"{mark.region.high_hz:.0f}",
            "weight": words.number(mark.region.weight, places),
        }
        for mark in marks(explanation)
    ]


def _top_rows(explanation: Explanation) -> list[dict[str, Any]]:
    """Returns the five most probable labels, and the target if it is not among them."""
    prediction, target = explanation.prediction, explanation.target
    rows = prediction.top(5)
    if target.label not in [row["label"] for row in rows]:
        index = target.index
        logit, prob = float(prediction.logits[index]), float(prediction.probs[index])
        rows.append({"label": target.label, "logit": logit, "prob": prob})
    return [
        {
            "label": row["label"],
            "logit": words.number(row["logit"]),
            "prob": words.prob(row["prob"])[2:].removeprefix("= "),
            "percent": 100 * row["prob"],
            "is_target": row["label"] == target.label,
        }
        for row in rows
    ]


def _provenance(explanation: Explanation) -> dict[str, Any]:
    """Returns how it was made, as rows of name and value."""
    made = explanation.provenance
    nyquist = explanation.grid.sample_rate / 2
    rows = [
        ("Method", made.method),
        ("Classifier", made.classifier),
        ("Fingerprint", made.fingerprint),
        ("Sound", f"{explanation.waveform!r}"),
        ("Gain of the three sounds", f"{_gain(explanation):.4g}"),
        ("Re-entry stage", made.reentry),
        ("Seed", "none" if made.seed is None else str(made.seed)),
        ("Cost", f"{words.plural(made.forward_passes, 'forward pass', 'forward passes')}, {made.backward_passes} back"),
        ("Analysis", f"STFT of {explanation.grid.stft.n_fft} samples, hop {explanation.grid.stft.hop_length}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in made.versions.items())),
    ]
    if made.start_s is not None or made.end_s is not None:
        end = "its end" if made.end_s is None else f"{made.end_s:g} s"
        part = f"{made.start_s or 0:g} s to {end} of the recording; all times on this page count from there"
        rows.insert(4, ("Part", part))
    if made.resampled_from:
        notice = f"from {made.resampled_from} Hz to {explanation.grid.sample_rate} Hz for the classifier"
        beyond = f"; sound above {nyquist:g} Hz cannot count" if made.resampled_from > 2 * nyquist else ""
        rows.insert(4, ("Resampled", notice + beyond))
    return {"rows": rows, "config": [(name, str(value)) for name, value in made.config.items()]}


# -- what is seen ---------------------------------------------------------------------------------------------------


def _clip_plot(explanation: Explanation) -> Plot:
    waveform = explanation.waveform
    heard = explanation.grid.sample_rate / 2
    alt = (
        f"Spectrogram of {explanation.name}, {waveform.duration_s:.2f} s, up to {waveform.sample_rate / 2:g} Hz, with "
        f"{words.plural(len(explanation.regions()), 'box', 'boxes')}; the table of regions lists them."
    )
    return _plot("clip", waveform, Axes.of(waveform), marks(explanation), alt, (1000, 256), heard)


def _plot(
    name: str,
    waveform: Waveform | None,
    axes: Axes,
    boxes: Iterable[Mark],
    alt: str,
    size: tuple[int, int],
    heard_hz: float = math.inf,
) -> Plot:
    """Returns a plot of `size` (columns, rows); without a sound it is empty but for its boxes."""
    image = "" if waveform is None else _spectrogram_uri(decibels(waveform, axes, *size))
    few = size[0] < 600
    return Plot(
        name,
        image,
        alt,
        axes.duration_s,
        tuple((100 * axes.x(t), words.tick_s(t)) for t in axes.second_ticks(4 if few else 10)),
        tuple((100 * axes.y(hz), words.tick_hz(hz)) for hz in axes.hz_ticks(0.17 if few else 0.075)),
        _boxes(boxes, axes),
        max(0.0, 100 - 100 * axes.y(heard_hz)) if heard_hz < axes.top_hz - 1 else 0.0,
    )


def _boxes(drawn: Iterable[Mark], axes: Axes) -> tuple[dict[str, Any], ...]:
    """Returns boxes in percent; each color has a line of its own, and tags at one corner stand side by side."""
    lines: dict[str, str] = {}
    corners: list[tuple[float, float]] = []
    boxes = []
    for mark in drawn:
        left, bottom, right, top = (100 * share for share in inside(mark.region, axes))
        line = lines.setdefault(mark.color, _LINES[len(lines) % len(_LINES)])
        neighbors = len([1 for x, y in corners if abs(left - x) < 4 and abs(top - y) < 5])
        corners.append((left, top))
        place = {"left": left, "bottom": bottom, "width": right - left, "height": top - bottom}
        boxes.append(
            {key: f"{value:.4f}" for key, value in place.items()}
            | {"color": mark.color, "line": line, "tag": mark.tag, "shift": f"{2.6 * neighbors:.1f}"}
            | {"title": f"{mark.name}: {words.seconds(mark.region)}, {words.hertz(mark.region)}"}
        )
    return tuple(boxes)


def _spectrogram_uri(db: Pixels) -> str:
    return data_uri(png(levels(db, -RANGE_DB, 0.0), color_palette("magma")), "image/png")


def _heats(explanation: Explanation) -> dict[str, str]:
    """Returns the heat of each shown channel, or of the whole evidence, as pictures to lay over the spectrogram."""
    axes, evidence = Axes.of(explanation.waveform), explanation.evidence
    if isinstance(evidence, PrototypeEvidence):
        colors = [COLORS[i % len(COLORS)] for i in range(len(evidence.channels))]
        return {f"channel-{i}": _heat_uri(heat_of(explanation, i), axes, color) for i, color in enumerate(colors)}
    if isinstance(evidence, Attribution):
        return {"clip": _signed_heat_uri(heat_of(explanation), axes)}
    return {"clip": _heat_uri(heat_of(explanation), axes, _FOR, (500, 192))}


def _heat_uri(heat: Heat, axes: Axes, color: str, size: tuple[int, int] = (320, 96)) -> str:
    return data_uri(png(levels(heat(axes, *size), 0.0, 1.0), heat_palette(color)), "image/png")


def _signed_heat_uri(heat: Heat, axes: Axes, size: tuple[int, int] = (500, 192)) -> str:
    return data_uri(png(levels(heat(axes, *size), -1.0, 1.0), signed_palette(_FOR, AGAINST)), "image/png")


def _channels(explanation: Explanation, prototypes: dict[str, Waveform], clip: Plot) -> list[dict[str, Any]]:
    evidence = by_channels(explanation)
    n_pictures = sum(len(channel.prototypes) for channel in evidence.channels)
    size = (320, 128) if n_pictures <= 32 else (160, 64)
    channels = []
    for i, channel in enumerate(evidence.channels):
        sentence = _channel_sentence(channel, explanation)
        cards = [
            _prototype_card(explanation, (i, j), prototypes.get(_name(i, j)), size)
            for j in range(len(channel.prototypes))
        ]
        channels.append(
            {
                "id": f"channel-{i}",
                "number": channel.channel,
                "color": COLORS[i % len(COLORS)],
                "sentence": sentence,
                "empty": float(evidence.maps[i].max()) <= 0,
                "activation": words.number(channel.activation, words.decimals(channel.activation)),
                "purity": words.number(channel.purity),
                "plot": _channel_plot(clip, explanation, i, sentence),
                "prototypes": cards,
            }
        )
    return channels


def _channel_sentence(channel: ChannelEvidence, explanation: Explanation) -> str:
    evidence = by_channels(explanation)
    places = words.decimals(evidence.score, *(c.contribution for c in evidence.channels))
    value = words.signed(channel.contribution, places)
    verb = "adds" if channel.contribution >= 0 else "takes"
    place = words.where(channel.regions, words.whole(explanation))
    return f"{verb} {value} of {words.number(evidence.score, places)}; found {place}"


def _channel_plot(clip: Plot, explanation: Explanation, shown: int, sentence: str) -> Plot:
    """Returns the clip's plot with one channel's boxes; its picture is the page's, not another copy."""
    channel = by_channels(explanation).channels[shown]
    drawn = [Mark(r, COLORS[shown % len(COLORS)], "", f"Channel {channel.channel}") for r in channel.regions]
    alt = f"Spectrogram of {explanation.name} with the heat of channel {channel.channel}, which {sentence}."
    boxes = _boxes(drawn, Axes.of(explanation.waveform))
    return replace(clip, id=f"channel-{shown}", image="", alt=alt, boxes=boxes, unheard=0.0)


def _prototype_card(
    explanation: Explanation, at: tuple[int, int], sound: Waveform | None, size: tuple[int, int]
) -> dict[str, Any]:
    """Returns one training clip of a channel: its picture if its sound is at hand, and what is known of it."""
    channel = by_channels(explanation).channels[at[0]]
    prototype: Prototype = channel.prototypes[at[1]]
    axes = Axes.of(sound) if sound else Axes(prototype.duration_s, explanation.grid.sample_rate / 2)
    color = COLORS[at[0] % len(COLORS)]
    boxes = [Mark(region, color, "", "Region") for region in prototype.regions]
    place = words.where(prototype.regions, words.whole(explanation, prototype.duration_s))
    plot = _plot(_name(*at), sound, axes, boxes, "", size)
    if sound is None and (picture := by_channels(explanation).pictures.get(prototype.sha256)) is not None:
        edges = by_channels(explanation).geometry.row_edges_hz
        plot = replace(plot, image=_spectrogram_uri(picture_decibels(picture, edges, axes, size[1])))
    what = "Spectrogram" if plot.image else "Box"
    alt = f"{what} of the training clip {prototype.clip_id}; channel {channel.channel} is found {place}."
    return {
        "id": _name(*at),
        "at_hand": sound is not None,
        "itself": sound is not None and torch.equal(sound.samples, explanation.waveform.samples),
        "plot": replace(plot, alt=alt),
        "label": prototype.label.replace(";", ", ") or "no label",
        "sign": prototype.sign,
        "clip_id": prototype.clip_id,
        "where": place,
        "score": words.number(prototype.score, words.decimals(prototype.score)),
        "purity": words.number(prototype.purity),
        "similarity": words.number(channel.similarity[at[1]]) if at[1] < len(channel.similarity) else "unknown",
    }
