"""Class activation maps: weighted sums of the channels of the classifier's map.

Maps reach the STFT grid bilinearly between the true centers of their cells (never by proportional scaling). `raw` is
the signed map itself, so its shape says how coarse the picture is.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from captum.attr import LayerGradCam
from jaxtyping import Float
from torch import Tensor

from ..classifiers.base import Classifier
from ..classifiers.surgery import find_layer
from ..types import Map, Stage, Target
from .config import CamConfig
from .gradient import leaf
from .reference import Found, Reference, tracing
from .scorer import Scorer, rows_of
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
        """A forward pass for the map, one more for a head that was not given, and a backward pass through the head."""
        return 1 if self.classifier.has_own_head else 2, 1

    def cam(self, entry: Entry, targets: Sequence[Target]) -> CamValues:
        """Returns the weighted sum of channels before the ReLU."""
        with torch.no_grad():
            maps = leaf(self.classifier.tap(entry.samples).map)
        maps.requires_grad_()
        scores = scored(self.classifier.logits(maps.clone(), at="map"), targets, self.classifier)
        (gradients,) = torch.autograd.grad(scores.sum(), maps)
        maps = maps.detach()
        weights = plus_plus_weights(maps, gradients)
        return (weights[:, :, None, None] * maps).sum(1)


def plus_plus_weights(maps: Map, gradients: Map) -> Float[Tensor, "batch channel"]:
    """Returns the weights of Grad-CAM++ for activations A and gradients g."""
    cubes = (maps * gradients**3).sum((2, 3), keepdim=True)
    below = 2 * gradients**2 + cubes
    alpha = torch.where(below == 0, 0, gradients**2 / torch.where(below == 0, 1, below))
    return (alpha * gradients.clamp_min(0)).sum((2, 3))


def grad_cam(entry: Entry, targets: Sequence[Target]) -> CamValues:
    """Returns the signed Grad-CAM at the classifier's map: one forward and one backward pass."""
    classifier = entry.classifier
    engine = LayerGradCam(Scorer(entry, targets), find_layer(classifier.module, classifier.map_layer))
    raw = engine.attribute(
        leaf(entry.x),
        target=None,
        additional_forward_args=rows_of(entry),
        attribute_to_layer_input=False,
        relu_attributions=False,
        attr_dim_summation=True,
    )
    if classifier.map_axes == "T":
        return raw.detach()  # the one summed channel stands where the frequency axis would
    return raw.detach()[:, 0].transpose(1, 2) if classifier.map_axes == "TF" else raw.detach()[:, 0]


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
