"""Methods with rules of their own for how gradients pass activations: DeepLIFT and the guided ones.

Each activation call of the module, be it a layer's, a function's, in place, or the second use of a layer, is done by a
stand-in that Captum hooks. What cannot be replaced is refused, so that none of these ever is a plain gradient.
"""

import copy
import warnings
from abc import ABC
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial

import torch
from captum.attr import DeepLift as CaptumDeepLift
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from torch import Tensor, nn

from ..classifiers.base import Classifier
from ..classifiers.relu import Activations, watched
from ..errors import ModelError
from ..types import Target
from .cam import grad_cam, no_map, on_stft
from .config import DeepLiftConfig, GuidedBackpropConfig, GuidedGradCamConfig
from .gradient import baseline_scores, completeness, gradient, leaf
from .reference import GradientMethod, Raw, tracing
from .scorer import Scorer, rows_of
from .stages import TRIALS, Entry, feature_plane, no_gradient, probe, silence

#: Below this distance, relative to the gradient, guided backpropagation counts as the plain gradient.
SAME = 1e-6


class _Ruled(GradientMethod, ABC):
    """Abstract: a method that has activations done by stand-ins."""

    @cached_property
    def stand_ins(self) -> Callable[[int], tuple[nn.Module, ...]]:
        """Stand-ins for clips of so many samples, found once for each length."""
        return lru_cache(maxsize=64)(partial(activations, self.classifier))


class DeepLift(_Ruled):
    """DeepLIFT's rescale rule (Shrikumar et al., 2017): differences from a baseline, handed back through activations.

    Values sum to the score minus the baseline's, but for the `gap` that is measured: it is large where a network
    multiplies, attends, or normalizes by what it hears, for which there is no rule. Costs one forward and
    backward pass over clip and baseline at once. Explains logits and contrasts.
    """

    method = "deeplift"
    settings = DeepLiftConfig
    scores = ("logit", "contrast")

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if activations cannot be replaced, or have no rule, else `None`."""
        with tracing():
            return no_gradient(classifier, "features") or _no_rule(classifier, "DeepLIFT")

    @property
    def passes(self) -> tuple[int, int]:
        """Clip and baseline together, and the baseline's score."""
        return 3, 2

    def raw(self, entry: Entry, targets: Sequence[Target]) -> Raw:
        """Returns multipliers times differences."""
        baseline = silence(entry, self.config.baseline)
        stand_ins = self.stand_ins(entry.n_samples)
        if any(isinstance(part, nn.MaxPool1d | nn.MaxPool2d) for one in stand_ins for part in one.modules()):
            ones = [entry.rows(slice(i, i + 1)) for i in range(len(entry))]  # Captum mixes clips where maxima tie
            raw = torch.cat([self._lift(one, [t], baseline, stand_ins) for one, t in zip(ones, targets, strict=True)])
        else:
            raw = self._lift(entry, targets, baseline, stand_ins)
        return raw, completeness(entry, targets, raw, baseline_scores(entry, targets, baseline)[:, 0])

    def _lift(
        self, entry: Entry, targets: Sequence[Target], baseline: Tensor, stand_ins: Sequence[nn.Module]
    ) -> Tensor:
        scorer = Scorer(entry, targets, copy.deepcopy(stand_ins))
        engine = CaptumDeepLift(scorer, multiply_by_inputs=True, eps=self.config.eps)
        with _quiet():
            return engine.attribute(
                leaf(entry.x),
                baselines=baseline.expand_as(entry.x).clone(),
                target=None,
                additional_forward_args=rows_of(entry),
                return_convergence_delta=False,
                custom_attribution_func=None,
            ).detach()


class GuidedBackprop(_Ruled):
    """Guided backpropagation (Springenberg et al., 2015): a ReLU passes gradients only where they are positive.

    It nearly restores the input whatever the weights are (Adebayo et al., 2018), and is kept as a control.
    """

    method = "guided-backprop"
    claims = ("localizes",)
    settings = GuidedBackpropConfig

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if there is no ReLU, another activation, or no effect on gradients, else `None`."""
        with tracing():
            return no_gradient(classifier, "features") or _not_guided(classifier)

    @property
    def passes(self) -> tuple[int, int]:
        """One forward and one backward pass."""
        return 1, 1

    def raw(self, entry: Entry, targets: Sequence[Target]) -> Raw:
        """Returns the guided gradient, signed."""
        return guided(entry, targets, self.stand_ins(entry.n_samples)), {}


class GuidedGradCam(_Ruled):
    """Guided backpropagation times the upsampled Grad-CAM (Selvaraju et al., 2017); inherits the problems of both."""

    method = "guided-grad-cam"
    claims = ("localizes",)
    settings = GuidedGradCamConfig

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if either of the two does not fit, else `None`."""
        with tracing():
            return no_map(classifier) or no_gradient(classifier, "features") or _not_guided(classifier)

    @property
    def passes(self) -> tuple[int, int]:
        """Two forward and two backward passes."""
        return 2, 2

    def raw(self, entry: Entry, targets: Sequence[Target]) -> Raw:
        """Returns the product at the stage."""
        cam = grad_cam(entry, targets).clamp_min(0)
        return guided(entry, targets, self.stand_ins(entry.n_samples)) * _upsampled(cam, entry), {}


def guided(entry: Entry, targets: Sequence[Target], stand_ins: Sequence[nn.Module]) -> Tensor:
    """Returns the guided gradient of each clip's score at the stage: one forward and one backward pass."""
    engine = CaptumGuidedBackprop(Scorer(entry, targets, copy.deepcopy(stand_ins)))
    with _quiet():
        return engine.attribute(leaf(entry.x), target=None, additional_forward_args=rows_of(entry)).detach()


def activations(classifier: Classifier, n_samples: int) -> tuple[nn.Module, ...]:
    """Returns a stand-in for each activation call of a classifier's module, for clips of one length.

    Costs a forward pass over noise.
    """
    return tuple(_watch(classifier, n_samples).calls)


def _watch(classifier: Classifier, n_samples: int | None = None) -> Activations:
    with torch.no_grad():
        features = classifier.at(probe(classifier, n_samples), "features")
    with watched(classifier.module) as watch:
        classifier.logits(leaf(features).clone(), at="features")
    return watch


def _not_guided(classifier: Classifier) -> str | None:
    """Returns a sentence if guided backpropagation is undefined, or would be the plain gradient."""
    try:
        watch = _watch(classifier)
    except ModelError as error:
        return str(error)
    if not any(isinstance(part, nn.ReLU) for part in watch.calls):
        return f"{classifier.name} has no ReLU, so that guided backpropagation is not defined; use saliency."
    if watch.others:
        return _others(classifier, watch, "guided backpropagation")
    try:
        if _guides(classifier, watch.calls):
            return None
    except ModelError as error:
        return str(error)
    return (
        f"Guided backpropagation of {classifier.name} equals its plain gradient for every label, so that its ReLUs do "
        "nothing to gradients; use saliency."
    )


def _guides(classifier: Classifier, stand_ins: Sequence[nn.Module]) -> bool:
    """Says whether guided and plain gradients of any label differ for noise; as a rule the first label's do."""
    for level, n_clips in TRIALS:
        entry = Entry.of(classifier, probe(classifier, level=level, n_clips=n_clips), "features")
        for index, label in enumerate(classifier.labels):
            targets = [Target(index, label)] * n_clips
            if not _same(guided(entry, targets, stand_ins), gradient(entry, targets)):
                return True
    return False


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= SAME * b.norm())


def _no_rule(classifier: Classifier, what: str) -> str | None:
    try:
        watch = _watch(classifier)
    except ModelError as error:
        return str(error)
    return _others(classifier, watch, what) if watch.others else None


def _others(classifier: Classifier, watch: Activations, what: str) -> str:
    return (
        f"{classifier.name} uses {', '.join(sorted(watch.others))}, for which {what} has no rule; "
        "use a method such as integrated gradients."
    )


def _upsampled(cam: Tensor, entry: Entry) -> Tensor:
    """Returns a map `[batch, freq, frame]` at the cells of the entry's stage."""
    if entry.stage == "stft":
        return on_stft(cam, entry)
    geometry = entry.classifier.geometry(entry.n_samples)
    plane = feature_plane(entry.classifier, entry.x.shape[1:], entry.n_samples)
    hz = torch.tensor([(a + b) / 2 for a, b in zip(plane.hz_edges, plane.hz_edges[1:], strict=False)])
    start, step = plane.column_s
    return geometry.sample(cam, hz, start + step * torch.arange(entry.x.shape[2]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides Captum's notices that it sets hooks: it sets them on stand-ins only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
