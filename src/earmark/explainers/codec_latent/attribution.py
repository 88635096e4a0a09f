r"""How much each latent entry counts: path methods, gradient times latent, and DeepLIFT where there are rules.

All are functions of a score of latents `[row, channel, frame]`, for one clip; steps go through it in chunks.
"""

import copy
import warnings

import numpy as np
import torch
from captum.attr import DeepLift as CaptumDeepLift
from jaxtyping import Float
from torch import Tensor, nn

from ...classifiers.codec.base import Latents
from ...errors import ModelError
from ...types import Target, seeded
from ..reference import tracing
from .chain import Chain, Coded, Score


def integrated_gradients(score: Score, latents: Latents, baseline: Latents, n_steps: int, chunk: int) -> Latents:
    r"""Returns :math:`(z - z') \sum_i w_i \nabla F(z' + a_i (z - z'))`, Gauss-Legendre (Sundararajan et al., 2017)."""
    nodes, sizes = (torch.from_numpy(x).to(latents) for x in np.polynomial.legendre.leggauss(n_steps))
    shares, weights = (nodes + 1) / 2, sizes / 2
    way = latents - baseline
    mean = torch.zeros_like(latents)
    for first in range(0, n_steps, chunk):
        part = slice(first, first + chunk)
        points = baseline + shares[part, None, None] * way
        mean += (weights[part, None, None] * gradient(score, points)).sum(0, keepdim=True)
    return way * mean


def gradient_shap(
    score: Score,
    latents: Latents,
    baselines: Float[Tensor, "baseline channel frame"],
    n_samples: int,
    seed: int,
    chunk: int,
) -> tuple[Latents, Tensor]:
    """Returns the mean of gradient times way from random baselines at random points, and which were drawn."""
    shares = torch.rand(n_samples, generator=seeded(seed, 21)).to(latents)
    chosen = torch.randint(len(baselines), (n_samples,), generator=seeded(seed, 22)).to(latents.device)
    total = torch.zeros_like(latents)
    for first in range(0, n_samples, chunk):
        part = slice(first, first + chunk)
        starts = baselines[chosen[part]]
        points = starts + shares[part, None, None] * (latents - starts)
        total += ((latents - starts) * gradient(score, points)).sum(0, keepdim=True)
    return total / n_samples, chosen


def gradient(score: Score, points: Latents) -> Latents:
    """Returns the gradient of each row's score."""
    with tracing():
        leaf = points.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(score(leaf).sum(), leaf)
    return found


def deeplift(chain: Chain, clip: Coded, target: Target, baseline: Latents) -> Latents:
    """Returns DeepLIFT's rescale rule through the layers that Captum has rules for, a plain gradient through others.

    It works on a copy of classifier and codec, since Captum hooks them.

    Raises
    ------
    ModelError
        If Captum refuses: where one layer is called twice, for instance.
    """
    scorer = _Scorer(copy.deepcopy(chain), clip, target)
    try:
        with tracing(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            leaf = clip.latents.detach().clone().requires_grad_()
            found = CaptumDeepLift(scorer, multiply_by_inputs=True).attribute(leaf, baseline.clone())
    except (AssertionError, RuntimeError, AttributeError, KeyError) as error:
        why = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise ModelError(
            f"DeepLIFT has no rules for {chain.classifier.name} behind {chain.codec.name} ({why}); use "
            "attribution='integrated-gradients'."
        ) from error
    return found.detach()


class _Scorer(nn.Module):
    """The score as a module, so that Captum finds the layers inside."""

    def __init__(self, chain: Chain, clip: Coded, target: Target) -> None:
        super().__init__()
        self.inner, self.codec = chain.classifier.module, chain.codec
        self.score = chain.score(clip, target)

    def forward(self, latents: Latents) -> Float[Tensor, " row"]:
        """Returns the score of each row."""
        return self.score(latents)
