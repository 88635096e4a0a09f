"""What channels of a basis contribute to a score: by the head's weights, or by removing one channel at a time."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ...classifiers.base import Classifier, Context
from ...classifiers.layouts import TokenGrid
from ...classifiers.tape import HeadFunction
from ...types import Map, Target

ABLATION_BATCH = 32  # channels removed in one run of the head

#: A basis and its inverse, in float64.
Bases = tuple[Float[Tensor, "channel channel"], Float[Tensor, "channel channel"]]


def weights_of(classifier: Classifier, raw: Map, target: Target, context: Context | None) -> tuple[Tensor, float]:
    """Returns the weights of a score in the map of one clip, in float64, and its offset; not for tier T0.

    Parameters
    ----------
    raw
        The map of one clip, not lifted.
    context
        What belongs to the clip beside its map.

    Returns
    -------
    weight
        `[channel]` for a head that averages over cells, else `[channel, freq, frame]`; of a contrast, the difference.
    offset
        The bias; where weights are not fixed, `b_eff` of this clip (see `Head.linearize`).
    """
    row = _rows(classifier, raw, context)
    weight, offset = row(target.index)
    if target.against is None:
        return weight, offset
    other, other_offset = row(target.against)
    return weight - other, offset - other_offset


def _rows(classifier: Classifier, raw: Map, context: Context | None) -> Callable[[int], tuple[Tensor, float]]:
    """Returns a function that gives the weights and the offset of a label."""
    head = classifier.head
    if has_fixed_weights(classifier, raw):
        assert head.weight is not None and head.bias is not None
        weight, bias = head.weight, head.bias
        return lambda index: (weight[index].double(), float(bias[index]))
    held = head.held(raw, head_function(classifier, context))

    def row(index: int) -> tuple[Tensor, float]:
        J, offset = held.linearize(index)
        return J[0].double(), float(offset[0])

    return row


def ablation(
    classifier: Classifier, raw: Map, target: Target, bases: Bases, context: Context | None = None
) -> Float[Tensor, " channel"]:
    """Returns what the score loses when `U_inv[:, k] Zhat_k` is taken out of the map of one clip, for every k."""
    U, U_inv = (basis.to(raw) for basis in bases)
    losses = []
    with torch.no_grad():
        whole = target.of(classifier.logits(raw, at="map", context=context), classifier.task)
        for channels in torch.arange(len(U)).split(ABLATION_BATCH):
            own = torch.einsum("kd,dft->kft", U[channels], raw[0])
            without = raw - torch.einsum("dk,kft->kdft", U_inv[:, channels], own)
            losses.append(whole - target.of(classifier.logits(without, at="map", context=context), classifier.task))
    return torch.cat(losses).double().cpu()


def head_function(classifier: Classifier, context: Context | None) -> HeadFunction | None:
    """Returns the head of one clip, where it depends on more of the clip than its map; else `None`."""
    if context is None or not head_sees_more(classifier):
        return None
    return partial(classifier.logits, at="map", context=context)


def has_fixed_weights(classifier: Classifier, raw: Map | None = None) -> bool:
    """Says whether one set of weights and one bias hold for all clips, or for all that have maps of one size.

    They do for T1 and T2; but where a head of T1 sees more of a clip than its map, this moves the bias, and where it
    has a weight for each cell, these are those of one length of clips.

    Parameters
    ----------
    raw
        A map of the size that is asked for, not lifted; by default it is that on which the head was probed.
    """
    head = classifier.head
    if raw is not None and head.weight is not None and head.weight.shape[2:] not in ((), raw.shape[2:]):
        return False
    return head.is_linear and (head.norm is not None or not head_sees_more(classifier))


def head_sees_more(classifier: Classifier) -> bool:
    """Says whether logits depend on more than the map: on special tokens, or on features by way of other layers."""
    axes = classifier.map_axes
    if isinstance(axes, TokenGrid) and axes.n_special:
        return True
    return not classifier.has_own_head and classifier._head_needs != "length"
