"""From theta and activations to relevances, and from these to gains, as pure functions.

Source: Parekh et al., "Listen to Interpret" (2022), section 3.3, and its public code.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Relevance = Float[Tensor, " component"]
Dictionary = Float[Tensor, "freq component"]
Codes = Float[Tensor, "component frame"]
Gain = Float[Tensor, "freq frame"]

EMPTY = 1e-12  # a bin whose model is below this has no share


def relevance_of(
    pooled: Relevance, weight: Relevance, over: Literal["max", "max-abs"] = "max"
) -> Float[Tensor, " component"]:
    """Returns `r_k = z_k w_ck / max_j z_j w_cj`: 1 for the most relevant, below 0 for what speaks against c.

    Where no component speaks for the label, and for `max-abs`, the divisor is the largest absolute value, so that signs
    stay; zeros where all are zero.

    Parameters
    ----------
    pooled
        Activations pooled over frames, z.
    weight
        Theta's row of the label, w_c; a difference of rows for a contrast.
    """
    contributions = pooled * weight
    most = contributions.max()
    scale = most if over == "max" and most > 0 else contributions.abs().max()
    return contributions / torch.where(scale > 0, scale, torch.ones_like(scale))


def chosen(relevance: Relevance, threshold: float, top: int = 0) -> Int[Tensor, " chosen"]:
    """Returns the components whose relevance is above a threshold of 0 or more, the most relevant first; maybe none."""
    order = relevance.argsort(descending=True, stable=True)
    kept = order[relevance[order] > threshold]
    return kept[:top] if top else kept


def model_of(W: Dictionary, H: Codes) -> Gain:
    """Returns `W H`."""
    return W @ H


def share_of(W: Dictionary, H: Codes, components: Int[Tensor, " chosen"]) -> Gain:
    """Returns `sum_k W_k H_k / W H` over some components, in [0, 1]; 0 where the model is silent."""
    return _over_model(W[:, components] @ H[components], W, H).clamp(0, 1)


def weighted_share(W: Dictionary, H: Codes, relevance: Relevance) -> Gain:
    """Returns `sum_k r_k W_k H_k / W H`, the mean relevance of what a bin consists of; 0 where the model is silent."""
    return _over_model(W @ (relevance[:, None] * H), W, H)


def as_linear_gain(share: Gain, log1p: Gain) -> Gain:
    """Returns the linear gain that multiplying the log1p magnitude by a share comes to; the share itself in silence.

    `expm1(share log1p|X|) / |X|`, in [0, 1].
    """
    kept, whole = (share * log1p).expm1(), log1p.expm1()
    return torch.where(whole > 0, kept / torch.where(whole > 0, whole, 1), share).clamp(0, 1)


def _over_model(part: Gain, W: Dictionary, H: Codes) -> Gain:
    whole = model_of(W, H)
    return torch.where(whole > EMPTY, part / whole.clamp_min(EMPTY), 0)
