"""Ranks of values, of which correlations, areas under curves and top bins are made."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..masks import descending

Row = Float[Tensor, " bin"]


def average_ranks(values: Row) -> Float[Tensor, " bin"]:
    """Returns ranks 1 ... N from small to large, float64; equal values share the mean of their ranks."""
    array = values.detach().cpu().numpy()
    order = np.argsort(array)
    ordered = array[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], len(array))
    ranks = np.empty(len(array))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return torch.from_numpy(ranks)


def auc_of_ranks(values: Row, positive: Tensor) -> float:
    """Returns the area under the ROC curve in [0, 1], ties counted half; NaN without positives or without negatives.

    It is the share of pairs of a positive and a negative in which the positive is larger.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if 0 in (n_positive, n_negative):
        return float("nan")
    total = float(average_ranks(values)[positive.cpu().bool()].sum())
    return (total - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def mean_precision(values: Row, positive: Tensor) -> float:
    """Returns average precision, the mean precision at positives, ties in stable order; NaN without positives."""
    hits = positive.cpu().bool()[descending(values.detach().cpu()[None])[0]]
    if not bool(hits.any()):
        return float("nan")
    places = hits.nonzero()[:, 0].double() + 1
    return float((torch.arange(1, len(places) + 1, dtype=torch.float64) / places).mean())
