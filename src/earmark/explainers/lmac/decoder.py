"""The decoders of L-MAC: mask logits from the maps of a frozen classifier."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...classifiers.base import Classifier
from ...classifiers.taps import Tap, count, find_taps, multiply_adds, tapped
from ...errors import ModelError
from ...fills import Fill
from ...masking import masked_logits, mixed_features
from ...training.loop import seeded_globals
from ...types import ComplexStft, Logits, Samples
from ..decoders import N_LEVELS, Labels, Maps, Plane, Planes, Trunk, levels, planes_of, row_positions
from .config import LmacConfig, MaskStage, Scale, TrainingStage

MaskLogits = Float[Tensor, "batch freq frame"]

FIRST_MEAN = 0.3  # of an untrained mask, so that its sigmoid is not saturated
WIDTHS = (48, 40, 32, 24, 20, 16, 12, 8, 6, 4)  # of compact decoders, the widest that keeps to the limits
MOST_PARAMETERS, MOST_MULTIPLY_ADDS = 0.5, 0.1  # of a compact decoder, as shares of the classifier's own


class CompactDecoder(nn.Module):
    """A trunk and planes; a bin's logit is `a + b . levels`, with a and b read from the trunk.

    Parameters
    ----------
    taps
        Coarse to fine.
    width
        Channels inside.
    n_labels
        Of a decoder that is told which label is asked for; 0 for one that is not.
    detail
        Whether a clip's own level takes part; without it, a mask is as smooth as the finest tap.
    n_conditions
        Of a decoder that is told a condition, such as a text's embedding; 0 for one that is not.
    """

    def __init__(
        self, taps: Sequence[Tap], width: int, n_labels: int = 0, *, detail: bool = True, n_conditions: int = 0
    ) -> None:
        super().__init__()
        self.trunk = Trunk(taps, width, n_labels, n_conditions)
        self.planes = Planes(width, 1 + N_LEVELS * detail, taps[-1].n_freq)
        self.width, self.detail = width, detail
        start_at(self.planes.convolution, self.planes.rows_per_cell)

    def forward(
        self, maps: Maps, positions: Float[Tensor, " freq"], level: Plane, asked: Labels | None = None
    ) -> MaskLogits:
        """Returns the logits of a mask on the grid of `level`, what `levels` says of the clips."""
        planes = self.planes(self.trunk(maps, asked), positions, level.shape[-1])
        if not self.detail:
            return planes[:, 0]
        return planes[:, 0] + (planes[:, 1:] * level).sum(1)


def decoder_of(config: LmacConfig, taps: Sequence[Tap], n_labels: int, width: int) -> nn.Module:
    """Returns a decoder with random weights; `width` is that of a compact one."""
    if config.preset == "paper":
        from .paper import PaperDecoder

        return PaperDecoder(taps)
    return CompactDecoder(taps, width, n_labels if config.conditioned else 0, detail=config.detail)


def start_at(layer: nn.Conv2d, n_first: int) -> None:
    """Makes the first `n_first` outputs of a layer near the logit of `FIRST_MEAN`, and the others near zero."""
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.mul_(0.1)
        layer.bias.zero_()
        layer.bias[:n_first] = math.log(FIRST_MEAN / (1 - FIRST_MEAN))


@dataclass(frozen=True, eq=False)
class Look:
    """What one forward pass shows of clips: logits, maps of taps, and the plane that a mask lies on.

    Parameters
    ----------
    logits, maps
        The classifier's own logits, and the map of each tap.
    whole
        The clips' STFT.
    features
        The clips' features, where the mask lives on these.
    level
        What each bin's level says, `[batch, plane, freq, frame]`.
    """

    logits: Logits
    maps: tuple[Float[Tensor, "batch _ _ _"], ...]
    whole: ComplexStft
    features: Float[Tensor, "batch mel _"] | None
    level: Float[Tensor, "batch plane _ _"]

    def row(self, index: int) -> "Look":
        """Returns one of the clips."""
        at = slice(index, index + 1)
        features = None if self.features is None else self.features[at]
        return Look(self.logits[at], tuple(one[at] for one in self.maps), self.whole[at], features, self.level[at])

    def repeated(self, times: int) -> "Look":
        """Returns each clip so many times, one after the other."""
        parts = [one.repeat_interleave(times, 0) for one in (self.logits, *self.maps, self.whole, self.level)]
        features = None if self.features is None else self.features.repeat_interleave(times, 0)
        return Look(parts[0], tuple(parts[1:-2]), parts[-2], features, parts[-1])


@runtime_checkable
class Reading(Protocol):
    """What of a configuration says how a decoder reads clips, and where its masks go."""

    @property
    def mask_stage(self) -> MaskStage:
        """Where the mask lives."""

    @property
    def mask_scale(self) -> Scale:
        """What it multiplies."""

    @property
    def reentry(self) -> TrainingStage:
        """Where a masked clip enters."""

    @property
    def conditioned(self) -> bool:
        """Whether the decoder is told what is asked for."""

    @property
    def blind(self) -> bool:
        """Whether it reads zeros in place of maps."""


Config = TypeVar("Config", bound=Reading)


@dataclass(frozen=True, eq=False)
class Masker(Generic[Config]):
    """A decoder around the classifier that it was made for.

    Parameters
    ----------
    classifier, config
        What is explained, and how.
    taps
        Coarse to fine.
    decoder
        The network; the only thing that is trained.
    crossed
        Whether each clip's maps are those of the clip before it in the batch; for checks.
    """

    classifier: Classifier
    config: Config
    taps: tuple[Tap, ...]
    decoder: nn.Module
    crossed: bool = False

    @staticmethod
    def untrained(classifier: Classifier, config: LmacConfig) -> "Masker[LmacConfig]":
        """Returns a decoder with first weights, of the size that the configuration asks for."""
        taps = find_taps(classifier, config.tap_layers)

        def masker_of(width: int, seed: int) -> Masker[LmacConfig]:
            with seeded_globals(seed, 0):
                decoder = decoder_of(config, taps, len(classifier.labels), width)
            return Masker(classifier, config, taps, decoder.to(classifier.device).eval())

        width = config.width or (0 if config.preset == "paper" else widest(masker_of))
        return masker_of(width, config.seed)

    @torch.no_grad()
    def look(self, samples: Samples) -> Look:
        """Returns what is seen of clips `[batch, sample]`; one forward pass of the classifier."""
        seen = tapped(self.classifier, samples, self.taps)
        whole = self.classifier.stft(samples)
        on_features = self.config.mask_stage == "features"
        features = self.classifier.at(samples, "features") if on_features else None
        level = levels(whole) if features is None else feature_levels(features)
        maps = tuple(one.float() for one in seen.maps)
        if self.crossed:
            maps = tuple(one.roll(1, 0) for one in maps)
        if self.config.blind:
            maps = tuple(torch.zeros_like(one) for one in maps)
        return Look(seen.logits, maps, whole, features, level.float())

    def logits(self, look: Look, asked: Labels | None, n_samples: int) -> MaskLogits:
        """Returns the logits of masks on the STFT grid, or on that of the features."""
        if look.features is None:
            positions = row_positions(self.classifier.front_end, self.classifier.grid(n_samples))
        else:
            n_rows = look.features.shape[1]
            positions = (torch.arange(n_rows) + 0.5) / n_rows
        return self.decoder(look.maps, positions, look.level, asked if self.config.conditioned else None)

    def reentered(self, samples: Samples, look: Look, mask: MaskLogits) -> Logits:
        """Returns the logits of masked clips, by the route of training."""
        mask, c = mask.to(samples), self.config
        if look.features is not None:
            mixed = mixed_features(self.classifier, samples, look.features, mask, Fill())
            return self.classifier.logits(mixed, at="features")
        return masked_logits(self.classifier, samples, mask, c.reentry, mask_scale=c.mask_scale, whole=look.whole)

    def cost(self) -> dict[str, float]:
        """Returns parameters and multiply-adds of the decoder, and each as a share of the classifier's own."""
        samples = self.classifier._noise()
        look = self.look(samples)
        asked = look.logits.new_zeros(1, len(self.classifier.labels)).float()
        own = sum(p.numel() for p in self.decoder.parameters())
        theirs = max(1, sum(p.numel() for p in self.classifier.module.parameters()))
        work = count(partial(self.logits, look, asked, samples.shape[-1]))
        whole = max(1, multiply_adds(self.classifier, samples))
        return {
            "parameters": own,
            "parameters_share": own / theirs,
            "multiply_adds": work,
            "multiply_adds_share": work / whole,
        }


def feature_levels(features: Float[Tensor, "batch mel frame"]) -> Plane:
    """Returns what each feature's level says, as `levels` does of an STFT, in standard deviations of the clip."""
    spread = features.std((1, 2), keepdim=True).clamp_min(1e-6)
    level = (features - features.mean((1, 2), keepdim=True)) / spread
    return planes_of(level)


def widest(masker_of: Callable[[int, int], Masker[Any]]) -> int:
    """Returns the largest width that keeps to the limits on parameters and multiply-adds.

    Parameters
    ----------
    masker_of
        Width and seed to a decoder with first weights.
    """
    for width in WIDTHS:
        masker = masker_of(width, 0)
        cost = masker.cost()
        small = cost["parameters_share"] <= MOST_PARAMETERS and cost["multiply_adds_share"] <= MOST_MULTIPLY_ADDS
        if small:
            return width
    raise ModelError(
        f"{masker.classifier.name} is so small that no decoder has at most half of its parameters and a tenth of its "
        f"multiply-adds; give width= (at least {WIDTHS[-1]}) to take a larger one."
    )
