"""Control explainers: maps that know nothing of the classifier. What does not beat them has shown nothing."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..audio.waveform import Waveform
from ..classifiers.base import Classifier, Grid
from ..errors import InputError
from ..types import Samples, Target, seeded
from .config import ControlConfig, EnergyConfig, RandomConfig, Settings
from .reference import Found, Reference
from .stages import Entry

Plane = Float[Tensor, "batch freq frame"]


class _Control(Reference, ABC):
    """Abstract: a map made of the sound alone."""

    settings: ClassVar[type[Settings]] = ControlConfig

    @property
    def is_unsigned(self) -> bool:
        """These maps speak for no label."""
        return True

    def find(self, entry: Entry, targets: Sequence[Target]) -> Found:
        """Returns the maps."""
        return Found(self.plane(entry))

    @abstractmethod
    def plane(self, entry: Entry) -> Plane:
        """Returns a map for each clip."""


class Energy(_Control):
    """The magnitude of each bin: the loudest come first."""

    method = "energy"
    settings = EnergyConfig

    def plane(self, entry: Entry) -> Plane:
        """Returns magnitude, or power."""
        return entry.x.square() if self.config.power else entry.x


class Random(_Control):
    """Uniform values, independent or blurred; drawn anew for each clip, from the seed and the clip's samples."""

    method = "random"
    claims = ("chance",)
    settings = RandomConfig
    random = True

    def plane(self, entry: Entry) -> Plane:
        """Returns random maps in [0, 1]."""
        return torch.stack([self._one(samples, entry.grid) for samples in entry.samples]).to(entry.x)

    def _one(self, samples: Float[Tensor, " sample"], grid: Grid) -> Float[Tensor, "freq frame"]:
        generator = seeded(self.config.seed, zlib.crc32(samples.float().cpu().numpy().tobytes()) + 1)
        values = torch.rand(grid.shape, generator=generator, dtype=torch.float64)
        if not self.config.smooth:
            return values
        blurred = _blur(grid.hz, self.config.blur_hz) @ values @ _blur(grid.seconds, self.config.blur_s).T
        return (blurred - blurred.min()) / (blurred.max() - blurred.min()).clamp_min(1e-12)


class AllOnes(_Control):
    """One everywhere: nothing is left out."""

    method = "all-ones"

    def plane(self, entry: Entry) -> Plane:
        """Returns ones."""
        return torch.ones_like(entry.x)


class AllZeros(_Control):
    """Zero everywhere: nothing is kept."""

    method = "all-zeros"

    def plane(self, entry: Entry) -> Plane:
        """Returns zeros."""
        return torch.zeros_like(entry.x)


class Edge(_Control):
    """How steep the log magnitude is, in steps of the grid: what an edge detector would show."""

    method = "edge"

    def plane(self, entry: Entry) -> Plane:
        """Returns the size of the central differences of log(1 + magnitude), continued at the ends as it is there."""
        level = torch.nn.functional.pad(entry.x.log1p()[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        rows = (level[:, 2:, 1:-1] - level[:, :-2, 1:-1]) / 2
        columns = (level[:, 1:-1, 2:] - level[:, 1:-1, :-2]) / 2
        return (rows.square() + columns.square()).sqrt()


class WrongClass(Reference):
    """Another explainer's map for a random other label: is a map about its label?

    Parameters
    ----------
    explainer
        Whose maps are taken.
    """

    method = "wrong-class"
    settings = ControlConfig
    random = True

    def __init__(self, explainer: Reference, config: Settings | None = None) -> None:
        self.explainer = explainer
        self.scores = explainer.scores  # type: ignore[misc]
        super().__init__(explainer.classifier, config)

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if there is no other label, else `None`."""
        return None if len(classifier.labels) > 1 else f"{classifier.name} has one label only; there is no wrong one."

    def find(self, entry: Entry, targets: Sequence[Target]) -> Found:
        """Returns the maps of other labels."""
        wrong = [self.other(target) for target in targets]
        told = self.explainer.evidence(entry.samples, list(wrong))
        return Found(torch.stack([evidence.ranking(entry.grid) for evidence in told]))

    def other(self, target: Target) -> Target:
        """Returns the same question about another label, drawn from the seed and the label."""
        labels = self.classifier.labels
        others = [i for i in range(len(labels)) if i not in (target.index, target.against)] or [
            i for i in range(len(labels)) if i != target.index
        ]
        generator = seeded(self.config.seed, target.index + 1)
        index = others[int(torch.randint(len(others), (), generator=generator))]
        return replace(target, index=index, label=labels[index])

    @property
    def passes(self) -> tuple[int, int]:
        """The other explainer's."""
        return self.explainer._cost()

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), **_of(self.explainer)}


class ClassMean(Reference):
    """The mean of another explainer's maps over other clips: is a map about its clip?

    Parameters
    ----------
    explainer
        Whose maps are averaged.
    clips
        Clips of each label, by its name; cut or continued with silence to the explained clip's length.
    """

    method = "class-mean"
    settings = ControlConfig

    def __init__(
        self, explainer: Reference, clips: dict[str, Sequence[Waveform]], config: Settings | None = None
    ) -> None:
        self.explainer, self.clips = explainer, clips
        self.scores = explainer.scores  # type: ignore[misc]
        self._means: dict[tuple[Target, int], Tensor] = {}
        super().__init__(explainer.classifier, config)

    def find(self, entry: Entry, targets: Sequence[Target]) -> Found:
        """Returns the mean maps of the targets' labels."""
        return Found(torch.stack([self._mean(target, entry) for target in targets]))

    def _mean(self, target: Target, entry: Entry) -> Tensor:
        key = (target, entry.n_samples)
        if key not in self._means:
            told = [self.explainer.evidence(clip, [target])[0] for clip in self._samples(target.label, entry.n_samples)]
            self._means[key] = torch.stack([evidence.ranking(entry.grid) for evidence in told]).mean(0)
        return self._means[key]

    def _config(self) -> dict[str, Any]:
        heard = {
            label: [zlib.crc32(clip.samples.cpu().contiguous().numpy().tobytes()) for clip in clips]
            for label, clips in self.clips.items()
        }
        return {**super()._config(), **_of(self.explainer), "clips": heard}

    def _samples(self, label: str, n_samples: int) -> list[Samples]:
        if not self.clips.get(label):
            raise InputError(f"The mean map of {label!r} needs clips of it, got none; add some under this name.")
        rate = self.classifier.sample_rate
        fitted = [clip.mono().resample(rate).fit(n_samples) for clip in self.clips[label]]
        return [self.classifier.prepare(clip) for clip in fitted]


def _of(explainer: Reference) -> dict[str, Any]:
    """Returns whose maps are taken, for the settings of a control around it."""
    return {"of": explainer.method, "settings": explainer._config()}


def _blur(position: Tensor, width: float) -> Float[Tensor, "out in"]:
    """Returns the weights of a Gaussian blur along an axis, each row summing to 1; a width of 0 blurs nothing."""
    if width == 0:
        return torch.eye(len(position), dtype=torch.float64)
    weight = (-0.5 * ((position[:, None] - position[None]).double() / width).square()).exp()
    return weight / weight.sum(1, keepdim=True)
