"""The losses of L-MAC as pure functions of logits and masks; every term is a mean over clips.

Source: Paissan et al., "Listenable Maps for Audio Classifiers" (2024), eq. 2 to 5, with the signs and weights of its
public code. There the mask's mean was summed over the clips of a batch, so that its weight depended on the batch size.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from ...types import Logits, Task, probabilities

Gain = Float[Tensor, "batch freq frame"]
PerClip = Float[Tensor, " batch"]
Targets = Int[Tensor, " batch"]

THINNING = 8  # every eighth bin tells where a threshold lies
LOUD = 0.35  # bins of a source above this share of its maximum are its own


@dataclass(frozen=True)
class Weights:
    """How the terms of the loss add up."""

    inside: float = 4.0
    outside: float = 0.2
    l1: float = 6.4
    tv: float = 0.0


def decision_loss(logits: Logits, target: Targets, task: Task) -> PerClip:
    """Returns the cross-entropy of each clip's label: softmax, or sigmoid of that label alone for several labels."""
    if task == "multiclass":
        return functional.cross_entropy(logits, target, reduction="none")
    return functional.softplus(-logits.gather(1, target[:, None])[:, 0])


def drop_loss(inside: Logits, whole: Logits, target: Targets, task: Task) -> PerClip:
    """Returns the relative loss of probability, `1 - p_in / p`, at least 0: the average drop itself, at most 1."""
    p, p_in = (probabilities(z, task).gather(1, target[:, None])[:, 0] for z in (whole, inside))
    return (1 - p_in / p.clamp_min(1e-6)).clamp_min(0)


def bounded(loss: PerClip, n_labels: int) -> PerClip:
    """Returns a loss no larger than that of a uniform guess, `log K`: what is left out need not be worse than that."""
    return loss.clamp_max(math.log(max(n_labels, 2)))


def lmac_loss(
    inside: Logits,
    outside: Logits,
    mask: Gain,
    target: Targets,
    task: Task,
    weights: Weights,
    decided: PerClip | None = None,
) -> dict[str, Tensor]:
    """Returns the terms of eq. 2 to 4, already weighted; their sum is the loss.

    `inside` CE(f(M X), c), `outside` -CE(f((1 - M) X), c) bounded below by -log K, `l1` the mean of M, and `tv` its
    mean absolute change to the next bin and frame. Where nothing was `decided` (0 in place of 1), only the latter two
    count.
    """
    counts = torch.ones_like(inside[:, 0]) if decided is None else decided
    left = bounded(decision_loss(outside, target, task), outside.shape[1])
    terms = {
        "inside": weights.inside * (counts * decision_loss(inside, target, task)).mean(),
        "outside": -weights.outside * (counts * left).mean(),
        "l1": weights.l1 * mask.mean(),
    }
    if weights.tv:
        terms["tv"] = weights.tv * (mask.diff(dim=1).abs().mean() + mask.diff(dim=2).abs().mean())
    return terms


def areas_between(budget: PerClip, least: float, most: float) -> PerClip:
    """Returns areas whose logarithm is uniform between two shares, from numbers in [0, 1]."""
    return least * (most / least) ** budget


def top_mask(logits: Gain, areas: PerClip, softness: float, *, hard: bool = True) -> Gain:
    """Returns the share of bins with the largest logits.

    Hard: 1 or 0, with the gradient of the soft mask (the straight-through estimator). Soft: `soft_top`. The threshold
    is that of every eighth bin, so that areas are met to about a part in a hundred.
    """
    threshold = thresholds(logits.detach(), areas)
    soft = soft_top(logits, threshold, softness)
    if not hard:
        return soft
    return (logits >= threshold[:, None, None]).to(soft) + (soft - soft.detach())


def soft_top(logits: Gain, threshold: PerClip, softness: float) -> Gain:
    """Returns `sigmoid((logit - threshold) / softness)`."""
    return ((logits - threshold[:, None, None]) / softness).sigmoid()


def thresholds(logits: Gain, areas: PerClip) -> PerClip:
    """Returns the value that a share of each clip's bins reaches or exceeds, of every eighth bin."""
    thin = logits.flatten(1)[:, ::THINNING].sort(1, descending=True).values
    position = (areas * thin.shape[1]).long().clamp(0, thin.shape[1] - 1)
    return thin.gather(1, position[:, None])[:, 0]


def likeness(mask: Gain, mixture: Gain, source: Gain) -> PerClip:
    """Returns the cosine of what a mask keeps of a mixture and the source, `<S, M X> / |S| |M X|`, in [0, 1]."""
    kept, own = (mask * mixture).flatten(1), source.flatten(1)
    return functional.cosine_similarity(kept, own, dim=1)


def guided(mask: Gain, mixture: Gain, source: Gain, threshold: float) -> Bool[Tensor, " batch"]:
    """Returns which clips are guided: those whose likeness reaches the threshold (CCT)."""
    return likeness(mask.detach(), mixture, source) >= threshold


def apart_loss(mask_logits: Gain, own: Gain, other: Gain) -> PerClip:
    """Returns how far a mask of two sounds together is from what one of them holds of the energy (no paper's).

    Binary cross-entropy to `|S|^2 / (|S|^2 + |N|^2)` in each bin, weighted by the louder of the two magnitudes, so that
    faint bins, which nobody hears and which are most, do not decide. `own` S and `other` N are magnitudes.
    """
    weight = torch.maximum(own, other)
    weight = weight / weight.mean((1, 2), keepdim=True).clamp_min(1e-12)
    share = own.square() / (own.square() + other.square()).clamp_min(1e-12)
    return (weight * functional.binary_cross_entropy_with_logits(mask_logits, share, reduction="none")).mean((1, 2))


def guidance_loss(mask_logits: Gain, mixture: Gain, source: Gain, form: str) -> PerClip:
    """Returns how far a mask is from the clean source, per clip.

    `code`: binary cross-entropy of the mask to bins above 0.35 of the source's maximum, as was run. `paper`: the mean
    squared distance of what is kept to the source (eq. 5). Spectra are log1p magnitudes.
    """
    if form == "paper":
        return (mask_logits.sigmoid() * mixture - source).square().mean((1, 2))
    loud = (source >= LOUD * source.amax((1, 2), keepdim=True)).to(mask_logits)
    return functional.binary_cross_entropy_with_logits(mask_logits, loud, reduction="none").mean((1, 2))
