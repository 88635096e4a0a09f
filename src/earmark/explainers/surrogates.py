"""LIME, KernelSHAP, SLIME and audioLIME: a linear model of the score on which parts of the clip are on.

Ribeiro et al. (2016), Lundberg and Lee (2017), Mishra et al. (2017), Haunschmid et al. (2020).
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..audio.waveform import Waveform
from ..classifiers.surgery import own_precision
from ..types import Target, resolve_target, seeded
from .perturbation import Canvas, Perturbation, Scored, Valued
from .perturbation_config import (
    AudioLimeConfig,
    KernelShapConfig,
    LimeConfig,
    PerturbationConfig,
    SlimeConfig,
)
from .regression import (
    Fitted,
    PerRow,
    Rows,
    all_rows,
    coin_rows,
    kernel_weights,
    lime_weights,
    paired_rows,
    ridge,
    shapley,
    with_error,
)
from .segments import Parts, even_index, local_inverse, mel_parts, segment_parts
from .separation import separated

Config = TypeVar("Config", bound=PerturbationConfig)


@dataclass(frozen=True, eq=False)
class Sampled:
    """Which parts there are, and which of them were on in each row."""

    parts: Parts
    z: Rows


class PartSounds:
    """The sounds of all parts, from which any masked clip is a sum: `x(z) = fill + sum_i z_i x_i`, exactly.

    The sound of a span's parts is kept where it is not zero alone.
    """

    def __init__(self, canvas: Canvas, parts: Parts) -> None:
        self.base, self.parts = canvas.fill_sound, parts
        self.spans = [self._span(canvas, parts.frames(span)) for span in range(parts.n_spans)]

    def _span(self, canvas: Canvas, frames: slice) -> tuple[int, Float[Tensor, "component sample"]]:
        components = self.parts.components
        own = components if components.shape[-1] == 1 else components[..., frames]
        return local_inverse(canvas.classifier.stft, own * canvas.difference[:, frames], frames, len(canvas.clip))

    def mixed(self, z: Rows) -> Float[Tensor, "row sample"]:
        """Returns `[row, sample]`: the sum of the parts that are on, and the fill where they are off.

        Summed part by part and not by a matrix product, so that a row's bits do not depend on its batch.
        """
        mixed = self.base.repeat(len(z), 1)
        on = z.unflatten(1, (len(self.parts.components), -1))
        for span, (start, sounds) in enumerate(self.spans):
            here = mixed[:, start : start + sounds.shape[1]]
            for component, sound in enumerate(sounds):
                here.addcmul_(on[:, component, span, None], sound)
        return mixed

    def alone(self) -> Float[Tensor, "part sample"]:
        """Returns the sound of each part; with the fill they sum to the clip."""
        return self.mixed(torch.eye(self.parts.n_parts).to(self.base)) - self.base


class Surrogate(Perturbation[Config]):
    """The template of methods that fit a linear model: a subclass says which parts, which rows, and how to fit."""

    random = True

    @abstractmethod
    def _parts(self, canvas: Canvas) -> Parts:
        """Returns the parts of a clip."""

    @abstractmethod
    def _rows(self, n_parts: int) -> Rows:
        """Returns which parts are on in each masked clip."""

    @abstractmethod
    def _fit(self, z: Rows, y: PerRow, empty: float, whole: float) -> Fitted:
        """Returns the linear model."""

    @own_precision()
    def parts(self, waveform: Waveform, target: str | int | Target | None = None) -> tuple[Fitted, list[Waveform]]:
        """Returns the linear model of a clip, with R^2 and Monte Carlo error, and the sound of each part.

        The sounds have the classifier's rate; with the fill (silence by default) they sum to the clip.
        """
        samples = self.classifier.prepare(waveform)
        done = self._forward(samples)
        resolved = resolve_target(target, self.classifier.prediction(done.logits[0]))
        with torch.no_grad():
            canvas = Canvas(self.classifier, samples[0], self.config)
            sounds = PartSounds(canvas, done.state[0].masks.parts).alone().cpu().float()
        rate = self.classifier.sample_rate
        return self._fitted(done.state[0], resolved), [Waveform(sound, rate) for sound in sounds]

    def _scored(self, canvas: Canvas) -> Scored:
        parts = self._parts(canvas).like(canvas.clip)
        sounds = PartSounds(canvas, parts) if self.config.reentry == "waveform" else None
        z = self._rows(parts.n_parts).to(canvas.clip)
        mixed = sounds.mixed if sounds is not None else parts.spread
        return canvas.score(z, mixed, parts.spread, Sampled(parts, z.cpu()))

    def _fitted(self, scored: Scored, target: Target) -> Fitted:
        empty, whole = (float(self._score_of(target, end[None])) for end in (scored.empty, scored.whole))
        return self._fit(scored.masks.z, self._score_of(target, scored.logits), empty, whole)

    def _valued(self, scored: Scored, target: Target) -> Valued:
        """Returns the value of its part for each bin, not divided by how many bins the part has."""
        fitted, parts = self._fitted(scored, target), scored.masks.parts
        values = parts.spread(fitted.values[None].to(parts.components))[0]
        return Valued(values, {"r2": fitted.r2, "monte_carlo_error": fitted.error, "offset": fitted.offset})


def lime_fit(z: Rows, y: PerRow, config: LimeConfig | SlimeConfig | AudioLimeConfig) -> Fitted:
    """Returns LIME's weighted ridge, with its Monte Carlo error unless all rows were run."""
    weights = lime_weights(z, config.kernel_width)

    def fit(chosen: slice | Tensor) -> Fitted:
        return ridge(z[chosen], y[chosen], weights[chosen], config.alpha)

    return fit(slice(None)) if len(z) == 2 ** z.shape[1] else with_error(fit, len(z))


class Lime(Surrogate[LimeConfig]):
    """LIME on a grid of bands and spans: weighted ridge of the score on which parts are on.

    Costs `n_samples + 2` forward passes.
    """

    method = "lime"
    claims = ("localizes",)
    settings = LimeConfig

    def _parts(self, canvas: Canvas) -> Parts:
        config = self.config
        return segment_parts(canvas.grid, config.segments, config.span_s, config.octave, config.max_parts)

    def _rows(self, n_parts: int) -> Rows:
        return coin_rows(n_parts, self.config.n_samples, seeded(self.config.seed))

    def _fit(self, z: Rows, y: PerRow, empty: float, whole: float) -> Fitted:
        return lime_fit(z, y, self.config)


class KernelShap(Surrogate[KernelShapConfig]):
    """Shapley values of the parts; they sum to the score of the clip minus that of the fill.

    Costs `n_samples + 2` forward passes, or `2^M` where all coalitions of M parts are run.
    """

    method = "kernel-shap"
    claims = ("parts", "localizes")
    settings = KernelShapConfig

    def _parts(self, canvas: Canvas) -> Parts:
        config = self.config
        return segment_parts(canvas.grid, config.segments, config.span_s, config.octave, config.max_parts)

    def _rows(self, n_parts: int) -> Rows:
        if n_parts == 1 or n_parts <= self.config.exact_up_to:
            return all_rows(n_parts)[1:-1]
        return paired_rows(n_parts, self.config.n_samples, seeded(self.config.seed))

    def _fit(self, z: Rows, y: PerRow, empty: float, whole: float) -> Fitted:
        if z.shape[1] <= self.config.exact_up_to:
            return shapley(z, y, kernel_weights(z), empty, whole)

        def fit(chosen: slice | Tensor) -> Fitted:
            return shapley(z[chosen], y[chosen], torch.ones(len(y[chosen])), empty, whole)

        return with_error(fit, len(z))


class Slime(Surrogate[SlimeConfig]):
    """LIME on fixed segments of time, of frequency, or of both.

    Costs `n_samples + 2` forward passes.
    """

    method = "slime"
    settings = SlimeConfig

    def _parts(self, canvas: Canvas) -> Parts:
        config = self.config
        n_spans = config.n_spans
        if config.segments == "time":
            n_spans = max(1, round(canvas.grid.duration_s * config.segments_per_s))
        n_bands = 1 if config.segments == "time" else config.n_bands
        return mel_parts(canvas.grid, n_bands, 1 if config.segments == "frequency" else n_spans)

    def _rows(self, n_parts: int) -> Rows:
        return coin_rows(n_parts, self.config.n_samples, seeded(self.config.seed))

    def _fit(self, z: Rows, y: PerRow, empty: float, whole: float) -> Fitted:
        return lime_fit(z, y, self.config)


class AudioLime(Surrogate[AudioLimeConfig]):
    """LIME on separated sounds x spans of time: `parts` returns what each part sounds like.

    A bin shows the mean of the values of the sounds in it, weighted with their shares. Costs `n_samples + 2` forward
    passes, or `2^M + 2` where that is less, for M parts.
    """

    method = "audiolime"
    settings = AudioLimeConfig

    def _parts(self, canvas: Canvas) -> Parts:
        n_spans = max(1, round(canvas.grid.duration_s * self.config.segments_per_s))
        n_spans = min(n_spans, self.config.max_spans, canvas.grid.shape[1])
        return Parts(separated(canvas.stft.abs(), self.config), even_index(canvas.grid.shape[1], n_spans))

    def _rows(self, n_parts: int) -> Rows:
        if 2 ** min(n_parts, 62) <= self.config.n_samples:
            return all_rows(n_parts)
        return coin_rows(n_parts, self.config.n_samples, seeded(self.config.seed))

    def _fit(self, z: Rows, y: PerRow, empty: float, whole: float) -> Fitted:
        return lime_fit(z, y, self.config)
