"""How good a classifier is: what stands beside every table of explanations.

Conventions: scores and labels of whole sets, `[clip]` or `[clip, label]`; numbers in [0, 1]. Two conventions exist for
labels that no clip has: `ignore` leaves them out of a mean, `zero` counts them as 0, as the multi-label functions of
torchmetrics 1.9 do for average precision and AUROC. Both are given, by name.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from .ranks import auc_of_ranks, mean_precision

Absent = Literal["ignore", "zero"]
Scores = Float[Tensor, "clip label"]
Present = Bool[Tensor, "clip label"]


def equal_error_rate(scores: Float[Tensor, " clip"], bona_fide: Bool[Tensor, " clip"]) -> float:
    """Returns the rate at which as many fakes are accepted as bona fide clips refused (EER; lower is better).

    The threshold runs over the scores that occur (accepted is `score >= threshold`) and one above all; between the two
    where false acceptance minus false refusal changes sign, both are interpolated linearly.

    Parameters
    ----------
    scores
        Higher means more bona fide.

    Raises
    ------
    InputError
        If one of the two kinds is missing.
    """
    real, fake = scores[bona_fide].double().sort().values, scores[~bona_fide].double().sort().values
    if 0 in (len(real), len(fake)):
        raise InputError(f"An EER needs both kinds, got {len(real)} bona fide and {len(fake)} fake clips.")
    thresholds = torch.cat([scores.double().unique(), torch.tensor([torch.inf], dtype=torch.float64)])
    accepted = 1 - torch.searchsorted(fake, thresholds).double() / len(fake)
    refused = torch.searchsorted(real, thresholds).double() / len(real)
    after = int((accepted <= refused).nonzero()[0, 0])
    before = max(after - 1, 0)
    gap = accepted - refused
    part = 0.0 if before == after else float(gap[before] / (gap[before] - gap[after]))
    return float(torch.lerp(refused[before], refused[after], part))


def mean_equal_error_rate(rates: Mapping[str, float], trained_on: str | None = None) -> tuple[float, float]:
    """Returns the plain mean of EERs over test sets (aEER), with and without the set of the training condition.

    Parameters
    ----------
    rates
        EER by the name of the test set.
    trained_on
        Which of them is that set; without it both numbers are the same.
    """
    others = [rate for name, rate in rates.items() if name != trained_on]
    return sum(rates.values()) / max(len(rates), 1), sum(others) / max(len(others), 1)


def average_precisions(scores: Scores, present: Present) -> Float[Tensor, " label"]:
    """Returns by label the mean precision at its positives (AP), ties in the order of clips; NaN for absent ones."""
    columns = zip(scores.T, present.T, strict=True)
    return torch.tensor([mean_precision(column.contiguous(), hits) for column, hits in columns], dtype=torch.float64)


def aurocs(scores: Scores, present: Present) -> Float[Tensor, " label"]:
    """Returns, by label, the area under the ROC curve, ties half; NaN for labels that no clip or every clip has."""
    columns = zip(scores.T, present.T, strict=True)
    return torch.tensor([auc_of_ranks(column.contiguous(), hits) for column, hits in columns], dtype=torch.float64)


def macro(by_label: Float[Tensor, " label"], absent: Absent) -> float:
    """Returns the mean over labels: cmAP of `average_precisions`, AUROC of `aurocs`; NaN if no label is defined.

    Parameters
    ----------
    absent
        `ignore`: labels that are NaN are left out. `zero`: they count as 0.
    """
    if absent == "zero":
        return float(by_label.nan_to_num(0).mean())
    return float(by_label[~by_label.isnan()].mean())


def top_label_hits(scores: Scores, present: Present) -> Float[Tensor, " clip"]:
    """Returns 1 where the top label is among the clip's labels, else 0 (T1-Acc is the mean); NaN where it has none."""
    hits = present.gather(1, scores.argmax(1, keepdim=True))[:, 0].double()
    return torch.where(present.any(1), hits, torch.nan)


def restricted(logits: Scores, evaluated: Bool[Tensor, " label"]) -> Scores:
    """Returns logits with minus infinity for labels that are not evaluated; whether that was done is stated."""
    return torch.where(evaluated, logits, -torch.inf)
