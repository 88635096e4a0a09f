"""Which cells APEX points at in a clip: its top channel's, other channels', and those of the model's own basis."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ...classifiers.base import Tapped
from ...explainers.apex.explainer import Apex, _Basis
from ...explainers.apex.views import WHOLE
from ...types import Target, View
from .places import Place, everywhere, shaped


@dataclass(frozen=True)
class Pick:
    """A channel and the view's region where it is strongest."""

    channel: int
    place: Place


@dataclass(frozen=True)
class Chosen:
    """What APEX says of one clip and label.

    Parameters
    ----------
    top, least
        The channels with the highest and the lowest contribution.
    others
        All channels but the top one whose response is not the same in every cell; only those have a place.
    identity
        The top channel of the model's own basis, U = I, by the same steps.
    """

    top: Pick
    least: Pick
    others: tuple[Pick, ...]
    identity: Pick


def with_view(apex: Apex, view: View) -> Apex:
    """Returns the same basis asked where its channels are strongest in another view."""
    other = apex.using()
    other.config = replace(apex.config, view=view)
    return other


def chosen(apex: Apex, tapped: Tapped, clip: int, target: Target, n_samples: int | None = None) -> Chosen:
    """Returns what APEX says of a label of one clip of a pass; with its length, no place in padding is chosen."""
    one = Tapped(tapped.map[clip : clip + 1], tapped.logits[clip : clip + 1], tapped.context.of(clip))
    order, picks = _ranked(apex, apex._basis, one, target, n_samples)
    own = _Basis(apex._identity, apex._identity, apex.bank)  # contributions and places do not read the bank
    first, identity = _ranked(apex, own, one, target, n_samples)
    view = apex.config.view
    top = _known(picks, order, view)
    others = [pick for channel, pick in picks.items() if channel != top.channel and pick is not None]
    return Chosen(
        top=top,
        least=_known(picks, order[::-1], view),
        others=tuple(others),
        identity=_known(identity, first, view),
    )


def _known(picks: dict[int, Pick | None], order: Sequence[int], view: View) -> Pick:
    """Returns the first channel that has a place; where none has, the region at the first cell stands for all."""
    found = next((pick for channel in order if (pick := picks[channel]) is not None), None)
    return found or Pick(order[0], everywhere(view, (1, 1))[0])


def _ranked(
    apex: Apex, basis: _Basis, one: Tapped, target: Target, n_samples: int | None
) -> tuple[list[int], dict[int, Pick | None]]:
    """Returns channels by contribution, highest first, and where each is strongest."""
    maps = apex.classifier.head.lift(one.map)[0]
    contributions, _, _ = apex._contributions(one.map, maps, target, basis, one.context)
    order = contributions.argsort(descending=True, stable=True).tolist()
    maps = maps if n_samples is None else apex.classifier.inside(maps, n_samples)
    own = (basis.U.to(maps) @ maps.flatten(1)).unflatten(1, maps.shape[1:])
    every = torch.arange(len(own), device=maps.device)
    found = apex._find(maps, own, every, own.mean((1, 2)), basis)
    flat = (own.amax((1, 2)) == own.amin((1, 2))).tolist()
    cells = zip(found.freq[0].tolist(), found.frame[0].tolist(), strict=True)
    view = apex.config.view
    return order, {
        k: None if flat[k] else Pick(k, shaped(view, *(None if i == WHOLE else i for i in cell)))
        for k, cell in enumerate(cells)
    }
