"""The clips that an explainer does best and worst on, with what its mask keeps: for a page, made anew."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ..audio.waveform import Waveform
from ..classifiers.base import Classifier, Grid
from ..explainers.base import Explainer
from ..masking import mask_in
from ..masks import ranking_of, smoothed
from ..types import Clip, Samples
from .against import TRIVIAL
from .batches import Batch
from .entrants import Given, entrants_of
from .loading import Counted, Progress, prepared
from .rows import maps_of
from .scores import Scores
from .summary import methods_of, under_curves

AREA = 0.1  # of the masks that are shown
HELD = 32  # clips whose sound is held, for several explainers show the same ones


@dataclass(frozen=True, eq=False)
class Example:
    """One clip under one explainer.

    Parameters
    ----------
    explainer, clip, target, prob
        Whose it is, and what the classifier says of the clip.
    best
        Whether it is one of the best, or one of the worst.
    value
        Area under the curve of faithfulness.
    sound, kept
        The clip as the classifier hears it, and what the mask lets through.
    gain
        The mask, `[freq, frame]`.
    grid
        The grid that it lies on.
    """

    explainer: str
    clip: str
    target: str
    prob: float
    best: bool
    value: float
    sound: Waveform
    kept: Waveform
    gain: Float[Tensor, "freq frame"]
    grid: Grid


def examples_of(
    scores: Scores,
    classifier: Classifier,
    clips: Sequence[Clip],
    explainers: Sequence[Given] | Mapping[str, Given],
    *,
    most: int = 3,
    progress: Progress | None = None,
) -> Iterator[Example]:
    """Yields the best and worst clips of each explainer by area under faithfulness, the first of each explainer first.

    Parameters
    ----------
    clips, explainers
        Those that were scored; of methods that draw at random, the first seed is shown.
    most
        Best ones, and worst ones, of each explainer.
    """
    by_name = {
        e.name: e.explainer for e in reversed(entrants_of(classifier, explainers, scores.about["config"]["seeds"]))
    }
    by_id = {clip.id: clip for clip in clips}
    sound_of = lru_cache(maxsize=HELD)(lambda clip_id: prepared(classifier, by_id[clip_id], Counted()))
    chosen = chosen_clips(scores, most)
    for done, (name, clip_id, target, value, best) in enumerate(chosen, start=1):
        batch = _row(classifier, by_id[clip_id], sound_of(clip_id), target)
        if batch is not None:
            yield _example(batch, name, by_name[name], value, best, bool(scores.about["config"]["smooth"]))
        if progress:
            progress(done, len(chosen))


def chosen_clips(scores: Scores, most: int = 3) -> list[tuple[str, str, str, float, bool]]:
    """Returns explainer, clip, target, value, and whether it is one of the best; first ranks first."""
    stage, methods = scores.about["config"]["reentry"][0], methods_of(scores)
    found = []
    for place, name in enumerate(n for n in scores.explainers if methods[n] not in TRIVIAL):
        values = _by_clip(under_curves(scores, scores.table.to_pylist()).get((stage, name), {}))
        order = sorted(values, key=lambda key: (-values[key], key))
        n_best, n_worst = min(most, (len(order) + 1) // 2), min(most, len(order) // 2)
        for rank, key in enumerate(order[:n_best]):
            found.append((rank, place, 0, (name, *key, values[key], True)))
        for rank, key in enumerate(reversed(order[len(order) - n_worst :])):
            found.append((rank, place, 1, (name, *key, values[key], False)))
    return [one[3] for one in sorted(found, key=lambda one: one[:3])]


def _by_clip(found: Mapping[tuple[str, str, str, int], Mapping[str, float]]) -> dict[tuple[str, str], float]:
    several: dict[tuple[str, str], list[float]] = {}
    for (_, clip, target, _), values in found.items():
        several.setdefault((clip, target), []).append(values["faithfulness"])
    means = {key: math.fsum(values) / len(values) for key, values in several.items()}
    return {key: mean for key, mean in means.items() if not math.isnan(mean)}


def _row(classifier: Classifier, clip: Clip, samples: Samples | None, target: str) -> Batch | None:
    """Returns the batch of one clip and label, if the clip still is what it was."""
    if samples is None:
        return None
    whole = Batch.of(classifier, [clip], samples)
    rows = (whole.target == list(classifier.labels).index(target)).nonzero().flatten()[:1]
    if not len(rows):
        return None
    return Batch(classifier, (clip,), samples, whole.whole[rows], whole.target[rows], whole.undecided[rows])


def _example(batch: Batch, name: str, explainer: Explainer, value: float, best: bool, smooth: bool) -> Example:
    gain = ranking_of(maps_of(batch, explainer).values).mask(AREA)
    gain = smoothed(gain) if smooth else gain
    prediction = batch.classifier.prediction(batch.whole[0])
    target, rate = int(batch.target[0]), batch.classifier.sample_rate
    with torch.no_grad():
        kept = mask_in(batch.samples, gain, batch.classifier.stft)
    return Example(
        explainer=name,
        clip=batch.clips[0].id,
        target=batch.classifier.labels[target],
        prob=float(prediction.probs[target]),
        best=best,
        value=value,
        sound=Waveform(batch.samples.float().cpu(), rate),
        kept=Waveform(kept.float().cpu(), rate),
        gain=gain[0].float().cpu(),
        grid=batch.grid,
    )
