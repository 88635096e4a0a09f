r"""The loss of LMAC-ZS as pure functions of embeddings and masks.

Source: Paissan et al., "Listenable Maps for Zero-Shot Audio Classifiers" (2024), the loss of its slides:
:math:`\sum_{i,j} |C_{ij} - t_i \cdot f_a(M(t_i, h_j) X_j)| + \lambda_1 |M|_1 + \lambda_2 \sum_i D(X_i)`, with means in
place of sums. Of all pairs of clips and prompts, the nearest prompt and some others are drawn for each clip, and
weighted so that what is expected is the mean over all pairs.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import InputError

Gain = Float[Tensor, "batch prompt freq frame"]
Sounds = Float[Tensor, "batch dimension"]
PerPrompt = Float[Tensor, "batch prompt"]
Masked = Float[Tensor, "batch prompt dimension"]  # one for each pair


@dataclass(frozen=True, eq=False)
class Pairs:
    """Prompts that are drawn for each clip.

    Parameters
    ----------
    index
        `[batch, prompt]`, positions among all prompts; the first is the one nearest to the clip.
    weight
        `[batch, prompt]`, how much of the mean over all prompts each of them stands for; rows sum to 1.
    """

    index: Int[Tensor, "batch prompt"]
    weight: Float[Tensor, "batch prompt"]


def drawn_pairs(similarity: PerPrompt, chance: PerPrompt, n_prompts: int) -> Pairs:
    """Returns the nearest prompt of each clip, and others, each as likely as any.

    Parameters
    ----------
    similarity
        Of each clip to all prompts.
    chance
        Numbers in [0, 1), which decide on the others.
    n_prompts
        How many in all; 0, or as many as there are: every one.
    """
    n_all = similarity.shape[1]
    if n_all < 2:
        raise InputError(f"At least 2 prompts were expected, got {n_all}: masks differ by them; add some.")
    n = min(n_prompts or n_all, n_all)
    nearest = similarity.argmax(1, keepdim=True)
    order = chance.to(similarity).scatter(1, nearest, 2.0)  # before all others
    index = order.argsort(dim=1, descending=True, stable=True)[:, :n]
    weight = similarity.new_full(index.shape, (n_all - 1) / (n_all * (n - 1)))
    weight[:, 0] = 1 / n_all
    return Pairs(index, weight)


def similarities(masked: Masked, text: Masked) -> PerPrompt:
    """Returns the product of each masked clip with its own prompt."""
    return (masked * text).sum(-1)


def match_loss(wanted: PerPrompt, masked: Masked, text: Masked, weight: PerPrompt) -> Tensor:
    """Returns the mean distance of similarities of masked clips from those of whole ones, the first term."""
    return (weight * (wanted - similarities(masked, text)).abs()).sum(1).mean()


def size_loss(mask: Gain, weight: PerPrompt) -> Tensor:
    """Returns the mean of the masks, the second term."""
    return (weight * mask.mean((2, 3))).sum(1).mean()


def diversity(masked: Masked, text: Masked) -> Float[Tensor, " batch"]:
    """Returns D of each clip: how far the likeness of two masked clips is from that of their prompts.

    One of each pair belongs to the nearest prompt; a mean over the others, in place of the sum.
    """
    of_prompts = (text[:, :1] * text[:, 1:]).sum(-1)
    of_masked = (masked[:, :1] * masked[:, 1:]).sum(-1)
    return (of_prompts - of_masked).abs().mean(1)


def outside_loss(outside: Sounds, text: Sounds, silence: Sounds) -> Tensor:
    """Returns how much nearer than silence what is left out still is to the nearest prompt, at least 0 (no paper's)."""
    return ((outside - silence) * text).sum(-1).clamp_min(0).mean()


def overlap(mask: Gain) -> Float[Tensor, " batch"]:
    """Returns how alike masks of different prompts are: the mean of min over max, summed over bins, of all pairs."""
    first, second = torch.triu_indices(mask.shape[1], mask.shape[1], 1)
    one, other = mask[:, first], mask[:, second]
    both, either = torch.minimum(one, other).sum((2, 3)), torch.maximum(one, other).sum((2, 3))
    return (both / either.clamp_min(1e-12)).mean(1)
