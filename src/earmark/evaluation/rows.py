"""What one explainer scores on one batch of clips: rows of numbers, one per clip, target, protocol, area and stage.

Protocols: `soft` is the native mask as it is; `matched` keeps the same share of all bins for every method; `curve` is
insertion and deletion; `localization` compares with known truth, where a clip has events; `ideal` with the ideal ratio
mask of a mixture without events. Masks of mixtures are also applied to their parts (`SEPARATION`), where the explained
label is one of the source. A column that a protocol does not fill is empty.

Evidence that is a sound of its own (`Resynthesis`) is scored as it is heard: at the stage `waveform`, the native mask's
row has the decisions on that sound, and on what is left of the clip without it; areas and shapes are taken from the
map that is derived from the sound.

Where an explainer fails on a clip, that clip alone has a map of zeros, and its rows say why.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..evidence import Attribution, Resynthesis
from ..explainers.base import Explainer
from ..fills import Fill
from ..masks import MapFlag, Ranking, cleaned, mask_of, ranking_of, smoothed
from ..metrics import METRICS
from ..metrics.faithfulness import Passes, flags_of
from ..metrics.insertion import N_STEPS, InsertionDeletion
from ..metrics.localization import tolerance_of
from ..metrics.matched import Curves, scored
from ..types import Clip, probabilities
from .batches import Batch, Plane, Reentry, mixture_of
from .columns import IDEAL, PASSES, PLACES, SEPARATION, SHAPES, STEPS_LOGIT
from .columns import STEPS as STEP_NAMES
from .config import EvaluateConfig

Row = dict[str, Any]

STEPS = tuple(step / N_STEPS for step in range(N_STEPS + 1))


def rows_of(batch: Batch, explainer: Explainer[Any], config: EvaluateConfig, *, name: str, seed: int) -> list[Row]:
    """Returns all rows of an explainer on a batch.

    Parameters
    ----------
    name, seed
        By which the rows are known.
    """
    maps = maps_of(batch, explainer)
    about = [
        {**told, "explainer": name, "seed": seed, "failed": failed, "completeness_gap": gap}
        for told, failed, gap in zip(_about(batch), maps.failed, maps.gaps, strict=True)
    ]
    ranking = ranking_of(maps.values)
    rows: list[Row] = []
    for stage in config.reentry:
        for protocol, area, columns in _staged(batch, maps, ranking, batch.reentry(stage, Fill(config.fill)), config):
            rows += _joined(about, columns, protocol=protocol, area=area, reentry=stage)
    if any(clip.events for clip in batch.clips):
        found = _joined(about, _localized(batch, maps), protocol="localization", area=None, reentry=None)
        rows += [row for row, clip in zip(found, batch.clips, strict=True) if clip.events]
    if any(_without_events(clip) for clip in batch.clips):
        found = _joined(about, _ideal(batch, maps), protocol="ideal", area=None, reentry=None)
        rows += [row for row, clip in zip(found, batch.clips, strict=True) if _without_events(clip)]
    return rows


def _without_events(clip: Clip) -> bool:
    return mixture_of(clip) is not None and not clip.events


# -- maps -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Maps:
    """What an explainer says of a batch.

    Parameters
    ----------
    gains, values
        Native masks, and the values by which bins are ranked; zeros where the explainer failed.
    failed
        Why it failed, or `None`, for each row.
    gaps
        How far values are from summing to the difference of scores, relative to it, where a method says so.
    kept
        `[sample]`, the sound of evidence that is one, or `None`, for each row.
    """

    gains: Plane
    values: Plane
    failed: tuple[str | None, ...]
    gaps: tuple[float | None, ...]
    kept: tuple[Tensor | None, ...]


def maps_of(batch: Batch, explainer: Explainer[Any]) -> Maps:
    """Returns the maps of a batch; after a failure each row is tried alone, so that only what fails is lost."""
    every = batch.every.tolist()
    try:
        return _evidence(batch, explainer, every)
    except Exception:
        alone = [_alone(batch, explainer, row) for row in every]
    gains, values = torch.cat([one.gains for one in alone]), torch.cat([one.values for one in alone])
    failed, gaps, kept = (tuple(getattr(one, name)[0] for one in alone) for name in ("failed", "gaps", "kept"))
    return Maps(gains, values, failed, gaps, kept)


def _alone(batch: Batch, explainer: Explainer[Any], row: int) -> Maps:
    try:
        return _evidence(batch, explainer, [row])
    except Exception as error:
        zeros = torch.zeros(1, *batch.grid.shape, device=batch.samples.device)
        return Maps(zeros, zeros, (f"{type(error).__name__}: {error}",), (None,), (None,))


def _evidence(batch: Batch, explainer: Explainer[Any], rows: list[int]) -> Maps:
    targets = batch.targets()
    evidence = explainer.evidence(batch.samples[rows], [targets[row] for row in rows])
    gains = torch.stack([one.stft_gain(batch.grid) for one in evidence]).float()
    values = torch.stack([one.ranking(batch.grid) for one in evidence]).float()
    if not gains.shape == values.shape == (len(rows), *batch.grid.shape):
        expected = (len(rows), *batch.grid.shape)
        raise ValueError(f"maps of shape {expected} were expected, got {tuple(gains.shape)}, {tuple(values.shape)}")
    gaps = tuple(one.measured.get("gap") if isinstance(one, Attribution) else None for one in evidence)
    kept = tuple(_sound(one) for one in evidence)
    device = batch.samples.device
    return Maps(gains.to(device), values.to(device), (None,) * len(rows), gaps, kept)


def _sound(evidence: Any) -> Tensor | None:
    """Returns the mono samples of evidence that is a sound of its own."""
    return evidence.kept.mono().samples[0] if isinstance(evidence, Resynthesis) else None


def _about(batch: Batch) -> list[Row]:
    """Returns what every row says of its clip and target."""
    at = batch.target[:, None]
    probs = probabilities(batch.whole.double(), batch.classifier.task).gather(1, at)[:, 0].tolist()
    logits = batch.whole.gather(1, at)[:, 0].tolist()
    labels = [batch.classifier.labels[i] for i in batch.target.tolist()]
    return [
        {
            "clip": clip.id,
            "group": clip.group or clip.id,
            "fold": clip.fold,
            "labels": ";".join(clip.labels),
            "target": label,
            "correct": label in clip.labels if clip.labels else None,
            "undecided": undecided,
            "prob": prob,
            "logit": logit,
            "silence_prob": silence,
            "mixture": mixture_of(clip),
        }
        for clip, label, undecided, prob, logit, silence in zip(
            batch.clips, labels, batch.undecided.tolist(), probs, logits, batch.silence_prob.tolist(), strict=True
        )
    ]


# -- protocols ------------------------------------------------------------------------------------------------------

Columns = Mapping[str, Tensor]


def _staged(
    batch: Batch, maps: Maps, ranking: Ranking, score: Reentry, config: EvaluateConfig
) -> Iterator[tuple[str, float | None, Columns]]:
    """Yields protocol, area and columns at one stage."""
    if config.soft:
        yield "soft", None, _soft(batch, maps, score)
    shares = {*(() if config.smooth else config.areas), *(STEPS if config.insertion else ())}
    plain = Ladder.of(ranking, score, shares, config.batch)
    edges = Ladder.of(ranking, score, set(config.areas), config.batch, smoothed) if config.smooth else plain
    for area, columns in _matched(batch, ranking, edges, config.areas):
        yield "matched", area, columns
    if config.insertion:
        yield "curve", None, _curve(batch, ranking, plain)


@dataclass(frozen=True, eq=False)
class Ladder:
    """What the first bins of each map score at several shares, kept and left out; protocols share its steps.

    Parameters
    ----------
    shares
        Rising, from 0 to 1.
    inside, outside
        Logits `[row, share, label]`. Maps that say nothing are climbed in a random order.
    edge
        What softens the edges of masks, if anything.
    """

    shares: tuple[float, ...]
    inside: Float[Tensor, "row share label"]
    outside: Float[Tensor, "row share label"]
    edge: Callable[[Plane], Plane]

    @classmethod
    def of(
        cls,
        ranking: Ranking,
        score: Reentry,
        shares: set[float],
        batch_size: int,
        edge: Callable[[Plane], Plane] = lambda gains: gains,
    ) -> "Ladder":
        """Returns the steps at shares; both ends are the batch's own."""
        ends = score.ends
        inside = outside = ends[:, :0]
        if between := sorted(shares - {0.0, 1.0}):
            counts = ranking.counts(between, keep_void=True)
            inside = scored(ranking, counts, lambda rows, gains: score(rows, edge(gains)), batch_size)
            outside = scored(ranking, counts, lambda rows, gains: score(rows, 1 - edge(gains)), batch_size)
        return cls(
            (0.0, *between, 1.0),
            torch.cat([ends[:, :1], inside, ends[:, 1:]], 1),
            torch.cat([ends[:, 1:], outside, ends[:, :1]], 1),
            edge,
        )

    def places(self, shares: Sequence[float]) -> list[int]:
        """Returns the positions of shares."""
        return [self.shares.index(share) for share in shares]


def _soft(batch: Batch, maps: Maps, score: Reentry) -> Columns:
    masks = mask_of(maps.gains, "native")
    inside, outside = _as_heard(batch, maps, score) or _masked(batch, masks.gain, score)
    passes = Passes(batch.whole, batch.target, inside, outside, batch.classifier.task, batch.classifier.threshold)
    shapes = {name: _metric(name)(masks.gain) for name in SHAPES}
    energy = {"energy_kept": _metric("energy_kept")(masks.gain, batch.power)}
    return {**_passed(passes), **shapes, **energy, **_separated(batch, masks.gain), "map_flags": masks.flags}


def _masked(batch: Batch, gains: Plane, score: Reentry) -> tuple[Tensor, Tensor]:
    return score(batch.every, gains), score(batch.every, 1 - gains)


def _as_heard(batch: Batch, maps: Maps, score: Reentry) -> tuple[Tensor, Tensor] | None:
    """Returns the logits of sounds that are evidence themselves and of the rest of the clips; none where masks are."""
    sounds = [sound for sound in maps.kept if sound is not None]
    if len(sounds) < len(batch) or score.stage != "waveform":
        return None
    kept = torch.stack(sounds).to(batch.samples)
    with torch.no_grad():
        return batch.classifier.logits(kept), batch.classifier.logits(batch.samples - kept)


def _matched(batch: Batch, ranking: Ranking, ladder: Ladder, areas: Sequence[float]) -> Iterator[tuple[float, Columns]]:
    """Yields the columns of each area; a map that says nothing keeps nothing."""
    at, counts = ladder.places(areas), ranking.counts(areas)
    void = ranking.void[:, None, None]
    inside = torch.where(void, ladder.inside[:, :1], ladder.inside[:, at])
    outside = torch.where(void, ladder.outside[:, :1], ladder.outside[:, at])
    curves = Curves(tuple(areas), inside, outside, counts / ranking.ranks[0].numel(), ranking.flags)
    passes = curves.passes(batch.whole, batch.target, batch.classifier.task, batch.classifier.threshold)
    columns = {name: numbers.view(-1, len(areas)) for name, numbers in _passed(passes).items()}
    for k, area in enumerate(areas):
        gains = ladder.edge(ranking.first(batch.every, counts[:, k]))
        shape = {"energy_kept": _metric("energy_kept")(gains, batch.power), "mask_mean": _metric("mask_mean")(gains)}
        told = {**{n: numbers[:, k] for n, numbers in columns.items()}, **shape, **_separated(batch, gains)}
        yield area, {**told, "map_flags": ranking.flags}


def _curve(batch: Batch, ranking: Ranking, ladder: Ladder) -> Columns:
    at = ladder.places(STEPS)
    found = InsertionDeletion(ladder.inside[:, at], ladder.outside[:, at], ranking.flags)
    probs = found.areas(batch.target, batch.classifier.task)
    logits = found.areas(batch.target, batch.classifier.task, of="logit")
    by_logit = dict(zip(STEPS_LOGIT, logits, strict=True))
    return {**dict(zip(STEP_NAMES, probs, strict=True)), **by_logit, "map_flags": ranking.flags}


def _localized(batch: Batch, maps: Maps) -> Columns:
    """Returns how maps lie to the truth; a row without truth, or with nothing else, has no value."""
    clean, flags = cleaned(maps.values)
    tolerance = tolerance_of(batch.grid)
    found = {
        name: _metric(name)(clean, batch.truth, tolerance) if name == "pointing" else _metric(name)(clean, batch.truth)
        for name in PLACES
        if name != "energy_inside"
    }
    energy = _metric("energy_inside")(mask_of(maps.gains, "native").gain, batch.truth, batch.power)
    says_nothing = (flags & (MapFlag.ZERO | MapFlag.NOT_FINITE)).bool()
    area = batch.truth.double().mean((1, 2))
    chance = {"localization_auc": area.new_full((), 0.5), "localization_precision": area}
    nothing = {name: chance.get(name, area.new_zeros(())) for name in found}
    told = {name: torch.where(says_nothing & ~v.isnan(), nothing[name], v.double()) for name, v in found.items()}
    return {**told, "energy_inside": energy, "truth_area": area, "map_flags": flags}


def _separated(batch: Batch, gains: Plane) -> Columns:
    """Returns what masks keep of a mixture's parts; nothing of a row whose label is not one of the source."""
    parts = batch.parts
    if parts is None:
        return {}
    found = {name: _metric(name)(gains, parts.source, parts.contaminant) for name in SEPARATION}
    return {name: torch.where(parts.known, numbers, torch.nan) for name, numbers in found.items()}


def _ideal(batch: Batch, maps: Maps) -> Columns:
    """Returns how maps lie to the ideal ratio mask; one that says nothing is at chance."""
    parts = batch.parts
    assert parts is not None
    clean, flags = cleaned(maps.values)
    says_nothing = (flags & (MapFlag.ZERO | MapFlag.NOT_FINITE)).bool()
    auc, correlation = (_metric(name)(clean, parts.source, parts.contaminant).double() for name in IDEAL)
    found = dict(zip(IDEAL, (auc, torch.where(says_nothing, 0.0, correlation)), strict=True))
    told = {name: torch.where(parts.known, numbers, torch.nan) for name, numbers in found.items()}
    return {**told, "map_flags": flags}


def _metric(name: str) -> Any:
    module, _, attribute = METRICS[name].partition(":")
    return getattr(import_module(module), attribute)


def _passed(passes: Passes) -> dict[str, Tensor]:
    names = [name for name in PASSES if name != "average_drop_legacy" or passes.task == "multiclass"]
    return {**{name: _metric(name)(passes) for name in names}, "pass_flags": flags_of(passes)}


def _joined(about: list[Row], columns: Columns, **same: Any) -> list[Row]:
    """Returns one row per clip of the columns, beside what is the same for all of them."""
    lists = {name: numbers.tolist() for name, numbers in columns.items()}
    return [{**one, **same, **{name: values[i] for name, values in lists.items()}} for i, one in enumerate(about)]
