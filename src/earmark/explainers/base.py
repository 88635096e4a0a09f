"""Explainer: the one template that every method fills in.

A subclass writes two steps: `_forward`, all that is computed once for a batch of clips, and `_evidence`, what is then
said for one clip and one target. It is final: no explainer inherits from another.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from ..audio.files import load_clip
from ..audio.names import printable
from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..classifiers.surgery import own_precision
from ..errors import TargetError
from ..evidence import Evidence
from ..explanation import Explanation, Provenance
from ..types import Clip, Logits, Prediction, Samples, ScoreFunction, Target, label_index, resolve_target
from .rebinding import on_classifier

State = TypeVar("State")


@dataclass(frozen=True, eq=False)
class Pass(Generic[State]):
    """What one forward pass over equally long clips left behind: logits, and whatever the method needs."""

    logits: Logits
    state: State


class Explainer(ABC, Generic[State]):
    """Explains clips for one classifier; always ready to use.

    Attributes
    ----------
    method
        The registry name.
    scores
        The score functions that it serves; others are refused.
    claims
        What is known of its values beforehand; the conformance kit tests it, see `testing/oracles.py`.
    classifier
        What is explained.
    """

    method: ClassVar[str]
    scores: ClassVar[tuple[ScoreFunction, ...]] = ("logit",)
    claims: ClassVar[tuple[str, ...]] = ()
    classifier: Classifier

    @own_precision()
    def explain(
        self,
        clip: Waveform | Clip,
        target: str | int | Target | None = None,
        *,
        against: str | None = None,
        name: str | None = None,
    ) -> Explanation:
        """Explains one label of one clip.

        Parameters
        ----------
        clip
            A sound of any rate and number of channels.
        target
            A label by name or position; `None` is the label that the classifier puts first. Where labels are prompts,
            any text will do.
        against
            A second label: the explanation then answers why the first and not this one.
        name
            What the clip is called in pictures and tables.

        Raises
        ------
        TargetError
            If a label is unknown, or this method does not serve the score.
        """
        asked = [label for label in (target, against) if label is not None and not isinstance(label, Target)]
        hearing = self.classifier.with_labels([label for label in asked if isinstance(label, str)])
        if hearing is not self.classifier:  # a prompt that was not among the labels
            return on_classifier(self, hearing).explain(clip, target, against=against, name=name)
        for label in asked:
            label_index(label, self.classifier.labels)  # before any work
        waveform = clip if isinstance(clip, Waveform) else load_clip(clip)
        samples = self.classifier.prepare(waveform)
        done = self._forward(samples)
        prediction = self.classifier.prediction(done.logits[0])
        resolved = resolve_target(target, prediction, against=against)
        return _told(self._explanation(waveform, samples, done, prediction, resolved), clip, name)

    @own_precision()
    def explain_all(self, clip: Waveform | Clip, *, name: str | None = None) -> list[Explanation]:
        """Explains every label that counts as present, with one forward pass."""
        waveform = clip if isinstance(clip, Waveform) else load_clip(clip)
        samples = self.classifier.prepare(waveform)
        done = self._forward(samples)
        prediction = self.classifier.prediction(done.logits[0])
        targets = [resolve_target(label, prediction) for label in prediction.decided]
        explanations = [self._explanation(waveform, samples, done, prediction, t) for t in targets]
        return [_told(explanation, clip, name) for explanation in explanations]

    @own_precision()
    def evidence(self, samples: Samples, targets: list[Target | None]) -> list[Evidence]:
        """Returns the evidence for a batch of equally long clips: one forward pass, one target for each clip."""
        done = self._forward(samples)
        predictions = [self.classifier.prediction(row) for row in done.logits]
        resolved = [resolve_target(t, p) for t, p in zip(targets, predictions, strict=True)]
        for target in resolved:
            self._check(target)
        return self._evidences(done, resolved, samples.shape[-1])

    @classmethod
    def ready(cls, classifier: Classifier, **options: Any) -> "Explainer":
        """Returns the method for a classifier, where it needs no fitting; options are its settings by name."""
        return cls(classifier, **options)  # type: ignore[call-arg]

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence why the method does not apply to a classifier, or `None` where it does."""
        return None

    def _explanation(
        self, waveform: Waveform, samples: Samples, done: Pass[State], prediction: Prediction, target: Target
    ) -> Explanation:
        self._check(target)
        n_samples, own_rate = samples.shape[-1], waveform.sample_rate
        cost = self._cost()
        provenance = Provenance(
            method=self.method,
            config=self._config(),
            classifier=self.classifier.name,
            fingerprint=self.classifier.fingerprint,
            seed=self._seed(),
            resampled_from=None if own_rate == self.classifier.sample_rate else own_rate,
            forward_passes=cost[0],
            backward_passes=cost[1],
        )
        evidence = self._evidence(done, 0, target, n_samples)
        return Explanation(waveform, target, prediction, evidence, self.classifier.grid(n_samples), provenance)

    def _check(self, target: Target) -> None:
        if target.score not in self.scores:
            raise TargetError(
                f"{self.method} explains {' and '.join(self.scores)}, got score {target.score!r}; choose one of these."
            )

    @abstractmethod
    def _forward(self, samples: Samples) -> Pass[State]:
        """Runs the classifier once on `[batch, sample]`."""

    @abstractmethod
    def _evidence(self, done: Pass[State], index: int, target: Target, n_samples: int) -> Evidence:
        """Returns the evidence for one clip of the batch."""

    def _evidences(self, done: Pass[State], targets: list[Target], n_samples: int) -> list[Evidence]:
        """Returns the evidence for each clip of the batch; methods that can do them all at once override it."""
        return [self._evidence(done, index, target, n_samples) for index, target in enumerate(targets)]

    @abstractmethod
    def _config(self) -> dict[str, Any]:
        """Returns the settings, as plain JSON values."""

    def _learned(self) -> str:
        """Returns a hash of what was fitted; none where nothing was. With the settings it tells two of a method apart.

        It is of all tensors, modules and explainers that it holds by public names; private ones are computed anew.
        """
        return learned_sha256({name: value for name, value in vars(self).items() if not name.startswith("_")})

    def _seed(self) -> int | None:
        return None

    def _cost(self) -> tuple[int, int]:
        """Returns forward and backward passes of the classifier that one explanation costs."""
        return 1, 0


def learned_sha256(held: Mapping[str, Any]) -> str:
    """Returns a hash of the tensors, modules and explainers among some things by name; none where there are none."""
    parts = [part for name, value in sorted(held.items(), key=lambda item: item[0]) for part in _parts(name, value)]
    return hashlib.sha256("".join(parts).encode()).hexdigest() if parts else ""


def _parts(name: str, value: Any) -> Iterator[str]:
    """Yields a line for each tensor that something learned holds."""
    if isinstance(value, Explainer) and (inner := value._learned()):
        yield f"{name}:{inner}\n"
    tensors = value.state_dict() if isinstance(value, nn.Module) else {"": value}
    for key, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            yield f"{name}.{key}:{tensor.dtype}:{tuple(tensor.shape)}:{hashlib.sha256(content).hexdigest()}\n"


def _told(explanation: Explanation, clip: Waveform | Clip, name: str | None) -> Explanation:
    """Returns the explanation with the clip's name, and the part of its source that the clip is."""
    if isinstance(clip, Waveform):
        return explanation.renamed(printable(name or "clip"))
    return explanation.renamed(printable(name or clip.id)).of_part(clip.start_s, clip.end_s)
