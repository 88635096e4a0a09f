"""Subject: the explainer and the classifier that are checked, and clips to check them on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..evidence import Evidence
from ..explainers.base import Explainer
from ..explainers.load import load_explainer
from ..explanation import Explanation
from .report import NotApplicableError
from .untouched import bits

#: A registry name, a class, a function `make(classifier, **options)`, or an explainer that is made already.
Source = str | type[Explainer] | Callable[..., Explainer] | Explainer


@dataclass(frozen=True, eq=False)
class Subject:
    """What is checked.

    Parameters
    ----------
    source
        Where explainers come from.
    classifier
        What is explained.
    options
        Settings by name, for making the explainer.
    rounding
        How far a batch may be from single clips, relative to the largest value; 0 is bit for bit.
    n_explanations
        How many are made to see whether memory grows.
    """

    source: Source
    classifier: Classifier
    options: Mapping[str, Any] = field(default_factory=dict)
    rounding: float = 0.0
    n_explanations: int = 50

    def make(self, classifier: Classifier | None = None, **changes: Any) -> Explainer:
        """Returns a new explainer, for another classifier or with other settings.

        Raises
        ------
        NotApplicableError
            If the explainer was given ready-made, and another is wanted.
        """
        classifier = classifier or self.classifier
        if isinstance(self.source, Explainer):
            if changes or classifier is not self.classifier:
                raise NotApplicableError("a ready-made explainer was given; give its class or a function instead")
            return self.source
        settings = {**self.options, **changes}
        if isinstance(self.source, str):
            return load_explainer(self.source, classifier=classifier, **settings)
        if isinstance(self.source, type):
            return cast(type[Explainer], self.source).ready(classifier, **settings)
        return self.source(classifier, **settings)

    def clip(self, seed: int = 1) -> Waveform:
        """Returns noise of the length on which the classifier is probed."""
        return noise(self.classifier, seed)


def noise(classifier: Classifier, seed: int = 1) -> Waveform:
    """Returns noise of the length on which a classifier is probed."""
    n_samples = round(classifier.probe_s * classifier.sample_rate)
    samples = torch.randn(1, n_samples, generator=torch.Generator().manual_seed(seed))
    return Waveform((0.1 * samples).clamp(-1, 1), classifier.sample_rate)


def facts_of(evidence: Evidence) -> dict[str, Any]:
    """Returns all that evidence holds, tensors as bytes, so that equal facts are equal bit for bit."""
    about, tensors = evidence.to_saved()
    return {**about, **{name: bits(values) for name, values in tensors.items()}}


def facts(told: Explanation) -> dict[str, Any]:
    """Returns the facts of an explanation's evidence and prediction."""
    return {**facts_of(told.evidence), "logits": bits(told.prediction.logits), "target": told.target}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Returns the names of the facts that differ, empty where none does."""
    return ", ".join(name for name in {**a, **b} if a.get(name) != b.get(name))
