"""Cross-layer consistency: which channels of two layers are excited by the same clips and regions.

Channels of layers l and m are paired so that the sum of absolute correlations of their pooled activations, over clips
that neither basis was learned from, is largest (Hungarian matching). Then, of what the matching did not see: do paired
channels have the same prototypes (Jaccard overlap of their sets of training clips), and where both name one clip, do
they mean the same moment (intersection over union of seconds)?

What chance gives stands beside each number: any two sets of channels can be matched, and with few clips well. The
correlation is compared with that of a layer whose clips are shuffled, matched anew; the overlap with `n / (2 N - n)`,
for two random sets of n of N clips, and with that of pairs whose channels are shuffled, which keeps clips that excite
many channels. A pair with a negative correlation is one channel turned around: then prototypes of one are compared with
the clips that excite the other least.

The *emergence layer* is the first whose overlap with the last layer is above a threshold, and above chance.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import DataError, InputError, MismatchError
from ...prototypes.bank import Prototype, PrototypeBank
from ...prototypes.cache import FeatureCache, Progress
from ...prototypes.layers import scan_layers
from ...types import Clip, seeded
from .assignment import best_pairs
from .explainer import Apex
from .matchings import Consistency, Matching

MIN_CLIPS = 3  # a correlation of two is always 1
THRESHOLD = 0.25  # two of five prototypes shared
SHUFFLES = 1000  # of pairs, for the overlap
REMATCHES = 3  # of shuffled clips, for the correlation; each is a matching of its own

Activations = Float[Tensor, "clip channel"]


def consistency(
    apexes: Mapping[int, Apex],
    clips: Iterable[Clip],
    *,
    threshold: float = THRESHOLD,
    seed: int = 0,
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Consistency:
    """Returns how consistent the channels of several layers are.

    Costs one forward pass for each clip for all layers together, or none where a cache knows them.

    Parameters
    ----------
    apexes
        By layer, of one classifier and view, as `fit_apex_layers` returns them.
    clips
        That no basis was learned from; some hundreds are useful.
    threshold
        Overlap with the last layer from which a layer counts as its beginning.
    seed
        Of the shuffles.
    cache_dir
        Features that are known, as in `fit_apex`.

    Raises
    ------
    InputError
        If there are less than two layers.
    MismatchError
        If they are of different views.
    DataError
        If there are too few clips.
    """
    layers = tuple(sorted(apexes))
    if len(layers) < 2:
        raise InputError(f"At least two layers are needed to compare them, got {len(layers)}; fit more.")
    view = apexes[layers[0]].config.view
    if len({apex.config.view for apex in apexes.values()}) > 1:
        raise MismatchError("All layers need an APEX of one view to be compared; fit them with the same settings.")
    active = pooled_activations([apexes[layer] for layer in layers], clips, cache_dir, progress)
    n_clips = len(active[0])
    if n_clips < MIN_CLIPS:
        raise DataError(f"At least {MIN_CLIPS} clips are needed to correlate channels, got {n_clips}; add some.")
    parts = {layer: _Part(layer, one, apexes[layer].bank) for layer, one in zip(layers, active, strict=True)}
    matchings = tuple(_matched(parts[a], parts[b], seed) for a, b in combinations(layers, 2))
    return Consistency(apexes[layers[0]].classifier.name, view, layers, matchings, n_clips, threshold, seed)


def pooled_activations(
    apexes: Sequence[Apex],
    clips: Iterable[Clip],
    cache_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> list[Activations]:
    """Returns `U GAP(Z)` of each layer for the clips that all of them can use, float64."""
    clips = tuple(clips)
    if not clips:
        return [torch.zeros(0, len(apex.U), dtype=torch.float64) for apex in apexes]
    with TemporaryDirectory(prefix="earmark-") as scratch:
        folder = cache_dir or scratch
        caches = [FeatureCache(apex.classifier, folder, "marginals", cache_gb=0) for apex in apexes]
        scan_layers(caches, clips, progress)
        scanned = [cache.scan(clips) for cache in caches]
        common = set.intersection(*({clip.id for clip in one.clips} for one in scanned))
        kept = [torch.tensor([clip.id in common for clip in one.clips]) for one in scanned]
        rows = zip(apexes, scanned, kept, strict=True)
        return [one.pooled[keep].double() @ apex.U.T for apex, one, keep in rows]


class _Part:
    """What the comparison knows of a layer: activations, standardized, and the clips that its channels name."""

    def __init__(self, layer: int, active: Activations, bank: PrototypeBank) -> None:
        self.layer, self.bank, self.units = layer, bank, _units(active)
        channels = range(bank.n_channels)
        self.most = [_moments(bank.of(channel)) for channel in channels]
        self.least = [_moments(bank.of(channel, positive=False)) for channel in channels]


Moments = dict[str, tuple[float, float] | None]  # by the hash of the sound: from when to when, if it is known


def _matched(part: _Part, other: _Part, seed: int) -> Matching:
    """Pairs the channels of two layers and measures what the pairs share."""
    correlations = part.units.T @ other.units
    channels, others = best_pairs(correlations.abs())
    chance = [_shuffled_correlation(part, other, seed, draw) for draw in range(REMATCHES)]
    overlaps = _overlaps(part, other, correlations < 0)
    found = overlaps[channels, others]
    shuffled = _shuffled_overlaps(overlaps, channels, others, seeded(seed, part.layer, other.layer))
    p_value = (1 + int((shuffled >= float(found.mean()) - 1e-12).sum())) / (1 + len(shuffled))
    turned = (correlations[channels, others] < 0).tolist()
    places = [_shared_ious(part, other, *pair) for pair in zip(channels.tolist(), others.tolist(), turned, strict=True)]
    return Matching(
        layer=part.layer,
        other=other.layer,
        channels=channels,
        others=others,
        correlations=correlations[channels, others],
        overlaps=found,
        ious=torch.tensor([sum(one) / len(one) if one else math.nan for one in places], dtype=torch.float64),
        correlation_chance=sum(chance) / len(chance),
        overlap_chance=_random_overlap(part.bank, other.bank),
        overlap_shuffled=float(shuffled.mean()),
        p_value=p_value,
        n_shared=sum(map(len, places)),
    )


def _units(active: Activations) -> Activations:
    """Returns activations whose products are correlations; those of a constant channel are 0."""
    centered = active - active.mean(0)
    norms = centered.norm(dim=0)
    return torch.where(norms > 1e-12 * active.norm(dim=0).clamp_min(1e-300), centered / norms.clamp_min(1e-300), 0.0)


def _shuffled_correlation(part: _Part, other: _Part, seed: int, draw: int) -> float:
    """Returns the mean correlation of matched channels if the clips of one layer are shuffled."""
    order = torch.randperm(len(other.units), generator=seeded(seed, part.layer, other.layer, 1 + draw))
    correlations = (part.units.T @ other.units[order]).abs()
    return float(correlations[best_pairs(correlations)].mean())


# -- prototypes -----------------------------------------------------------------------------------------------------


def _overlaps(part: _Part, other: _Part, turned: Tensor) -> Float[Tensor, "channel other"]:
    """Returns the Jaccard overlap of prototypes of every two channels; `turned` says which pairs are opposite."""
    names = sorted({name for one in (part, other) for sets in (one.most, one.least) for each in sets for name in each})
    rows = {name: row for row, name in enumerate(names)}
    most, other_most = (_incidence(one.most, rows) for one in (part, other))
    least, other_least = (_incidence(one.least, rows) for one in (part, other))
    opposite = (_jaccard(most, other_least) + _jaccard(least, other_most)) / 2
    return torch.where(turned, opposite, _jaccard(most, other_most))


def _incidence(sets: Sequence[Mapping[str, object]], rows: Mapping[str, int]) -> Float[Tensor, "channel clip"]:
    found = torch.zeros(len(sets), len(rows), dtype=torch.float64)
    for channel, names in enumerate(sets):
        found[channel, [rows[name] for name in names]] = 1
    return found


def _jaccard(
    sets: Float[Tensor, "channel clip"], others: Float[Tensor, "other clip"]
) -> Float[Tensor, "channel other"]:
    """Returns shared over all members; two empty sets share nothing."""
    shared = sets @ others.T
    return shared / (sets.sum(1)[:, None] + others.sum(1)[None] - shared).clamp_min(1)


def _shuffled_overlaps(
    overlaps: Float[Tensor, "channel other"],
    channels: Int[Tensor, " pair"],
    others: Int[Tensor, " pair"],
    generator: torch.Generator,
) -> Float[Tensor, " shuffle"]:
    """Returns the mean overlap of pairs whose second channels are shuffled, many times."""
    draws = (others[torch.randperm(len(others), generator=generator)] for _ in range(SHUFFLES))
    return torch.stack([overlaps[channels, drawn].mean() for drawn in draws])


def _random_overlap(bank: PrototypeBank, other: PrototypeBank) -> float:
    """Returns `n / (2 N - n)`: the overlap of two random sets of n of the N clips that both chose from."""
    n, n_clips = (bank.rules.size + other.rules.size) / 2, max(bank.n_clips, other.n_clips)
    return min(n / (2 * n_clips - n), 1.0)


def _moments(prototypes: Iterable[Prototype]) -> Moments:
    """Returns from when to when each prototype's region is, by the hash of its sound.

    That of a cross is its column. A whole row has no moment, nor has a clip that merely excites a channel little.
    """
    boxes = {p.sha256: None if p.frame is None or p.sign == "weakest" else p.regions[0] for p in prototypes}
    return {name: None if box is None else (box.start_s, box.end_s) for name, box in boxes.items()}


def _shared_ious(part: _Part, other: _Part, channel: int, other_channel: int, turned: bool) -> list[float]:
    """Returns the intersection over union of seconds in each clip that both channels name."""
    pairs = [(part.most, other.least), (part.least, other.most)] if turned else [(part.most, other.most)]
    found = []
    for sets, other_sets in pairs:
        mine, theirs = sets[channel], other_sets[other_channel]
        for name in sorted(mine.keys() & theirs.keys()):
            a, b = mine[name], theirs[name]
            if a is not None and b is not None:
                found.append(_iou(a, b))
    return found


def _iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    union = (a[1] - a[0]) + (b[1] - b[0]) - shared
    return shared / union if union > 0 else float(a == b)
