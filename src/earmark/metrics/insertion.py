"""Insertion and deletion: how soon a decision comes back or goes as bins are added or removed.

Conventions: 20 steps from 0 to 100 % of the bins. Insertion adds the first bins to the fill, deletion removes them from
the clip. A curve is rescaled so that the fill scores 0 and the whole clip 1, and its area is taken by the trapezoid
rule over [0, 1]. Where the two differ by less than 1e-6, nothing can be rescaled and the areas are NaN. Maps of zeros,
constant, or not finite have no order: they are scored in a random one, and flagged.

Source: Petsiuk et al., "RISE" (2018); rescaled so that methods and clips are comparable.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..masks import Order, ranking_of
from ..types import Task, probabilities
from .matched import Score, scored

PerClip = Float[Tensor, " batch"]
Scalar = Literal["prob", "logit"]
N_STEPS = 20
TINY = 1e-6


@dataclass(frozen=True, eq=False)
class InsertionDeletion:
    """Logits along both ways, `[batch, step, label]`, from nothing inserted or deleted to everything.

    Parameters
    ----------
    inserted, deleted
        Element [i, k] is clip i with the first `k / n_steps` of its bins added to the fill, or removed.
    flags
        `[batch]`, sums of `earmark.masks.MapFlag`.
    """

    inserted: Float[Tensor, "batch step label"]
    deleted: Float[Tensor, "batch step label"]
    flags: Int[Tensor, " batch"]

    def areas(self, target: Int[Tensor, " batch"], task: Task, *, of: Scalar = "prob") -> tuple[PerClip, ...]:
        """Returns insertion (higher is better), deletion (lower) and their difference (higher).

        Parameters
        ----------
        target
            The explained label's position.
        of
            `prob` or `logit`.
        """
        inserted, deleted = (_scalar(logits, target, task, of) for logits in (self.inserted, self.deleted))
        fill, whole = inserted[:, :1], inserted[:, -1:]
        insertion, deletion = (_mean_height((curve - fill) / (whole - fill)) for curve in (inserted, deleted))
        flat = (whole - fill).abs()[:, 0] < TINY
        return tuple(torch.where(flat, torch.nan, area) for area in (insertion, deletion, insertion - deletion))


def insertion_deletion(
    values: Float[Tensor, "batch freq frame"],
    score: Score,
    *,
    n_steps: int = N_STEPS,
    by: Order = "signed",
    batch_size: int = 32,
) -> InsertionDeletion:
    """Returns the logits along both ways, in `2 n_steps` passes per clip: the ends are shared.

    Parameters
    ----------
    values
        Maps on the STFT grid, one per clip.
    score
        As for `matched_curves`; the fill is the scoring function's, and is named in the result by its caller.
    """
    ranking = ranking_of(values, by)
    counts = ranking.counts([step / n_steps for step in range(n_steps + 1)], keep_void=True)
    inserted = scored(ranking, counts, score, batch_size)
    between = scored(ranking, counts[:, 1:-1], lambda clips, gains: score(clips, 1 - gains), batch_size)
    deleted = torch.cat([inserted[:, -1:], between, inserted[:, :1]], 1)
    return InsertionDeletion(inserted, deleted, ranking.flags)


def _scalar(logits: Tensor, target: Tensor, task: Task, of: Scalar) -> Float[Tensor, "batch step"]:
    values = probabilities(logits.double(), task) if of == "prob" else logits.double()
    return values.gather(2, target[:, None, None].expand(-1, values.shape[1], 1).long())[..., 0]


def _mean_height(curve: Float[Tensor, "batch step"]) -> PerClip:
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)
