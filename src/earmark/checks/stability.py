"""stability: does a map stay what it is when the sound hardly changes, and move where the sound moves?

Each clip is changed a little, explained again for the same label, and its map taken back to the clip's own grid before
it is compared. Beside each number stand the same clip under another seed of the explainer (as alike as it can be) and
another clip of the same label (as alike as any two are). A map should move with the sound: a shift of the map by the
shift of the sound is what is asked for, not a small number as such.

Stable is not faithful: the energy of the clip is as stable as any map can be.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..classifiers.base import Classifier, Grid
from ..errors import EarmarkError
from ..evidence import Evidence
from ..explainers.base import Explainer
from ..metrics.stability import (
    confidence_change,
    same_decision,
)
from ..metrics.transforms import Change
from ..types import Clip, Logits, Samples, Target
from .config import CheckConfig
from .memory import Memory
from .moved import NAN, STAYS, Row, Values, compared, known, prototypes_alike
from .rebinding import draws, with_seed
from .results import CheckResult, Progress
from .stability_config import StabilityConfig
from .subject import Subject

OTHER_SEED, OTHER_CLIP = "other seed", "other clip"


def check(subject: Subject, config: CheckConfig, progress: Progress | None = None) -> CheckResult:
    """Says how much the maps of one explainer change under small changes of the sound."""
    from .stability_words import result_of

    changes = config.stability
    rows = _rows(subject, {subject.name: subject.explainer}, changes, subject.memory, progress)
    about = {"stability": changes.to_dict(), **subject.coverage(), "random": subject.is_random}
    return result_of(rows[subject.name], about)


def stability(
    classifier: Classifier,
    explainers: Mapping[str, Explainer],
    clips: Sequence[Clip],
    config: StabilityConfig | None = None,
    *,
    batch: int = 16,
    memory: Memory | None = None,
    progress: Progress | None = None,
) -> dict[str, list[Row]]:
    """Returns the rows of several explainers; each changed sound is made once, and shared by all of them.

    Parameters
    ----------
    clips
        What is explained; the label that the classifier puts first is, also after any change.
    batch
        Clips changed and explained together.
    memory
        Where finished batches are kept, so that a killed run goes on.

    Returns
    -------
    rows
        By explainer, one for each clip and change, and for each clip and reference; `stability_words` sums them up. A
        number that is not defined is NaN, and why is in `failed`.
    """
    subject = Subject(classifier, next(iter(explainers.values())), clips=clips, batch=batch)
    return _rows(subject, explainers, config or StabilityConfig(), memory or Memory(None), progress)


def _rows(
    subject: Subject,
    explainers: Mapping[str, Explainer],
    config: StabilityConfig,
    memory: Memory,
    progress: Progress | None,
) -> dict[str, list[Row]]:
    batches = list(subject.batches())
    partners = _partners(subject, batches)
    steps = _Steps(progress, len(batches) * len(explainers) * (len(config.changes()) + 1))
    found: dict[str, list[Row]] = {name: [] for name in explainers}
    for at, (clips, samples) in enumerate(batches):
        job = _Job(subject, clips, samples, partners[at], config)
        rows = memory.json(f"stability-{at}", lambda job=job: job.rows(explainers, steps))  # type: ignore[misc]
        steps.done = (at + 1) * (steps.total // len(batches))
        for name in explainers:
            found[name] += [
                {k: NAN if v is None and k != "failed" else v for k, v in row.items()} for row in rows[name]
            ]
    return found


@dataclass
class _Steps:
    """Counts maps of batches."""

    progress: Progress | None
    total: int
    done: int = 0

    def add(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)


def _partners(subject: Subject, batches: Sequence[tuple[tuple[Clip, ...], Samples]]) -> list[list[Tensor | None]]:
    """Returns for each clip the next one of the same decided label and length, from another recording."""
    flat = [
        (clip.group or clip.id, target.index, samples[i : i + 1])
        for clips, samples in batches
        for i, (clip, target) in enumerate(zip(clips, subject.decisions(samples), strict=True))
    ]

    def partner(i: int) -> Tensor | None:
        group, label, own = flat[i]
        for other, theirs, samples in flat[i + 1 :] + flat[:i]:
            if theirs == label and other != group and samples.shape == own.shape:
                return samples
        return None

    found = [partner(i) for i in range(len(flat))]
    starts = [sum(len(clips) for clips, _ in batches[:at]) for at in range(len(batches))]
    return [found[start : start + len(clips)] for start, (clips, _) in zip(starts, batches, strict=True)]


# -- one batch ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Said:
    """What an explainer says of a batch: values by which bins are ranked, NaN where it failed, and the evidence."""

    values: Values
    evidence: tuple[Evidence | None, ...]
    failed: tuple[str | None, ...]


def said(explainer: Explainer, samples: Samples, targets: Sequence[Target], grid: Grid) -> Said:
    """Returns what an explainer says; after a failure each clip is tried alone, so that only what fails is lost."""
    try:
        return _all_said(explainer, samples, targets, grid)
    except (EarmarkError, RuntimeError, ValueError):
        if len(samples) > 1:
            alone = [said(explainer, samples[i : i + 1], [target], grid) for i, target in enumerate(targets)]
            values = torch.cat([one.values for one in alone])
            return Said(values, *(tuple(getattr(one, n)[0] for one in alone) for n in ("evidence", "failed")))
    try:
        return _all_said(explainer, samples, targets, grid)
    except (EarmarkError, RuntimeError, ValueError) as error:
        return Said(torch.full((1, *grid.shape), NAN), (None,), (f"{type(error).__name__}: {error}",))


def _all_said(explainer: Explainer, samples: Samples, targets: Sequence[Target], grid: Grid) -> Said:
    evidence = explainer.evidence(samples, list(targets))
    values = torch.stack([one.ranking(grid) for one in evidence]).detach().float().cpu()
    if values.shape[1:] != grid.shape:
        raise ValueError(f"a map of shape {grid.shape} was expected, got {tuple(values.shape[1:])}")
    return Said(values, tuple(evidence), (None,) * len(evidence))


@dataclass(frozen=True, eq=False)
class _Job:
    """One batch of clips, with what does not depend on the explainer."""

    subject: Subject
    clips: tuple[Clip, ...]
    samples: Samples
    partners: list[Tensor | None]
    config: StabilityConfig

    @property
    def classifier(self) -> Classifier:
        return self.subject.classifier

    def rows(self, explainers: Mapping[str, Explainer], steps: _Steps) -> dict[str, list[Row]]:
        """Returns the rows of each explainer, with `None` for what is not defined."""
        grid = self.classifier.grid(self.samples.shape[1])
        targets = self.subject.decisions(self.samples)
        logits = self._logits(self.samples)
        before: dict[str, Said] = {}
        rows: dict[str, list[Row]] = {}
        for name, explainer in explainers.items():
            before[name] = said(explainer, self.samples, targets, grid)
            rows[name] = [*self._references(explainer, before[name], targets, grid)]
            steps.add()
        for change in self.config.changes():
            sound = change(self.samples, self.classifier.sample_rate, self.config.noise_seed)
            changed = self._changed(change, sound, logits, targets)
            for name, explainer in explainers.items():
                rows[name] += self._compared(change, explainer, before[name], sound, targets, changed)
                steps.add()
        return rows

    @torch.no_grad()
    def _logits(self, samples: Samples) -> Logits | None:
        """Returns logits, or nothing where clips of this length are refused."""
        try:
            return self.classifier.logits(samples)
        except (EarmarkError, RuntimeError):
            return None

    def _changed(self, change: Change, sound: Samples, before: Logits | None, targets: Sequence[Target]) -> list[Row]:
        """Returns what the classifier says of the changed clips beside the clips."""
        told = {"change": change.name, "amount": change.amount}
        after = self._logits(sound)
        if before is None or after is None:
            return [{**told, "confidence_change": NAN, "unchanged": NAN} for _ in self.clips]
        task = self.classifier.task
        index = torch.tensor([target.index for target in targets], device=after.device)
        moved = confidence_change(before, after, index, task).tolist()
        same = same_decision(before, after, task, self.classifier.threshold).tolist()
        return [{**told, "confidence_change": m, "unchanged": s} for m, s in zip(moved, same, strict=True)]

    def _compared(
        self,
        change: Change,
        explainer: Explainer,
        before: Said,
        sound: Samples,
        targets: Sequence[Target],
        changed: Sequence[Row],
    ) -> list[Row]:
        """Returns how one explainer's maps of the changed clips compare with those of the clips."""
        own, new = (self.classifier.grid(x.shape[1]) for x in (self.samples, sound))
        after = said(explainer, sound, targets, new)
        numbers = compared(before.values, after.values, change, (own, new), self.config)
        prototypes = [prototypes_alike(a, b, change, own) for a, b in zip(before.evidence, after.evidence, strict=True)]
        return [
            {**row, **changed[i], **prototypes[i], "failed": before.failed[i] or after.failed[i]}
            for i, row in enumerate(self._told(numbers))
        ]

    def _references(self, explainer: Explainer, before: Said, targets: Sequence[Target], grid: Grid) -> Iterator[Row]:
        """Yields how alike maps are under another seed, if anything is drawn, and of another clip of the label."""
        if draws(explainer):
            seed = (explainer._seed() or 0) + 1
            again = said(with_seed(explainer, seed), self.samples, targets, grid)
            yield from self._reference(OTHER_SEED, before, again, grid)
        having = [i for i, partner in enumerate(self.partners) if partner is not None]
        values = torch.full_like(before.values, NAN)
        if having:
            others = torch.cat([partner for partner in self.partners if partner is not None])
            values[having] = said(explainer, others, [targets[i] for i in having], grid).values
        yield from self._reference(OTHER_CLIP, before, Said(values, (), (None,) * len(self.clips)), grid)

    def _reference(self, name: str, first: Said, second: Said, grid: Grid) -> Iterator[Row]:
        numbers = compared(first.values, second.values, STAYS, (grid, grid), self.config)
        for i, row in enumerate(self._told(numbers)):
            yield {
                **row,
                "change": name,
                "amount": 0.0,
                "unchanged": 1.0,
                "failed": first.failed[i] or second.failed[i],
            }

    def _told(self, numbers: Mapping[str, Tensor]) -> Iterator[Row]:
        for i, clip in enumerate(self.clips):
            values = {name: float(per_clip[i]) for name, per_clip in numbers.items()}
            yield {"clip": clip.id, "group": clip.group or clip.id, **{k: known(v) for k, v in values.items()}}
