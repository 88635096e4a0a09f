"""Which latents are kept, and what the clip becomes: each set by its name, since its opposite is easily mistaken."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from ...classifiers.codec.base import Latents
from ...types import seeded

Units = Float[Tensor, " unit"]
Top = Bool[Tensor, "_ _"]


def units_of(values: Float[Tensor, "channel frame"], granularity: str) -> Units:
    """Returns the value of each entry, frame or channel: the sum over its entries."""
    if granularity == "frame":
        return values.sum(0)
    return values.sum(1) if granularity == "channel" else values.flatten()


def top(values: Shaped[Tensor, "channel frame"], share: float, ranking: str, granularity: str, seed: int = 0) -> Top:
    """Returns where the most important share lies, `[channel, frame]` or what broadcasts to it.

    Parameters
    ----------
    share
        Of the units; their number is rounded.
    ranking
        `signed`: the largest values; `absolute`: the largest sizes.
    seed
        Of the order of units that are equal.
    """
    units = units_of(values, granularity)
    units = units.abs() if ranking == "absolute" else units
    shuffled = torch.randperm(len(units), generator=seeded(seed, 31)).to(units.device)
    order = shuffled[units[shuffled].argsort(descending=True, stable=True)]
    chosen = torch.zeros(len(units), dtype=torch.bool, device=units.device)
    chosen[order[: round(share * len(units))]] = True
    if granularity == "frame":
        return chosen[None].expand(values.shape)
    return chosen[:, None].expand(values.shape) if granularity == "channel" else chosen.view(values.shape)


def keep_top(latents: Latents, chosen: Top, replacement: Latents) -> Latents:
    """Returns the chosen entries as they are, and the replacement elsewhere."""
    return torch.where(chosen, latents, replacement)


def drop_top(latents: Latents, chosen: Top, replacement: Latents) -> Latents:
    """Returns the replacement in the chosen entries, and all others as they are."""
    return torch.where(chosen, replacement, latents)
