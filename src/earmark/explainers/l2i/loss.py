"""The loss of L2I as pure functions; every term is a mean over clips.

Source: Parekh et al., "Listen to Interpret" (2022), equation 6, and its public code. Multi-label classifiers have a
cross-entropy for each label, with the mean over labels.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...types import Logits, Task, probabilities

Log1p = Float[Tensor, "batch freq frame"]
Codes = Float[Tensor, "batch component frame"]
PerClip = Float[Tensor, " batch"]


def reconstruction(log1p: Log1p, model: Log1p) -> PerClip:
    """Returns the mean squared error of each clip's log1p magnitudes."""
    return (log1p - model).square().mean((1, 2))


def fidelity(said: Logits, decided: Logits, task: Task) -> PerClip:
    """Returns the cross-entropy of what theta says to what the classifier decided, both soft."""
    wanted = probabilities(decided, task)
    if task == "multiclass":
        return -(wanted * said.log_softmax(1)).sum(1)
    return functional.binary_cross_entropy_with_logits(said, wanted, reduction="none").mean(1)


def agreement(said: Logits, decided: Logits, task: Task, threshold: float) -> PerClip:
    """Returns 1 where theta has the same top label, or for several labels the share of labels decided alike."""
    if task == "multiclass":
        return (said.argmax(1) == decided.argmax(1)).to(said)
    present = [probabilities(logits, task) >= threshold for logits in (said, decided)]
    return (present[0] == present[1]).to(said).mean(1)


def overlap(said: Logits, decided: Logits, task: Task) -> PerClip:
    """Returns how much of the probability both give to the same labels: 1 minus their distance in total variation.

    For several labels, 1 minus the mean distance of a label's probability. In [0, 1]; 1 where both are the same.
    """
    apart = (probabilities(said, task) - probabilities(decided, task)).abs()
    return 1 - (apart.sum(1) / 2 if task == "multiclass" else apart.mean(1))


def relative_error(log1p: Log1p, model: Log1p) -> PerClip:
    """Returns the squared error over the sum of squares; 0 for a silent clip that is modeled as silent, else 1."""
    error, whole = (log1p - model).square().sum((1, 2)), log1p.square().sum((1, 2))
    return torch.where(whole > 0, error / torch.where(whole > 0, whole, 1), (error > 0).to(error))
