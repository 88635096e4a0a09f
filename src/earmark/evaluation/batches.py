"""Clips of one length under evaluation: what the classifier says of them, and of them masked.

All that does not depend on the explainer is computed once: the clips' own logits, their STFT, and both ends of every
curve (nothing kept, all kept).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..classifiers.base import Classifier, Grid
from ..data.mixtures import Mixture, parts_of
from ..errors import EarmarkError
from ..fills import Fill, stft_fill
from ..masking import masked_logits, region_mask
from ..metrics.faithfulness import decided_rows
from ..types import Clip, ComplexStft, Logits, Samples, Stage, Target, probabilities

Plane = Float[Tensor, "row freq frame"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips of one length with what the classifier says of them; one row for each clip and explained label.

    Parameters
    ----------
    classifier
        What is explained.
    clips
        One for each row: a clip occurs once per explained label.
    samples, whole, target
        `[row, sample]`, logits `[row, label]`, and the explained label's position `[row]`.
    undecided
        Multi-label rows whose label is the top one because none was above the threshold.
    """

    classifier: Classifier
    clips: tuple[Clip, ...]
    samples: Samples
    whole: Logits
    target: Int[Tensor, " row"]
    undecided: Bool[Tensor, " row"]
    _reentries: dict[tuple[Stage, Fill], "Reentry"] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, classifier: Classifier, clips: Sequence[Clip], samples: Samples) -> "Batch":
        """Returns the rows of clips: the label put first, or every label above the threshold."""
        with torch.no_grad():
            logits = classifier.logits(samples)
        clip, label, undecided = decided_rows(logits, classifier.task, classifier.threshold)
        return cls(classifier, tuple(clips[i] for i in clip.tolist()), samples[clip], logits[clip], label, undecided)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def every(self) -> Int[Tensor, " row"]:
        """The positions of all rows."""
        return torch.arange(len(self), device=self.samples.device)

    @cached_property
    def grid(self) -> Grid:
        """The STFT grid of every clip."""
        return self.classifier.grid(self.samples.shape[1])

    @cached_property
    def spectrum(self) -> ComplexStft:
        """The STFT of every clip."""
        return self.classifier.stft(self.samples)

    @cached_property
    def power(self) -> Plane:
        """`|STFT|^2`."""
        return self.spectrum.abs().square()

    @cached_property
    def truth(self) -> Bool[Tensor, "row freq frame"]:
        """Where the explained label is known to sound; empty where that is not known."""
        labels = [self.classifier.labels[i] for i in self.target.tolist()]
        masks = [
            region_mask([event for event in clip.events if event.label == label], self.grid)
            for clip, label in zip(self.clips, labels, strict=True)
        ]
        return torch.stack(masks).bool().to(self.samples.device)

    @cached_property
    def silence_prob(self) -> Float[Tensor, " row"]:
        """The probability of the explained label where nothing sounds."""
        with torch.no_grad():
            logits = self.classifier.logits(torch.zeros_like(self.samples[:1]))
        return probabilities(logits.double(), self.classifier.task)[0, self.target]

    @cached_property
    def parts(self) -> "PartPowers | None":
        """What each mixture consists of; nothing where no clip is a mixture."""
        if not any(mixture_of(clip) for clip in self.clips):
            return None
        powers = {clip.id: self._powers(clip) for clip in self.clips}
        nothing = self.power.new_full((2, *self.grid.shape), torch.nan)
        rows = torch.stack([nothing if (one := powers[clip.id]) is None else one for clip in self.clips])
        labels = [self.classifier.labels[i] for i in self.target.tolist()]
        of_source = [label in clip.labels for clip, label in zip(self.clips, labels, strict=True)]
        known = ~rows.isnan().flatten(1).any(1) & torch.tensor(of_source, device=rows.device)
        return PartPowers(rows[:, 0].nan_to_num(), rows[:, 1].nan_to_num(), known)

    def _powers(self, clip: Clip) -> Float[Tensor, "part freq frame"] | None:
        """Returns the powers of source and contaminant; nothing if the clip is no mixture, or no longer readable."""
        if mixture_of(clip) is None:
            return None
        try:
            parts = parts_of(clip)
        except (EarmarkError, OSError):
            return None
        samples = [self.classifier.prepare(part) for part in (parts.source, parts.contaminant)]
        return self.classifier.stft(torch.cat(samples)).abs().square()

    def targets(self) -> list[Target | None]:
        """Returns the explained labels as targets."""
        return [Target(i, self.classifier.labels[i]) for i in self.target.tolist()]

    def reentry(self, stage: Stage, fill: Fill) -> "Reentry":
        """Returns what scores masked clips at a stage; it is made once."""
        return self._reentries.setdefault((stage, fill), Reentry(self, stage, fill))


def mixture_of(clip: Clip) -> str | None:
    """Returns kind and level of what is mixed into a clip, such as `white:6`; nothing where it is no mixture."""
    return clip.source.recipe.name if isinstance(clip.source, Mixture) else None


@dataclass(frozen=True, eq=False)
class PartPowers:
    """`|STFT|^2` of the two sounds of each mixture.

    Parameters
    ----------
    source, contaminant
        As loud as they are in the mixture; zeros where they are not known.
    known
        Whether a row is a mixture whose explained label is one of its source: elsewhere, what a mask keeps of either
        says nothing.
    """

    source: Plane
    contaminant: Plane
    known: Bool[Tensor, " row"]


@dataclass(frozen=True, eq=False)
class Reentry:
    """Scores masked clips of a batch: `masked_logits` of rows by position, one gain each, without a new STFT for each.

    Parameters
    ----------
    batch, stage, fill
        Whose clips, where they enter the classifier, and what stands where a mask lets nothing through.
    """

    batch: Batch
    stage: Stage
    fill: Fill

    @torch.no_grad()
    def __call__(self, rows: Int[Tensor, " row"], gains: Plane) -> Logits:
        """Returns the logits of rows with their masks."""
        classifier, samples = self.batch.classifier, self.batch.samples
        if self.stage == "features":
            return masked_logits(classifier, samples[rows], gains, "features", fill=self.fill)
        masked = self.batch.spectrum[rows] * gains
        if self._filled is not None:
            masked = masked + self._filled[rows] * (1 - gains)
        if self.stage == "stft":
            return classifier.logits(masked, at="stft", n_samples=samples.shape[1])
        return classifier.logits(classifier.stft.inverse(masked, samples.shape[1]))

    @cached_property
    def ends(self) -> Float[Tensor, "row end label"]:
        """The logits of the fill alone, and of a mask of ones."""
        shape = (len(self.batch), *self.batch.grid.shape)
        ends = [self(self.batch.every, self.batch.power.new_full(shape, gain)) for gain in (0.0, 1.0)]
        return torch.stack(ends, 1)

    @cached_property
    def _filled(self) -> ComplexStft | None:
        if self.fill.name == "silence":
            return None
        return stft_fill(self.fill, self.batch.samples, self.batch.spectrum, self.batch.classifier.stft)
