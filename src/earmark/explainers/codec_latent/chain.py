"""What is explained: the score of a classifier as a function of a codec's latents."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...classifiers.base import Classifier
from ...classifiers.codec.base import Codec, Latents, Levels
from ...classifiers.codec.resampling import length_at, resampled
from ...types import Logits, Samples, Target
from ..stages import scored

Score = Callable[[Latents], Float[Tensor, " row"]]


@dataclass(frozen=True, eq=False)
class Coded:
    """A clip and its latents.

    Parameters
    ----------
    samples
        `[1, sample]` at the classifier's rate.
    latents
        `[1, channel, frame]`.
    levels
        Its levels, where the codec normalizes.
    """

    samples: Samples
    latents: Latents
    levels: Levels | None = None

    @property
    def n_samples(self) -> int:
        """Length at the classifier's rate."""
        return self.samples.shape[-1]


@dataclass(frozen=True, eq=False)
class Chain:
    """A classifier behind a codec.

    Parameters
    ----------
    classifier
        Of waveforms: latents are decoded first, `F(z) = s(f(Dec(z)))`. Of latents: it takes them as they are.
    codec
        Frozen.
    continuous
        Whether latents are those before the quantizer.
    """

    classifier: Classifier
    codec: Codec
    continuous: bool = False

    @property
    def takes_latents(self) -> bool:
        """Whether the classifier decides on latents itself."""
        return self.classifier.front_end.gives_latents

    @torch.no_grad()
    def code(self, samples: Samples) -> Coded:
        """Returns one clip `[1, sample]` and its latents."""
        inside = resampled(samples, self.classifier.sample_rate, self.codec.sample_rate)
        latents = self.codec.encode(inside, continuous=self.continuous)
        return Coded(samples, latents.to(samples.dtype), self.codec.levels(inside))

    def decode(self, latents: Latents, clip: Coded) -> Samples:
        """Returns the sounds, at the classifier's rate, of other latents of a clip."""
        old, new = self.codec.sample_rate, self.classifier.sample_rate
        levels = None if clip.levels is None else clip.levels.expand(len(latents), -1)
        sounds = self.codec.decode(latents.to(self.codec.dtype), length_at(clip.n_samples, new, old), levels)
        return resampled(sounds, old, new, clip.n_samples).to(latents.dtype)

    def logits(self, latents: Latents, clip: Coded) -> Logits:
        """Returns the logits of other latents of a clip, differentiable."""
        if self.takes_latents:
            return self.classifier.logits(latents.clone(), at="latents")
        return self.classifier.logits(self.decode(latents, clip))

    def heard(self, sounds: Samples) -> Logits:
        """Returns the logits of sounds that are coded once more, in whatever order they were edited."""
        if self.takes_latents:
            return self.classifier.logits(sounds)
        return self.classifier.logits(torch.cat([self.round_trip(sound[None]) for sound in sounds]))

    @torch.no_grad()
    def round_trip(self, samples: Samples) -> Samples:
        """Returns one clip encoded and decoded."""
        clip = self.code(samples)
        return self.decode(clip.latents, clip)

    def score(self, clip: Coded, target: Target) -> Score:
        """Returns the function that is explained: latents `[row, channel, frame]` to scores `[row]`."""
        return lambda z: scored(self.logits(z, clip), [target] * len(z), self.classifier)
