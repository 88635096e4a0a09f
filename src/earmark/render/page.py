"""One self-contained page about one explanation: to be seen, heard and checked, without a network.

The template is `page.html.j2`, the moving parts are the viewer (`viewer.py`, `viewer/`). Everything that enters the
page is escaped, and only the viewer's own script may run on it. `index_page` leads to the pages of several labels of
one clip.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from ..audio.waveform import Waveform
from ..evidence import Attribution, PrototypeEvidence
from ..explanation import Explanation, Provenance
from ..masking import common_gain
from . import words
from .bars import bars_of
from .figures import heat_of, marks
from .gallery import channel_cards, gallery_data, page_sounds, training_sounds
from .mask_section import mask_sounds, mask_view
from .players import PageSound, browser_note, encode_sounds
from .raster import Axes
from .viewer import clip_data, script, script_json, style, viewer_data

MOST_CHARACTERS = 9_500_000  # of a page
MOST_SOUND = 8_000_000  # of these, for sounds

TILE_ROWS, TILE_COLUMNS = 8, 10  # of heat as a table

_OPEN = "earmark.openPage().then((page) => Object.assign(earmark, page));\n"


def explanation_page(
    explanation: Explanation, beside: Explanation | None = None, *, most_characters: int = MOST_CHARACTERS
) -> str:
    """Returns the page of an explanation as HTML.

    It holds its pictures and sounds and asks for nothing outside itself. It stays below 10 MB: where sounds are too
    many for that, they are made smaller, and the page says so.

    Parameters
    ----------
    beside
        The same clip and label explained by a mask, which gets a section of its own; its page is taken to lie in the
        folder `mask` beside this one.
    most_characters
        About how long the page may become; pictures are kept whatever they take.
    """
    training = training_sounds(explanation)
    view = _view(explanation, training, beside)
    data = viewer_data(explanation)
    taken = len(script_json(data)) + _characters(view)
    own = _own_sounds(explanation, beside)
    packed, plan = encode_sounds(
        _sounds(explanation, beside, training), min(MOST_SOUND, max(most_characters - taken, 0))
    )
    data["clip"] = clip_data(explanation, {name: packed[name] for name in own if name in packed})
    data["gallery"] = gallery_data(explanation, packed) if view["channels"] else []
    data["training_sounds"] = {name: packed[name] for name in packed if name not in data["clip"]["sounds"]}
    code = script() + _OPEN
    return _template("page.html.j2").render(
        **view,
        on_page={name.removesuffix("-part") for name in data["training_sounds"]},
        heard_at_all=bool(data["clip"]["sounds"]),
        sound_note=f"{plan.sentence} {browser_note(explanation.waveform)}".strip(),
        data=script_json(data),
        style=style(),
        script=code,
        script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii"),
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


def _view(explanation: Explanation, training: dict[str, Waveform], beside: Explanation | None) -> dict[str, Any]:
    """Returns all that the template shows but the viewer."""
    evidence = explanation.evidence
    channels = evidence if isinstance(evidence, PrototypeEvidence) else None
    return {
        "name": explanation.name,
        "heard": _heard(explanation),
        "target": explanation.target,
        "summary": _summary(explanation),
        "legend": _legend(explanation),
        "loudness": {n: words.loudness(explanation.waveform, s) for n, s in explanation.sounds().items()},
        "heat_note": _heat_note(explanation),
        "bars": bars_of(channels) if channels else None,
        "channels": channel_cards(explanation, training) if channels else [],
        "regions": _region_rows(explanation),
        "heats": _heat_tables(explanation),
        "top": _top_rows(explanation),
        "provenance": _provenance(explanation, beside),
        "mask": mask_view(explanation, beside) if beside else None,
        "threshold": explanation.prediction.threshold,
        "multilabel": explanation.prediction.task == "multilabel",
    }


def _characters(view: dict[str, Any]) -> int:
    """Returns how long the pictures that the template shows are."""
    plots = [prototype["plot"] for channel in view["channels"] for prototype in channel["prototypes"]]
    mask = view["mask"]
    own = len(mask["plot"].image) + len(mask["heat"]) if mask else 0
    return own + sum(len(plot.image) for plot in plots)


# -- sounds ---------------------------------------------------------------------------------------------------------


def _sounds(
    explanation: Explanation, beside: Explanation | None, training: dict[str, Waveform]
) -> dict[str, PageSound]:
    """Returns the sounds of the page by name, in the order in which they matter; all of the clip have one gain."""
    gain = _gain(explanation, beside)
    own = {name: PageSound(sound.scale(gain), "clip") for name, sound in _own_sounds(explanation, beside).items()}
    return own | (page_sounds(explanation, training) if training else {})


def _own_sounds(explanation: Explanation, beside: Explanation | None) -> dict[str, Waveform]:
    """Returns the sounds of the clip that the page holds; complements are their differences."""
    sounds = {name: sound for name, sound in explanation.sounds().items() if name != "complement"}
    return sounds | (mask_sounds(beside) if beside else {})


def _gain(explanation: Explanation, beside: Explanation | None) -> float:
    heard = [*explanation.sounds().values(), *(beside.sounds().values() if beside else ())]
    return common_gain(*heard)


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
        "method": words.method_name(explanation.provenance.method),
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
    if isinstance(evidence, PrototypeEvidence):
        return "Heat: where in the clip a channel speaks for the target, scaled to its own maximum."
    if isinstance(evidence, Attribution):
        return (
            "Orange speaks for the target, blue against it; full color is reached by the strongest hundredth of the "
            "picture."
        )
    return "The stronger the color, the more of the sound there is kept as evidence."


def _region_rows(explanation: Explanation) -> list[dict[str, str]]:
    """Returns the boxes as rows; `key` says which box of which overlay of the viewer a row is."""
    drawn = marks(explanation)
    places = words.decimals(*(mark.region.weight for mark in drawn))
    return [
        {
            "key": key,
            "name": mark.name,
            "color": mark.color,
            "start": f"{mark.region.start_s:.3f}",
            "end": f"{mark.region.end_s:.3f}",
            "low": f"{mark.region.low_hz:.0f}",
            "high": f"{mark.region.high_hz:.0f}",
            "weight": words.number(mark.region.weight, places),
        }
        for mark, key in zip(drawn, _box_keys(explanation), strict=True)
    ]


def _box_keys(explanation: Explanation) -> list[str]:
    evidence = explanation.evidence
    if not isinstance(evidence, PrototypeEvidence):
        return [f"method:{i}" for i in range(len(explanation.regions()))]
    return [f"channel-{i}:{j}" for i, channel in enumerate(evidence.channels) for j in range(len(channel.regions))]


def _heat_tables(explanation: Explanation) -> list[dict[str, Any]]:
    """Returns heat as tables of percent: the mean over tiles, the highest band first."""
    axes = Axes.of(explanation.waveform)
    hz, seconds = axes.hz_edges(TILE_ROWS).tolist(), axes.second_edges(TILE_COLUMNS).tolist()
    evidence = explanation.evidence
    names = (
        [f"Channel {c.channel}" for c in evidence.channels]
        if isinstance(evidence, PrototypeEvidence)
        else [words.method_name(explanation.provenance.method)]
    )
    tables = []
    for i, name in enumerate(names):
        fine = heat_of(explanation, i)(axes, 8 * TILE_COLUMNS, 8 * TILE_ROWS).clamp(-1, 1)
        tiles = fine.unflatten(0, (TILE_ROWS, 8)).unflatten(2, (TILE_COLUMNS, 8)).mean((1, 3))
        rows = [
            {"band": f"{hz[r]:.0f}–{hz[r + 1]:.0f}", "cells": [words.number(100 * v, 0) for v in tiles[r].tolist()]}
            for r in reversed(range(TILE_ROWS))
        ]
        spans = [f"{seconds[c]:.2f}–{seconds[c + 1]:.2f}" for c in range(TILE_COLUMNS)]
        tables.append({"name": name, "spans": spans, "rows": rows})
    return tables


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


def _provenance(explanation: Explanation, beside: Explanation | None) -> dict[str, Any]:
    """Returns how it was made, as rows of name and value."""
    made = explanation.provenance
    nyquist = explanation.grid.sample_rate / 2
    rows = [
        ("Method", made.method),
        ("Classifier", made.classifier),
        ("Fingerprint", made.fingerprint),
        ("Sound", f"{explanation.waveform!r}"),
        ("Gain of the clip's sounds", f"{_gain(explanation, beside):.4g}"),
        ("Re-entry stage", made.reentry),
        ("Seed", "none" if made.seed is None else str(made.seed)),
        ("Cost", _cost(made)),
        ("Analysis", f"STFT of {explanation.grid.stft.n_fft} samples, hop {explanation.grid.stft.hop_length}"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in made.versions.items())),
    ]
    if beside:
        rows.insert(8, ("Mask beside it", f"{beside.provenance.method}; {_cost(beside.provenance)}"))
    if made.start_s is not None or made.end_s is not None:
        end = "its end" if made.end_s is None else f"{made.end_s:g} s"
        part = f"{made.start_s or 0:g} s to {end} of the recording; all times on this page count from there"
        rows.insert(4, ("Part", part))
    if made.resampled_from:
        notice = f"from {made.resampled_from} Hz to {explanation.grid.sample_rate} Hz for the classifier"
        beyond = f"; sound above {nyquist:g} Hz cannot count" if made.resampled_from > 2 * nyquist else ""
        rows.insert(4, ("Resampled", notice + beyond))
    return {"rows": rows, "config": [(name, str(value)) for name, value in made.config.items()]}


def _cost(made: Provenance) -> str:
    return f"{words.plural(made.forward_passes, 'forward pass', 'forward passes')}, {made.backward_passes} back"
