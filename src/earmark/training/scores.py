"""The two numbers by which a training chooses its epoch."""

import torch
from jaxtyping import Float
from torch import Tensor


def accuracy(logits: Float[Tensor, "clip label"], labels: Float[Tensor, "clip label"]) -> float:
    """Returns the share of clips whose top label is among their labels."""
    top = logits.argmax(1, keepdim=True)
    return float((labels.gather(1, top) > 0.5).float().mean())


def macro_average_precision(logits: Float[Tensor, "clip label"], labels: Float[Tensor, "clip label"]) -> float:
    """Returns average precision, averaged over the labels that occur; ties are in the order of the clips.

    Average precision is the mean, over positive clips, of the precision at their rank.
    """
    order = logits.argsort(dim=0, descending=True, stable=True)
    hits = (labels > 0.5).gather(0, order).double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1, dtype=torch.float64)[:, None]
    n_positive = hits.sum(0)
    values = (precision * hits).sum(0)[n_positive > 0] / n_positive[n_positive > 0]
    return float(values.mean())
