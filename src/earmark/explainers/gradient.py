"""Methods that ask the gradient: saliency, input x gradient, integrated gradients, gradient SHAP, SmoothGrad.

Captum computes the gradients; every argument is set here. What is drawn at random is ours, since Captum takes no seed:
draws depend on the seed alone, so that a clip's result does not depend on its batch mates. Methods with many steps go
through them clip by clip, a chunk of steps in one pass.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from captum.attr import InputXGradient as CaptumInputXGradient
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import Saliency as CaptumSaliency
from torch import Tensor

from ..audio.files import clip_sha256
from ..audio.waveform import Waveform
from ..classifiers.base import Classifier
from ..errors import ModelError
from ..types import Clip, Stage, Target, seeded
from .base import Explainer
from .config import (
    GradientShapConfig,
    InputStage,
    InputXGradientConfig,
    IntegratedGradientsConfig,
    SaliencyConfig,
    SmoothGradConfig,
)
from .reference import Found, GradientMethod, Raw, Reference
from .scorer import Scorer, rows_of
from .stages import Entry, silence


class Saliency(GradientMethod):
    """The size of the gradient of the score; costs one forward and one backward pass beside the prediction."""

    method = "saliency"
    claims = ("gradient", "localizes")
    settings = SaliencyConfig

    @property
    def is_unsigned(self) -> bool:
        """Whether the sign is dropped, as published."""
        return not self.config.signed

    @property
    def passes(self) -> tuple[int, int]:
        """One forward and one backward pass."""
        return 1, 1

    def raw(self, entry: Entry, targets: Sequence[Target]) -> Raw:
        """Returns the signed gradient."""
        return gradient(entry, targets), {}


class InputXGradient(GradientMethod):
    """Gradient times input; for a linear score without offset it sums to the score."""

    method = "input-x-gradient"
    settings = InputXGradientConfig

    @property
    def passes(self) -> tuple[int, int]:
        """One forward and one backward pass."""
        return 1, 1

    def raw(self, entry: Entry, targets: Sequence[Target]) -> Raw:
        """Returns `x * ds/dx`."""
        engine = CaptumInputXGradient(Scorer(entry, targets))
        return engine.attribute(leaf(entry.x), target=None, additional_forward_args=rows_of(entry)), {}


class IntegratedGradients(GradientMethod):
    r"""The mean gradient on the straight way from a baseline, times the way (Sundararajan et al., 2017, eq. 1).

    :math:`(x - x') \int_0^1 \partial s(x' + \alpha (x - x')) / \partial x \, d\alpha`, by Gauss-Legendre quadrature.
    Values sum to the score minus the baseline's, but for a gap that is measured: `gap` is its size relative to that
    difference, `baseline_score` the score of the baseline.
    """

    method = "integrated-gradients"
    settings = IntegratedGradientsConfig

    @property
    def passes(self) -> tuple[int, int]:
        """One forward and backward pass for each step, and a forward pass for the baseline."""
        return self.config.n_steps + 1, self.config.n_steps

    def raw(self, entry: Entry, targets: Sequence[Target]) -> Raw:
        """Returns the integrated gradients."""
        baseline = silence(entry, self.config.baseline)
        parts = [self._one(entry.rows(slice(i, i + 1)), target, baseline) for i, target in enumerate(targets)]
        raw = torch.cat(parts)
        return raw, completeness(entry, targets, raw, baseline_scores(entry, targets, baseline)[:, 0])

    def _one(self, entry: Entry, target: Target, baseline: Tensor) -> Tensor:
        engine = CaptumIntegratedGradients(Scorer(entry, [target]), multiply_by_inputs=True)
        return engine.attribute(
            leaf(entry.x),
            baselines=baseline,
            target=None,
            additional_forward_args=rows_of(entry),
            n_steps=self.config.n_steps,
            method="gausslegendre",
            internal_batch_size=self.config.chunk,
            return_convergence_delta=False,
        ).detach()


class GradientShap(GradientMethod):
    r"""The expected gradient times way, from random baselines at random points (Lundberg and Lee, 2017).

    :math:`E[(x - x') \, \partial s(x' + \alpha (x - x')) / \partial x]` over baselines x' and :math:`\alpha` uniform
    in [0, 1]; with `sigma`, noise is added to x. `gap` is measured as for integrated gradients, against the baselines
    that were drawn; `halves` is the difference between two halves of the draws relative to their sum.

    Parameters
    ----------
    references
        Clips that serve as baselines beside the silence, cut or continued with silence to the explained clip's length.
    """

    method = "gradient-shap"
    settings = GradientShapConfig
    random = True

    def __init__(
        self, classifier: Classifier, config: Any = None, *, references: Iterable[Waveform] = (), **changes: Any
    ) -> None:
        super().__init__(classifier, config, **changes)
        self.references = tuple(references)

    @property
    def passes(self) -> tuple[int, int]:
        """One forward and backward pass for each draw, and a forward pass for each baseline."""
        return self.config.n_samples + 1 + len(self.references), self.config.n_samples

    def _config(self) -> dict[str, Any]:
        heard = [clip_sha256(Clip("reference", one)) for one in self.references]
        told = {"n_references": len(heard), **({"references": heard} if heard else {})}
        return {**super()._config(), **told}

    def raw(self, entry: Entry, targets: Sequence[Target]) -> Raw:
        """Returns the expected gradients times ways."""
        baselines = self._baselines(entry)
        shares = torch.rand(self.config.n_samples, generator=seeded(self.config.seed, 1), dtype=torch.float64)
        chosen = torch.randint(len(baselines), (self.config.n_samples,), generator=seeded(self.config.seed, 2))
        parts = []
        for i, target in enumerate(targets):
            one = entry.rows(slice(i, i + 1))
            clips = noisy(one, self.config, self.config.n_samples)
            draws = ((x, shares[n], baselines[chosen[n]]) for n, x in enumerate(clips))
            parts.append(halves(self._gradients(one, target, draws), self.config.n_samples))
        raw = torch.stack([mean for mean, _ in parts])
        scores = baseline_scores(entry, targets, baselines)[:, chosen.to(entry.x.device)].mean(1)
        return raw, {**completeness(entry, targets, raw, scores), "halves": torch.stack([apart for _, apart in parts])}

    def _gradients(
        self, one: Entry, target: Target, draws: Iterable[tuple[Tensor, Tensor, Tensor]]
    ) -> Iterable[Tensor]:
        for chunk in chunks(draws, self.config.chunk):
            ways = torch.stack([x - start for x, _, start in chunk])
            points = torch.stack([start + share.to(x) * (x - start) for x, share, start in chunk])
            yield from ways * gradient(one.moved(points), [target] * len(chunk))

    def _baselines(self, entry: Entry) -> Tensor:
        baselines = [silence(entry, self.config.baseline)]
        for reference in self.references:
            inside = reference.mono().resample(self.classifier.sample_rate).fit(entry.n_samples).samples.to(entry.x)
            with torch.no_grad():
                at_stage = self.classifier.at(inside, entry.stage)
            baselines.append(at_stage.abs() if entry.stage == "stft" else at_stage)
        return torch.cat(baselines)


class SmoothGrad(Reference):
    """The mean of another method's signed values over noisy copies of the clip (Smilkov et al., 2017).

    A method of gradients gets the noise at its own stage, magnitudes clamped at zero. Any other gets noisy sounds,
    made by noise on the magnitudes and the clip's phase. `halves` is the difference between two halves of the copies
    relative to their sum.

    Parameters
    ----------
    explainer
        What is smoothed: any explainer whose evidence is an attribution.
    """

    method = "smoothgrad"
    settings = SmoothGradConfig
    random = True

    def __init__(self, explainer: Explainer, config: Any = None, **changes: Any) -> None:
        if not isinstance(explainer, Explainer) or isinstance(explainer, SmoothGrad):
            raise ModelError(
                f"SmoothGrad smooths attributions, got {type(explainer).__name__}; give it a method such as Saliency."
            )
        self.explainer = explainer
        self.scores = explainer.scores  # type: ignore[misc]
        self.claims = tuple(c for c in explainer.claims if c in ("gradient", "localizes"))  # type: ignore[misc]
        super().__init__(explainer.classifier, config, **changes)

    @classmethod
    def ready(cls, classifier: Classifier, **options: Any) -> "SmoothGrad":
        """Returns it around the method that the option `of` names (saliency), which takes the options not its own."""
        from .load import load_explainer

        own = {name: options.pop(name) for name in tuple(options) if name in SmoothGradConfig.__dataclass_fields__}
        inner = load_explainer(options.pop("of", "saliency"), classifier=classifier, **options)
        return cls(inner, SmoothGradConfig.from_options(own, cls.method))

    @property
    def stage(self) -> Stage:
        """The stage of the smoothed method."""
        return self.explainer.stage if isinstance(self.explainer, GradientMethod) else "stft"

    @property
    def entry_stage(self) -> InputStage:
        """The stage at which the noise is added."""
        return self.explainer.entry_stage if isinstance(self.explainer, GradientMethod) else "stft"

    @property
    def passes(self) -> tuple[int, int]:
        """The smoothed method's passes, once for each copy."""
        inner = self.explainer
        forward, backward = inner.passes if isinstance(inner, GradientMethod) else inner._cost()
        return self.config.n_samples * forward, self.config.n_samples * backward

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "of": self.explainer.method, "settings": self.explainer._config()}

    def find(self, entry: Entry, targets: Sequence[Target]) -> Found:
        """Returns the mean over noisy copies, clip by clip."""
        means, apart = [], []
        for i, target in enumerate(targets):
            one = entry.rows(slice(i, i + 1))
            mean, difference = halves(self._copies(one, target), self.config.n_samples)
            means.append(mean)
            apart.append(difference)
        raw = torch.stack(means)
        measured = {"halves": torch.stack(apart)}
        return Found(raw, None, measured) if self.stage == "stft" else Found(entry.to_grid(raw), raw, measured)

    def _copies(self, one: Entry, target: Target) -> Iterable[Tensor]:
        """Yields the smoothed method's signed values for each noisy copy of one clip."""
        for chunk in chunks(noisy(one, self.config, self.config.n_samples), self.config.chunk):
            copies, targets = one.moved(torch.stack(chunk)), [target] * len(chunk)
            if isinstance(self.explainer, GradientMethod):
                yield from self.explainer.raw(copies, targets)[0].detach()
            else:
                found = self.explainer.evidence(copies.heard(), list(targets))
                yield from (told.ranking(one.grid).to(one.x) for told in found)


# -- in common --------------------------------------------------------------------------------------------------------


def leaf(x: Tensor) -> Tensor:
    """Returns a copy that gradients are taken of."""
    return x.detach().clone().requires_grad_()


def gradient(entry: Entry, targets: Sequence[Target]) -> Tensor:
    """Returns the signed gradient of each clip's score at the stage: one forward and one backward pass."""
    engine = CaptumSaliency(Scorer(entry, targets))
    return engine.attribute(leaf(entry.x), target=None, abs=False, additional_forward_args=rows_of(entry)).detach()


def baseline_scores(entry: Entry, targets: Sequence[Target], baselines: Tensor) -> Tensor:
    """Returns the scores `[batch, baseline]` of baselines for each clip's target, with the clip's phase."""
    with torch.no_grad():
        columns = [entry.scores(b.expand_as(entry.x), rows_of(entry), targets) for b in baselines]
    return torch.stack(columns, 1)


def completeness(entry: Entry, targets: Sequence[Target], raw: Tensor, baseline_score: Tensor) -> dict[str, Tensor]:
    """Returns the baseline's score, and how far values are from summing to the difference of scores, relative to it."""
    difference = entry.own_scores(targets) - baseline_score
    gap = (raw.flatten(1).sum(1) - difference).abs() / difference.abs().clamp_min(1e-12)
    return {"gap": gap, "baseline_score": baseline_score}


def noisy(one: Entry, config: GradientShapConfig | SmoothGradConfig, n: int) -> Iterable[Tensor]:
    """Yields noisy copies of one clip at its stage; the noise is fresh in each, and relative to the clip's range.

    Magnitudes are clamped at zero.
    """
    x = one.x[0]
    size = config.sigma * (x.max() - x.min())
    for i in range(n):
        if config.sigma == 0:
            yield x
            continue
        noise = torch.randn(x.shape, generator=seeded(config.seed, 3, i + 1), dtype=x.dtype)
        moved = x + size * noise.to(x.device)
        yield moved.clamp_min(0) if one.stage == "stft" else moved


def halves(values: Iterable[Tensor], n: int) -> tuple[Tensor, Tensor]:
    """Returns the mean of n values, and the difference of the means of its two halves relative to their sum."""
    sums: list[Tensor | None] = [None, None]
    for i, value in enumerate(values):
        sums[i % 2] = value if (so_far := sums[i % 2]) is None else so_far + value
    first = sums[0]
    assert first is not None
    second = first if sums[1] is None else sums[1] * ((n + 1) // 2) / (n // 2)
    apart = (first - second).norm() / (first + second).norm().clamp_min(1e-30)
    return (first if sums[1] is None else first + sums[1]) / n, apart


def chunks(values: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """Yields lists of `size` values, the last one shorter."""
    held: list[Any] = []
    for value in values:
        held.append(value)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held
