"""Class activation maps: weighted sums of the channels of the classifier's map.

Maps reach the STFT grid bilinearly between the true centers of their cells (never by proportional scaling). `raw` is
the signed map itself, so its shape says how coarse the picture is.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..classifiers.base import Classifier
from ..types import Map, Stage, Target
from .config import CamConfig
from .reference import Found, Reference, tracing
from .stages import Entry, no_gradient, probe, scored

CamValues = Float[Tensor, "batch freq frame"]


class _Cam(Reference, ABC):
    """Abstract: a map of weights on cells."""

    claims = ("localizes",)
    settings = CamConfig

    @classmethod
    def fits(cls, classifier: Classifier) -> str | None:
        """Returns a sentence if there is no map over time or frequency, or no gradient, else `None`."""
        with tracing():
            return no_map(classifier) or no_gradient(classifier, "features")

    @property
    def stage(self) -> Stage:
        """The classifier's map."""
        return "map"

    @property
    def is_unsigned(self) -> bool:
        """Whether only the positive part is kept, as published."""
        return not self.config.signed

    def find(self, entry: Entry, targets: Sequence[Target]) -> Found:
        """Returns the map on the STFT grid."""
        cam = self.cam(entry, targets).detach()
        shown = cam if self.config.signed else cam.clamp_min(0)
        return Found(on_stft(shown, entry), cam)

    @abstractmethod
    def cam(self, entry: Entry, targets: Sequence[Target]) -> CamValues:
        """Returns the signed map, one value for each cell."""


class GradCam(_Cam):
    r"""Grad-CAM (Selvaraju et al., 2017, eq. 1 and 2): channels weighted with their mean gradient.

    :math:`w_k = mean_{f,t} \, \partial s / \partial A_k`, map :math:`= ReLU(\sum_k w_k A_k)`.
    """

    method = "grad-cam"

    @property
    def passes(self) -> tuple[int, int]:
        """One forward and one backward pass."""
        return 1, 1

    def cam(self, entry: Entry, targets: Sequence[Target]) -> CamValues:
        """Returns the weighted sum of channels before the ReLU."""
        return grad_cam(entry, targets)


class GradCamPlusPlus(_Cam):
    r"""Grad-CAM++ (Chattopadhay et al., 2018, eq. 19): channels weighted with their positive gradients.

    :math:`\alpha_k = g_k^2 / (2 g_k^2 + \sum_{f,t} A_k \, g_k^3)`, zero where the denominator is zero, and
    :math:`w_k = \sum_{f,t} \alpha_k \, ReLU(g_k)`; map :math:`= ReLU(\sum_k w_k A_k)`. The backward pass goes through
    the head alone.
    """

    method = "grad-cam-plus-plus"

    @property
    def passes(self) -> tuple[int, int]:
        """One forward and one backward pass."""
        return 1, 1

    def cam(self, entry: Entry, targets: Sequence[Target]) -> CamValues:
        """Returns the weighted sum of channels before the ReLU."""
        maps, gradients = at_the_map(entry, targets)
        weights = plus_plus_weights(maps, gradients)
        return (weights[:, :, None, None] * maps).sum(1)


def at_the_map(entry: Entry, targets: Sequence[Target]) -> tuple[Map, Map]:
    """Returns the map of each clip, and the gradient of its score there: one forward pass, one backward to the map."""
    with entry.classifier.cut(entry.samples) as cut:
        return cut.map, cut.gradient(scored(cut.logits, targets, entry.classifier))


def plus_plus_weights(maps: Map, gradients: Map) -> Float[Tensor, "batch channel"]:
    """Returns the weights of Grad-CAM++ for activations A and gradients g."""
    cubes = (maps * gradients**3).sum((2, 3), keepdim=True)
    below = 2 * gradients**2 + cubes
    alpha = torch.where(below == 0, 0, gradients**2 / torch.where(below == 0, 1, below))
    return (alpha * gradients.clamp_min(0)).sum((2, 3))


def grad_cam(entry: Entry, targets: Sequence[Target]) -> CamValues:
    """Returns the signed Grad-CAM at the classifier's map: one forward and one backward pass."""
    maps, gradients = at_the_map(entry, targets)
    return (gradients.mean((2, 3), keepdim=True) * maps).sum(1)


def on_stft(cam: CamValues, entry: Entry) -> Float[Tensor, "batch bin time"]:
    """Returns a map on the STFT grid."""
    grid = entry.grid
    return entry.classifier.geometry(entry.n_samples).sample(cam, grid.hz, grid.seconds)


def no_map(classifier: Classifier) -> str | None:
    """Returns a sentence if the classifier's map has one cell only, else `None`."""
    with torch.no_grad():
        shape = tuple(classifier.at(probe(classifier), "map").shape[2:])
    if shape != (1, 1):
        return None
    return (
        f"The map of {classifier.name} has one cell, so that it says nothing about time and frequency; wrap the model "
        "with an earlier layer as map_layer."
    )
