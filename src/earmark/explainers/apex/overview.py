"""`apex_overview`: what a classifier listens to, by the bank of an APEX and the head of its classifier."""

import torch

from ...classifiers.heads import Head
from ...prototypes.overview import Overview, Weights, overview
from .explainer import Apex

_ORDER = "channels are ordered by how many of their prototypes carry the label"


def apex_overview(apex: Apex, *, labels: tuple[str, ...] | None = None, top: int = 8) -> Overview:
    """Returns the global explanation of an APEX in the basis of its options.

    Parameters
    ----------
    labels
        The classes to tell of; all of the classifier's by default.
    top
        Channels per class.

    Raises
    ------
    ModelError
        If the basis is `identity` and the APEX was saved without the bank of the model's own channels.
    """
    basis = apex._basis
    weights = _weights(apex.classifier.head, apex.classifier.labels, basis.U_inv)
    note = "" if weights else not_additive(apex.classifier.head)
    return overview(basis.bank, labels or apex.classifier.labels, weights, note=note, top=top)


def not_additive(head: Head) -> str:
    """Returns why a head gives no shares of the logit."""
    if head.is_exact and not head.is_linear:
        return f"The weights of this head depend on the clip (tier {head.tier}), so classes have no shares; {_ORDER}."
    if not head.is_linear:
        return f"This head is not additive (tier {head.tier}), so there are no shares of the logit; {_ORDER}."
    return (
        "This head has a weight of its own for each cell of the map, so what a channel adds depends on where it sounds "
        f"and is not additive in class means: there are no shares of the logit; {_ORDER}."
    )


def _weights(head: Head, labels: tuple[str, ...], U_inv: torch.Tensor) -> Weights | None:
    """Returns the head in a basis, if it averages the map and is linear."""
    if head.weight is None or head.weight.ndim != 2 or head.bias is None:
        return None
    folded = head.weight.detach().cpu().double() @ U_inv.cpu().double()
    return Weights(labels, folded, head.bias.detach().cpu().double())
