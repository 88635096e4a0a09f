"""Reference: the part of the template that methods without training share.

They are ready for any classifier they fit, their settings are a frozen dataclass, and their evidence is an attribution
on the STFT grid.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..classifiers.base import Classifier
from ..errors import ModelError
from ..evidence import Attribution, Evidence
from ..types import Samples, ScoreFunction, Stage, Target
from .base import Explainer, Pass
from .config import InputStage, Settings
from .stages import Entry, no_gradient

Raw = tuple[Tensor, dict[str, Tensor]]

ALL_SCORES: tuple[ScoreFunction, ...] = ("logit", "log_prob", "prob", "contrast")


@contextmanager
def tracing() -> Iterator[None]:
    """Switches gradients on, whatever the caller switched off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@dataclass(frozen=True, eq=False)
class Found:
    """What a method found for a batch.

    Parameters
    ----------
    values
        `[batch, freq, frame]`, on the STFT grid.
    raw
        `[batch, ...]`, the signed values at the method's own stage, where these are others.
    measured
        Numbers by name, each `[batch]`.
    """

    values: Float[Tensor, "batch freq frame"]
    raw: Tensor | None = None
    measured: dict[str, Tensor] = field(default_factory=dict)


class Reference(Explainer[Entry], ABC):
    """Abstract: a method that needs no training.

    Parameters
    ----------
    classifier
        What is explained.
    config
        The settings; keyword `changes` replace single ones.

    Raises
    ------
    ModelError
        If the method does not fit this classifier.
    InputError
        If a setting lies outside its range.
    """

    settings: ClassVar[type[Settings]] = Settings
    scores: ClassVar[tuple[ScoreFunction, ...]] = ALL_SCORES
    random: ClassVar[bool] = False
    config: Any  # of the type `settings`

    def __init__(self, classifier: Classifier, config: Any = None, **changes: Any) -> None:
        self.classifier = classifier
        given = config or self.settings()
        self.config = self.settings.from_options({**given.to_dict(), **changes}, self.method)
        with tracing():
            refusal = self.fits(classifier) or self._misfit()
        if refusal:
            raise ModelError(refusal)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.classifier.name})"

    @property
    def stage(self) -> Stage:
        """Where the values are computed."""
        return "stft"

    @property
    def is_unsigned(self) -> bool:
        """Whether values say how much, and not whether for or against the target."""
        return False

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes for one clip, beside the one for its prediction."""
        return 0, 0

    @abstractmethod
    def find(self, entry: Entry, targets: Sequence[Target]) -> Found:
        """Returns the values for a batch of clips at the method's stage, one target for each clip.

        Runs with gradients on; what it returns is detached by the template.
        """

    # -- the template ---------------------------------------------------------------------------------------------

    def _misfit(self) -> str | None:
        """Returns a sentence why these settings do not fit the classifier, or `None`."""
        return None

    @property
    def entry_stage(self) -> InputStage:
        """At which stage a batch of clips is kept."""
        return "stft"

    def _forward(self, samples: Samples) -> Pass[Entry]:
        with tracing():
            entry = Entry.of(self.classifier, samples.clone(), self.entry_stage)
        return Pass(entry.logits, entry)

    def _evidence(self, done: Pass[Entry], index: int, target: Target, n_samples: int) -> Evidence:
        return self._told(done.state.rows(slice(index, index + 1)), [target])[0]

    def _evidences(self, done: Pass[Entry], targets: list[Target], n_samples: int) -> list[Evidence]:
        chunk = self.config.chunk
        parts = [slice(first, first + chunk) for first in range(0, len(targets), chunk)]
        return [told for part in parts for told in self._told(done.state.rows(part), targets[part])]

    def _told(self, entry: Entry, targets: list[Target]) -> list[Evidence]:
        with tracing():
            found = self.find(entry, targets)
        values = found.values.detach().cpu()
        raw = None if found.raw is None else found.raw.detach().cpu()
        return [
            Attribution(
                values[i].clone(),
                entry.grid,
                stage=self.stage,
                raw=None if raw is None else raw[i].clone(),
                unsigned=self.is_unsigned,
                measured={name: float(number[i]) for name, number in found.measured.items()},
            )
            for i in range(len(targets))
        ]

    def _config(self) -> dict[str, Any]:
        return self.config.to_dict()

    def _seed(self) -> int | None:
        return self.config.seed if self.random else None

    def _cost(self) -> tuple[int, int]:
        forward, backward = self.passes
        return 1 + forward, backward


class GradientMethod(Reference, ABC):
    """Abstract: a method of gradients with respect to the tensor of a stage."""

    claims: ClassVar[tuple[str, ...]] = ("contribution", "localizes")

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if the classifier's module gives no gradient, else `None`."""
        with tracing():
            return no_gradient(classifier, "features")

    def _misfit(self) -> str | None:
        return None if self.entry_stage == "features" else no_gradient(self.classifier, self.entry_stage)

    @property
    def stage(self) -> Stage:
        """The stage whose tensor is attributed to."""
        return self.entry_stage

    @property
    def entry_stage(self) -> InputStage:
        """The stage whose tensor is attributed to."""
        return self.config.stage

    @abstractmethod
    def raw(self, entry: Entry, targets: Sequence[Target]) -> Raw:
        """Returns the signed values at the stage, `[batch, ...]`, and numbers by name, each `[batch]`."""

    def find(self, entry: Entry, targets: Sequence[Target]) -> Found:
        """Returns the signed values on the STFT grid; an unsigned method takes their size there, not before."""
        raw, measured = self.raw(entry, targets)
        values = entry.to_grid(raw.detach())
        if entry.stage == "stft" and not self.is_unsigned:
            return Found(values, None, measured)
        return Found(values.abs() if self.is_unsigned else values, raw, measured)
