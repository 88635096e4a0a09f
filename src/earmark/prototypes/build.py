"""Builds a prototype bank: candidates in one pass over pooled vectors, copies dropped, regions found.

Clips are scored each as if alone and are never padded, so that no cell of padding can become a prototype. Of several
windows or copies of one recording (of one `group`) one is kept.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..classifiers.base import Classifier
from ..classifiers.geometry import Geometry
from ..types import Clip, Region, View
from .bank import BankRules, Basis, Prototype, PrototypeBank, Sign, basis_hash
from .cache import ScannedClips
from .scan import strongest_and_weakest

DEAD_PURITY = 0.1  # below it, a channel shows something else where it is strongest
MEAN_CHUNK = 4096  # clips whose pooled vectors are averaged at a time

_Cell = tuple[int | None, int | None]
Alike = Callable[[Float[Tensor, "clip channel"]], Float[Tensor, "clip channel"]]


@runtime_checkable
class Found(Protocol):
    """Where channels are strongest in a clip; -1 is the whole axis (see `explainers.apex.views.Found`)."""

    @property
    def freq(self) -> Int[Tensor, " pick"]:
        """Rows."""

    @property
    def frame(self) -> Int[Tensor, " pick"]:
        """Frames."""

    @property
    def vectors(self) -> Float[Tensor, "pick channel"]:
        """The vectors p, in the basis."""

    @property
    def purity(self) -> Float[Tensor, " pick"]:
        """Of these vectors, each for its own channel."""


#: Yields, for each position of a clip, where the given channels are strongest in it, or (second argument) weakest: then
#: vectors are turned around, so that the purity of a channel that is strongly negative there is near 1.
Locate = Callable[[dict[int, list[int]], bool], Iterable[tuple[int, Found]]]


@dataclass(frozen=True)
class _Pick:
    """A clip chosen for a channel, before it is located."""

    channel: int
    rank: int
    sign: Sign
    position: int
    score: float


def build_bank(
    scanned: ScannedClips,
    U: Basis,
    locate: Locate,
    rules: BankRules,
    classifier: Classifier,
    *,
    duplicates: Sequence[tuple[int, int]] = (),
    alike: Alike | None = None,
) -> PrototypeBank:
    """Returns the bank of a basis.

    Parameters
    ----------
    scanned
        The clips to choose from, with their pooled vectors.
    U
        Float64, so that scores do not depend on how a product is summed.
    locate
        Finds channels in clips, by the rules' view.
    duplicates
        Recorded, see `disentangle.duplicate_channels`.
    alike
        What is done to pooled vectors before near copies are told by their cosine; nothing if it is not given.
    """
    picks, notes = _choose(scanned, U, rules, alike)
    found = _located(picks, locate)
    names = relative_paths(scanned.clips)
    labels, counts, means = class_means(scanned)
    bank = PrototypeBank(
        prototypes=tuple(
            _prototype(pick, scanned, names, at, classifier, rules.view) for pick, at in zip(picks, found, strict=True)
        ),
        vectors=torch.stack([at.vector for at in found]).float(),
        rules=rules,
        fingerprint=classifier.fingerprint,
        basis_sha256=basis_hash(U),
        n_channels=len(U),
        n_clips=len(scanned),
        duplicates=tuple(duplicates),
        class_labels=labels,
        class_counts=counts,
        class_means=means @ U.double().T.to(means),
        notes={**notes, "broken": list(scanned.broken)},
    )
    return _summarized(bank)


@dataclass(frozen=True, eq=False)
class _At:
    """Where one pick is."""

    cell: _Cell
    purity: float
    vector: Tensor


def _located(picks: list[_Pick], locate: Locate) -> list[_At]:
    """Returns where each pick is, asking for each clip once: a negative one where its channel is weakest."""
    found: dict[tuple[bool, int, int], _At] = {}
    for least in (False, True):
        wanted: dict[int, list[int]] = {}
        for pick in picks:
            if (pick.sign == "negative") == least:
                wanted.setdefault(pick.position, []).append(pick.channel)
        for position, at in locate(wanted, least) if wanted else ():
            found |= {(least, position, c): row for c, row in zip(wanted[position], _rows_of(at), strict=True)}
    return [found[pick.sign == "negative", pick.position, pick.channel] for pick in picks]


def _rows_of(found: Found) -> Iterator[_At]:
    """Yields cell, purity and vector of each channel."""
    rows = zip(found.freq.tolist(), found.frame.tolist(), found.purity.tolist(), found.vectors, strict=True)
    for freq, frame, purity, vector in rows:
        yield _At((None if freq < 0 else freq, None if frame < 0 else frame), purity, vector)


def cell_regions(geometry: Geometry, view: View, cell: _Cell) -> tuple[Region, ...]:
    """Returns the boxes of a cell: one, or for time-frequency the column and then the row."""
    freq, frame = cell
    if view == "time-frequency":
        return geometry.box(None, frame), geometry.box(freq, None)
    return (geometry.box(freq, frame),)


def _prototype(
    pick: _Pick, scanned: ScannedClips, names: Mapping[str, str], at: _At, classifier: Classifier, view: View
) -> Prototype:
    clip, entry = scanned.clips[pick.position], scanned.entries[pick.position]
    freq, frame = at.cell
    return Prototype(
        channel=pick.channel,
        rank=pick.rank,
        sign=pick.sign,
        clip_id=clip.id,
        path=names.get(clip.id),
        sha256=entry.sha256,
        start_s=clip.start_s,
        end_s=clip.end_s,
        duration_s=entry.duration_s,
        freq=freq,
        frame=frame,
        regions=cell_regions(classifier.geometry(entry.n_samples), view, at.cell),
        score=pick.score,
        purity=at.purity,
        label=";".join(clip.labels),
        group=group_of(clip),
    )


def group_of(clip: Clip) -> str:
    """Returns the recording that a clip is of: its group, or its own id, as where groups are held out."""
    return clip.id if clip.group is None else clip.group


def relative_paths(clips: Iterable[Clip]) -> dict[str, str]:
    """Returns the file of each clip relative to the folder that holds all of them, with `/`, by clip id."""
    files = {clip.id: clip.source for clip in clips if isinstance(clip.source, Path)}
    if not files:
        return {}
    root = os.path.commonpath([path.absolute().parent for path in files.values()])
    return {name: path.absolute().relative_to(root).as_posix() for name, path in files.items()}


def class_means(scanned: ScannedClips) -> tuple[tuple[str, ...], tuple[int, ...], Float[Tensor, "label channel"]]:
    """Returns the labels of clips, sorted, how many clips carry each, and the mean of their pooled vectors.

    A clip with several labels counts for each. Means are float64, in the model's own basis, taken in one pass over
    `MEAN_CHUNK` clips at a time.
    """
    counts = Counter(label for clip in scanned.clips for label in set(clip.labels))
    labels = tuple(sorted(counts))
    rows = {label: row for row, label in enumerate(labels)}
    sums: Tensor | None = None
    for positions, vectors in scanned.blocks():
        for part, pooled in zip(positions.split(MEAN_CHUNK), vectors.split(MEAN_CHUNK), strict=True):
            carries = torch.zeros(len(labels), len(pooled), dtype=torch.float64)
            for column, position in enumerate(part.tolist()):
                carries[[rows[label] for label in scanned.clips[position].labels], column] = 1
            more = carries @ pooled.double()
            sums = more if sums is None else sums + more
    assert sums is not None  # there is at least one clip
    n_clips = tuple(counts[label] for label in labels)
    return labels, n_clips, sums / torch.tensor(n_clips, dtype=torch.float64)[:, None]


def _choose(
    scanned: ScannedClips, U: Basis, rules: BankRules, alike: Alike | None = None
) -> tuple[list[_Pick], dict[str, Any]]:
    """Returns what is kept of each channel's candidates, and how often less than asked for was left."""
    strongest, weakest = strongest_and_weakest(scanned, U, rules.size * rules.candidates, rules.selection)
    groups = [group_of(clip) for clip in scanned.clips]
    picks: list[_Pick] = []
    short = Counter[str]()
    for channel in range(len(U)):
        best = _distinct(scanned, strongest.ids[:, channel].tolist(), groups, rules, alike)
        others = [p for p in weakest.ids[:, channel].tolist() if p not in best]
        worst = _distinct(scanned, others, groups, rules, alike)
        scores = dict(zip(strongest.ids[:, channel].tolist(), strongest.scores[:, channel].tolist(), strict=True))
        scores |= dict(zip(weakest.ids[:, channel].tolist(), weakest.scores[:, channel].tolist(), strict=True))
        picks += [_Pick(channel, rank, "positive", p, scores[p]) for rank, p in enumerate(best)]
        picks += _least(channel, worst, scores)
        short += Counter(positive=len(best) < rules.size, least=len(worst) < rules.size)
    return picks, {"channels_short_of_positive": short["positive"], "channels_short_of_least": short["least"]}


def _least(channel: int, positions: list[int], scores: Mapping[int, float]) -> Iterator[_Pick]:
    """Yields the clips that excite a channel least: negative ones first, since scores rise."""
    signs: list[Sign] = ["negative" if scores[p] < 0 else "weakest" for p in positions]
    for i, (position, sign) in enumerate(zip(positions, signs, strict=True)):
        yield _Pick(channel, i - (signs.index("weakest") if sign == "weakest" else 0), sign, position, scores[position])


def _distinct(
    scanned: ScannedClips,
    positions: list[int],
    groups: Sequence[str],
    rules: BankRules,
    alike: Alike | None = None,
) -> list[int]:
    """Returns the first candidates, at most `per_group` of a recording and no near copy of one before."""
    if not positions:
        return []
    vectors = torch.stack([scanned.entries.vector(position) for position in positions]).double()
    vectors = vectors if alike is None else alike(vectors)
    units = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-30)
    cosines = units @ units.T
    limit = 2.0 if rules.near_copy_cosine is None else rules.near_copy_cosine
    kept: list[int] = []
    n_of_group = Counter[str]()
    for i, position in enumerate(positions):
        group = groups[position]
        full = rules.per_group is not None and n_of_group[group] >= rules.per_group
        if full or bool((cosines[i, kept] > limit).any()):
            continue
        kept.append(i)
        n_of_group[group] += 1
        if len(kept) == rules.size:
            break
    return [positions[i] for i in kept]


def is_dead(purity: float, best: float) -> bool:
    """Returns whether a channel is dead: impure where it is strongest, or with a best score not above 0."""
    return purity < DEAD_PURITY or best <= 0


def _summarized(bank: PrototypeBank) -> PrototypeBank:
    """Returns the bank with what is known of each channel as a whole."""
    positive = [bank.of(channel) for channel in range(bank.n_channels)]
    histograms = [Counter(label for p in of for label in p.label.split(";") if label) for of in positive]
    purity = [sum(p.purity for p in of) / max(len(of), 1) for of in positive]
    shares = [max(h.values(), default=0) / max(len(of), 1) for h, of in zip(histograms, positive, strict=True)]
    best = [max((p.score for p in of), default=0.0) for of in positive]
    dead = (k for k in range(bank.n_channels) if is_dead(purity[k], best[k]))
    return replace(
        bank,
        class_histograms=tuple(dict(sorted(h.items())) for h in histograms),
        class_purity=tuple(shares),
        purity=tuple(purity),
        dead=tuple(dead),
    )
