"""compare: several explainers on the same clips and the same label, side by side.

All rank the bins of one grid, and each keeps the same share of them: what then is heard, how probable the label stays
with that alone and without it, and how alike two rankings are. These are numbers of single clips; whether one method
is better than another is for `evaluate`, over many.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..audio.files import load_clip
from ..audio.waveform import Waveform
from ..classifiers.base import Classifier, Grid
from ..errors import EarmarkError, InputError
from ..explainers.base import Explainer
from ..explanation import Explanation
from ..masking import evidence_of, masked_logits
from ..masks import MapFlag, Ranking, cleaned, ranking_of
from ..metrics.complexity import energy_kept
from ..metrics.stability import iou_of_top, rank_correlation
from ..types import Clip, Prediction, Region, Target, label_index, probabilities, resolve_target
from .entrants import Entrant, Given, entrants_of
from .loading import Progress

AREA = 0.1
Plane = Float[Tensor, "freq frame"]


@dataclass(frozen=True, eq=False)
class Side:
    """One explainer on one clip.

    Parameters
    ----------
    name
        By which it is known.
    explanation
        What it says; `None` where it failed.
    values, gain
        By which bins are ranked, and the mask of equal area, both on the clip's STFT grid.
    prob_inside, prob_outside
        Of the explained label with the masked part alone, and without it.
    energy
        The share of the clip's energy that the mask keeps.
    seconds
        What the explanation took.
    flags
        What is unusual about its map, see `earmark.masks`.
    failed
        Why it failed.
    """

    name: str
    explanation: Explanation | None
    values: Plane
    gain: Plane
    prob_inside: float
    prob_outside: float
    energy: float
    seconds: float
    flags: int = 0
    failed: str | None = None

    @property
    def says_nothing(self) -> bool:
        """Whether its map orders no bins: zero, constant, or not finite."""
        return bool(self.flags & (MapFlag.NOT_FINITE | MapFlag.ZERO | MapFlag.CONSTANT))

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes of the classifier that the explanation took."""
        made = self.explanation.provenance if self.explanation else None
        return (made.forward_passes, made.backward_passes) if made else (0, 0)

    def regions(self) -> list[Region]:
        """Returns where the method itself puts the evidence, the weightiest first."""
        return self.explanation.regions() if self.explanation else []

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        made = self.explanation.provenance if self.explanation else None
        return {
            "explainer": self.name,
            "method": made.method if made else None,
            "config": made.config if made else None,
            "seed": made.seed if made else None,
            "prob_inside": _known(self.prob_inside),
            "prob_outside": _known(self.prob_outside),
            "energy_kept": _known(self.energy),
            "forward_passes": self.passes[0],
            "backward_passes": self.passes[1],
            "seconds": self.seconds,
            "map_flags": self.flags,
            "regions": [region.to_dict() for region in self.regions()],
            "failed": self.failed,
        }


@dataclass(frozen=True)
class Agreement:
    """How alike two explainers are on a clip.

    Parameters
    ----------
    first, second
        Their names.
    rank_correlation
        Spearman's, over all bins; `None` where one of them orders no bins.
    iou
        Intersection over union of the masks of equal area; chance is `area / (2 - area)`.
    """

    first: str
    second: str
    rank_correlation: float | None
    iou: float | None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**vars(self)}


@dataclass(frozen=True, eq=False)
class Comparison:
    """Several explainers on one clip.

    Parameters
    ----------
    clip, waveform
        Its id, and the sound as it came.
    classifier
        The name of what is explained.
    target, prediction
        The label that all explain, and all that the classifier said.
    grid
        On which maps and masks lie.
    area
        The share of all bins that every mask keeps.
    sides, agreement
        One for each explainer, and one for each pair.
    """

    clip: str
    waveform: Waveform
    classifier: str
    target: Target
    prediction: Prediction
    grid: Grid
    area: float
    sides: tuple[Side, ...]
    agreement: tuple[Agreement, ...]

    @property
    def prob(self) -> float:
        """The probability of the explained label in the whole clip."""
        return float(self.prediction.probs[self.target.index])

    def kept(self, side: Side) -> Waveform:
        """Returns what the mask of one explainer lets hear, at the clip's own rate and length."""
        return evidence_of(self.waveform, side.gain, self.grid)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "clip": self.clip,
            "classifier": self.classifier,
            "target": self.target.label,
            "decided": list(self.prediction.decided),
            "prob": self.prob,
            "area": self.area,
            "explainers": [side.to_dict() for side in self.sides],
            "agreement": [pair.to_dict() for pair in self.agreement],
        }


def compare(
    classifier: Classifier,
    clips: Iterable[Clip],
    explainers: Sequence[Given] | Mapping[str, Given],
    *,
    target: str | int | None = None,
    area: float = AREA,
    progress: Progress | None = None,
) -> list[Comparison]:
    """Explains each clip by each explainer, and compares them at equal area.

    Parameters
    ----------
    clips
        Sounds of any rate and length.
    explainers
        Registry names, folders of fitted explainers, or explainers; a mapping gives them names.
    target
        The label that is explained in every clip; `None` is the one that the classifier puts first in each.
    area
        The share of all bins that each mask keeps, between 0 and 1.

    Raises
    ------
    TargetError, ModelError, InputError
        If the label is unknown, or an explainer is or does not fit the classifier: before any work.
    """
    if not 0 < area < 1:
        raise InputError(f"The area is a share between 0 and 1 of all bins, got {area}; 0.1 is a tenth.")
    if target is not None:
        label_index(target, classifier.labels)
    entrants = entrants_of(classifier, explainers, seeds=(0,))
    listed = list(clips)
    return [
        compared(classifier, clip, entrants, target, area, _steps(progress, at, len(listed), len(entrants)))
        for at, clip in enumerate(listed)
    ]


def compared(
    classifier: Classifier,
    clip: Clip,
    entrants: Sequence[Entrant],
    target: str | int | None,
    area: float,
    done: Iterator[None],
) -> Comparison:
    """Returns the comparison of one clip; `done` is advanced after each explainer."""
    waveform = load_clip(clip)
    samples = classifier.prepare(waveform)
    with torch.no_grad():
        prediction = classifier.prediction(classifier.logits(samples)[0])
    resolved = resolve_target(target, prediction)
    bench = _Bench(classifier, waveform, clip.id, resolved, area)
    sides = []
    for entrant in entrants:
        sides.append(bench.side(entrant.name, entrant.explainer))
        next(done, None)
    pairs = tuple(_agreement(first, second, area) for first, second in combinations(sides, 2))
    grid = classifier.grid(samples.shape[1])
    return Comparison(clip.id, waveform, classifier.name, resolved, prediction, grid, area, tuple(sides), pairs)


@dataclass(frozen=True, eq=False)
class _Bench:
    """One clip and label, on which explainers are measured."""

    classifier: Classifier
    waveform: Waveform
    name: str
    target: Target
    area: float

    def side(self, name: str, explainer: Explainer[Any]) -> Side:
        """Returns what an explainer says, and what its mask of equal area does."""
        began = time.perf_counter()
        try:
            explanation = explainer.explain(self.waveform, self.target, name=self.name)
            values = explanation.evidence.ranking(explanation.grid).detach().float().cpu()
        except (EarmarkError, RuntimeError, ValueError) as error:
            return self._failed(name, error, time.perf_counter() - began)
        seconds = time.perf_counter() - began
        ranking = ranking_of(values[None])
        inside, outside, energy = self._scores(ranking)
        clean, flags = cleaned(values[None])
        gain = ranking.mask(self.area)[0]
        return Side(name, explanation, clean[0], gain, inside, outside, energy, seconds, int(flags[0]))

    def _scores(self, ranking: Ranking) -> tuple[float, float, float]:
        """Returns the label's probability with and without the mask, and the share of energy in it."""
        samples = self.classifier.prepare(self.waveform)
        gain = ranking.mask(self.area).to(samples)
        with torch.no_grad():
            inside = masked_logits(self.classifier, samples, gain)
            outside = masked_logits(self.classifier, samples, 1 - gain)
        probs = probabilities(torch.cat([inside, outside]).double(), self.classifier.task)[:, self.target.index]
        energy = energy_kept(gain, self.classifier.stft(samples).abs().square())
        return float(probs[0]), float(probs[1]), float(energy[0])

    def _failed(self, name: str, error: Exception, seconds: float) -> Side:
        shape = self.classifier.grid(self.classifier.prepare(self.waveform).shape[1]).shape
        zeros, nan = torch.zeros(shape), math.nan
        told = f"{type(error).__name__}: {error}"
        return Side(name, None, zeros, zeros, nan, nan, nan, seconds, int(MapFlag.ZERO), told)


def _agreement(first: Side, second: Side, area: float) -> Agreement:
    """Returns how alike two rankings are; nothing where one of them is none."""
    if first.says_nothing or second.says_nothing:
        return Agreement(first.name, second.name, None, None)
    pair = first.values[None], second.values[None]
    correlation, iou = float(rank_correlation(*pair)), float(iou_of_top(*pair, share=area))
    return Agreement(first.name, second.name, correlation, iou)


def _known(value: float) -> float | None:
    """Returns a number, or nothing where it is not defined."""
    return value if math.isfinite(value) else None


def _steps(progress: Progress | None, at: int, n_clips: int, n_explainers: int) -> Iterator[None]:
    """Yields after each explainer of a clip, and says so."""
    for one in range(n_explainers):
        if progress:
            progress(at * n_explainers + one + 1, n_clips * n_explainers)
        yield
