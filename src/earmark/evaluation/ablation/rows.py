"""What a batch of clips scores with a region taken out, or alone: one row per clip, label, condition and draw.

Each place of a clip is scored once, whatever conditions share it. All that does not depend on the mask is computed
once: the clips' own pass, their STFT, their features and the fill.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ...classifiers.base import Classifier, Tapped
from ...explainers.apex.explainer import Apex
from ...fills import Fill, feature_fill
from ...masking import feature_gain
from ...metrics.faithfulness import Passes, average_drop, decided_rows, output_fidelity
from ...types import Clip, Features, Logits, Samples, Target, probabilities
from ..batches import Batch, Plane
from .chosen import chosen
from .config import DRAWN, FILLS, NONE, AblationConfig
from .controls import Masked, Scene, conditions
from .places import Ground, Place, overlap

Row = dict[str, Any]

NOTHING = {"condition": NONE, "seed": 0, "draw": 0, "area": 0.0, "area_stft": 0.0, "softer_db": 0.0, "overlap": 0.0}
MOST_LOGITS = 100  # labels of which a row keeps all logits, for classification metrics after masking


@dataclass(frozen=True, eq=False)
class Tap:
    """Clips of one length, passed through the classifier once.

    Parameters
    ----------
    batch
        A row for each clip and decided label.
    tapped
        Map and logits of the clips.
    clip
        Which clip each row is of.
    """

    batch: Batch
    tapped: Tapped
    clip: Int[Tensor, " row"]

    @classmethod
    def of(cls, classifier: Classifier, clips: Sequence[Clip], samples: Samples) -> "Tap":
        """Returns the rows of clips: the label put first, or every label above the threshold."""
        with torch.no_grad():
            tapped = classifier.tap(samples)
        clip, label, undecided = decided_rows(tapped.logits, classifier.task, classifier.threshold)
        own = tuple(clips[i] for i in clip.tolist())
        batch = Batch(classifier, own, samples[clip], tapped.logits[clip], label, undecided)
        return cls(batch, tapped, clip)

    @cached_property
    def ground(self) -> Ground:
        """The plane of all clips' regions."""
        return Ground(self.batch.classifier.geometry(self.batch.samples.shape[1]), self.batch.grid)


class Scorer:
    """Scores clips of a batch through masks, with one fill.

    Parameters
    ----------
    batch
        The clips.
    fill
        A name of `FILLS`.
    config
        How loud noise and attenuation are, and how many masks are scored in a pass.
    """

    def __init__(self, batch: Batch, fill: str, config: AblationConfig) -> None:
        self.batch, self.size = batch, config.batch
        self.stage, name = FILLS[fill]
        self.fill = Fill(name, db=config.attenuation_db if name == "attenuation" else config.noise_db)

    def __call__(self, row: int, gains: Plane) -> Logits:
        """Returns the logits of a row's clip with each of several gains."""
        with torch.no_grad():
            return torch.cat([self._some(row, part) for part in gains.split(self.size)])

    def _some(self, row: int, gains: Plane) -> Logits:
        if self.stage == "waveform":
            return self.batch.reentry("waveform", self.fill)(torch.full((len(gains),), row), gains)
        features, filled = (values[row : row + 1] for values in self._features)
        shape = (features.shape[1], features.shape[2])
        front_end, n_samples = self.batch.classifier.front_end, self.batch.samples.shape[1]
        kept = feature_gain(gains.to(features), front_end, n_samples, shape)
        return self.batch.classifier.logits(kept * features + (1 - kept) * filled, at="features")

    @cached_property
    def _features(self) -> tuple[Features, Features]:
        """Features of the clips and of the fill."""
        features = self.batch.classifier.at(self.batch.samples, "features")
        return features, feature_fill(self.fill, self.batch.samples, features, self.batch.classifier)


def rows_of(tap: Tap, apex: Apex, config: AblationConfig, fitted: str) -> Iterator[Row]:
    """Yields all rows of a batch under one view, that of `apex`.

    Parameters
    ----------
    fitted
        The view for which the basis was fitted.
    """
    scorers: dict[str, Scorer] = {fill: Scorer(tap.batch, fill, config) for fill in config.fills}
    same = {"view": apex.config.view, "fitted": fitted}
    for row in range(len(tap.batch)):
        about = {**_about(tap, row), **same}
        yield from _of_row(tap, apex, config, row, about, scorers)


def _of_row(
    tap: Tap, apex: Apex, config: AblationConfig, row: int, about: Row, scorers: dict[str, Scorer]
) -> Iterator[Row]:
    target = tap.batch.targets()[row]
    assert target is not None
    said = chosen(apex, tap.tapped, int(tap.clip[row]), target, tap.batch.samples.shape[-1])
    scene = Scene(tap.ground, tap.batch.power[row], apex.config.view)
    masked = list(conditions(scene, said, config, f"{about['clip']}/{target.label}"))
    known = _places(scene, masked, said.top.place)
    for fill, score in scorers.items():
        whole = _scored(tap.batch, row, target, tap.batch.whole[row : row + 1])[0]
        yield {**about, "fill": fill, "kept": False, **whole, **NOTHING}
        for kept, some in ((False, masked), (True, [one for one in masked if _is_kept(one, config)])):
            places = list(dict.fromkeys(one.pick.place for one in some if one.pick))
            if places:
                gains = tap.ground.gains(places).to(tap.batch.samples.device)
                found = _scored(tap.batch, row, target, score(row, gains if kept else 1 - gains))
                by_place = {place: {**known[place], **one} for place, one in zip(places, found, strict=True)}
                yield from ({**about, "fill": fill, "kept": kept, **_row(one, by_place)} for one in some)


def _is_kept(one: Masked, config: AblationConfig) -> bool:
    """Says whether a condition is also scored alone."""
    return config.keep_draws > 0 and (one.condition not in DRAWN or one.draw < config.keep_draws)


def _row(one: Masked, by_place: dict[Place, Row]) -> Row:
    about = {"condition": one.condition, "seed": one.seed, "draw": one.draw, "failed": one.failed}
    if one.pick is None:
        return about
    return {**about, "channel": one.pick.channel if one.pick.channel >= 0 else None, **by_place[one.pick.place]}


def _about(tap: Tap, row: int) -> Row:
    """Returns what every row says of its clip and label."""
    batch, label = tap.batch, int(tap.batch.target[row])
    clip, task = batch.clips[row], batch.classifier.task
    return {
        "clip": clip.id,
        "group": clip.group or clip.id,
        "fold": clip.fold,
        "labels": ";".join(clip.labels),
        "target": batch.classifier.labels[label],
        "is_top": label == int(batch.whole[row].argmax()),
        "undecided": bool(batch.undecided[row]),
        "whole_prob": float(probabilities(batch.whole[row].double(), task)[label]),
        "whole_logit": float(batch.whole[row, label]),
    }


def _places(scene: Scene, masked: Sequence[Masked], region: Place) -> dict[Place, Row]:
    """Returns where places are, and what they take."""
    places = list(dict.fromkeys(one.pick.place for one in masked if one.pick))
    ground, total = scene.ground, float(scene.power.sum())
    removed, left = ground.energies(places, scene.power)
    gains = ground.gains(places)
    columns: dict[str, list[Any]] = {
        "freq": [_float(place.freq) for place in places],
        "frame": [_float(place.frame) for place in places],
        "height": [float(place.height) for place in places],
        "width": [float(place.width) for place in places],
        "area": ground.areas(places).tolist(),
        "area_stft": gains.mean((1, 2)).tolist(),
        "removed_db": (10 * (removed / total).clamp_min(1e-10).log10()).tolist(),
        "softer_db": (-10 * (left / total).clamp(1e-10, 1).log10()).tolist(),
        "overlap": overlap(gains, ground.gains([region])[0]).tolist(),
    }
    return {place: {name: values[i] for name, values in columns.items()} for i, place in enumerate(places)}


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def _scored(batch: Batch, row: int, target: Target, logits: Logits) -> list[Row]:
    """Returns outcomes of one clip's masked passes."""
    n, task = len(logits), batch.classifier.task
    whole, at = batch.whole[row : row + 1].expand(n, -1), batch.target[row : row + 1].expand(n)
    passes = Passes(whole, at, logits, logits, task, batch.classifier.threshold)
    probs, before = (probabilities(z.double(), task)[:, target.index] for z in (logits, whole))
    labels, own = batch.classifier.labels, set(batch.clips[row].labels)
    top = [labels[i] for i in logits.argmax(1).tolist()]
    keeps = logits.shape[1] <= MOST_LOGITS and target.index == int(batch.whole[row].argmax())
    columns: dict[str, list[Any]] = {
        "prob": probs.tolist(),
        "logit": logits[:, target.index].double().tolist(),
        "prob_lost": (before - probs).tolist(),
        "logit_lost": (whole[:, target.index].double() - logits[:, target.index].double()).tolist(),
        "drop": average_drop(passes).tolist(),
        "flip": (1 - output_fidelity(passes)).tolist(),
        "top_hit": [float(label in own) if own else math.nan for label in top],
        "logits": logits.float().tolist() if keeps else [None] * n,
    }
    return [{name: values[i] for name, values in columns.items()} for i in range(n)]
