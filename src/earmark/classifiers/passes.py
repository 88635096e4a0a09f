"""What one pass of a classifier shows: map and logits, what belongs to a map, the grid of a clip."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..audio.stft import Stft
from ..errors import ModelError
from ..types import Features, Logits, Map
from . import layouts
from .layouts import MapAxes
from .surgery import Past


@dataclass(frozen=True)
class Grid:
    """The STFT grid on which masks and maps of one clip live.

    Parameters
    ----------
    sample_rate
        Of the classifier, in Hz.
    n_samples
        Length of the clip at that rate.
    stft
        The analysis.
    """

    sample_rate: int
    n_samples: int
    stft: Stft

    @property
    def shape(self) -> tuple[int, int]:
        """Number of bins and frames."""
        return self.stft.n_freq, self.stft.n_frames(self.n_samples)

    @property
    def hz(self) -> Tensor:
        """Bin centers in Hz."""
        return self.stft.frequencies_hz(self.sample_rate)

    @property
    def seconds(self) -> Tensor:
        """Frame centers in seconds."""
        return self.stft.times_s(self.n_samples, self.sample_rate)

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return self.n_samples / self.sample_rate


@dataclass(frozen=True, eq=False)
class Context:
    """What belongs to the clips of a map but is not in it; entry at the map takes it along.

    Parameters
    ----------
    features
        `[batch, row, column]`, or one row for all: what layers beside the map layer see (skip connections, sums over
        layers, positions).
    special
        Tokens `[batch, special, channel]` of the map layer that stand for no place, where it has some.
    past
        What the module computes of these features before the map layer, once that is known.
    """

    features: Features
    special: Tensor | None = None
    past: Past | None = field(default=None, repr=False)

    def of(self, index: int) -> "Context":
        """Returns the context of one clip."""
        if len(self.features) == 1:
            return self
        special = None if self.special is None else self.special[index : index + 1]
        past = None if self.past is None else self.past.anew()
        return Context(self.features[index : index + 1], special, past)


@dataclass(frozen=True, eq=False)
class Tapped:
    """What one forward pass shows.

    Parameters
    ----------
    map
        In canonical order.
    logits
        The model's own.
    context
        What entry at the map takes along.
    """

    map: Map
    logits: Logits
    context: Context


@dataclass(frozen=True, eq=False)
class Cut:
    """A pass that is traced from the map on.

    Parameters
    ----------
    map
        In canonical order, detached.
    logits
        The model's own, traced.
    leaf, axes
        The layer's output and its order of axes.
    """

    map: Map
    logits: Logits
    leaf: Tensor
    axes: MapAxes

    def gradient(self, scores: Tensor) -> Map:
        """Returns the gradient of the sum of scores with respect to the map."""
        if not scores.requires_grad:
            raise ModelError("The logits do not depend on the map layer; choose a layer that they pass through.")
        (found,) = torch.autograd.grad(scores.sum(), self.leaf, allow_unused=True)
        if found is None:
            raise ModelError("The logits do not depend on the map layer; choose a layer that they pass through.")
        return layouts.canonical(found, self.axes)
