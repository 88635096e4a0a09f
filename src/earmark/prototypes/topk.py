"""The largest and smallest scores of each column in a stream, with ids: never the whole table of scores.

Ties are deterministic: equal scores are ordered by id, ascending, so that neither the order of the stream nor the
size of its parts plays a part.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Scores = Float[Tensor, "row column"]
Ids = Int[Tensor, "row column"]
Best = Float[Tensor, "best column"]
BestIds = Int[Tensor, "best column"]


@dataclass(frozen=True, eq=False)
class Top:
    """The best rows of each column so far, best first.

    Parameters
    ----------
    n
        How many are kept.
    scores, ids
        `[row, column]`, at most `n` rows; every column has as many.
    smallest
        Keeps the smallest scores instead of the largest.
    """

    n: int
    scores: Scores
    ids: Ids
    smallest: bool = False

    @classmethod
    def empty(cls, n: int, n_columns: int, *, smallest: bool = False, dtype: torch.dtype = torch.float32) -> "Top":
        """Returns a table that has seen nothing."""
        return cls(n, torch.empty(0, n_columns, dtype=dtype), torch.empty(0, n_columns, dtype=torch.int64), smallest)

    def merge(self, scores: Float[Tensor, "new column"], ids: Int[Tensor, " new"]) -> "Top":
        """Returns the table after a further part of the stream, `ids` being those of its rows.

        Raises
        ------
        ValueError
            If a score is not finite: it has no rank.
        """
        if not bool(torch.isfinite(scores).all()):
            raise ValueError("Scores must be finite to be ranked, got NaN or infinity; drop such clips first.")
        columns = ids[:, None].expand(-1, scores.shape[1])
        all_scores = torch.cat([self.scores, scores.to(self.scores.dtype)])
        best, best_ids = best_rows(all_scores, torch.cat([self.ids, columns]), self.n, smallest=self.smallest)
        return Top(self.n, best, best_ids, self.smallest)


def best_rows(scores: Scores, ids: Ids, n: int, *, smallest: bool = False) -> tuple[Best, BestIds]:
    """Returns the best `n` rows of each column, best first, equal scores by ascending id.

    `torch.topk` chooses; a column in which more rows share the last place than there are places is sorted instead.
    """
    n = min(n, scores.shape[0])
    if n == 0:
        return scores[:0], ids[:0]
    signed = -scores if smallest else scores
    values, rows = signed.topk(n, dim=0)
    crowded = ((signed >= values[-1]).sum(0) > n).nonzero().flatten()
    if len(crowded):
        rows[:, crowded] = _order(signed[:, crowded], ids[:, crowded])[:n]
    rows = rows.take_along_dim(_order(signed.take_along_dim(rows, 0), ids.take_along_dim(rows, 0)), 0)
    return scores.take_along_dim(rows, 0), ids.take_along_dim(rows, 0)


def _order(scores: Scores, ids: Ids) -> Ids:
    """Returns the rows of each column by score, descending, then by id, ascending."""
    by_id = ids.argsort(dim=0, stable=True)
    return by_id.take_along_dim(scores.take_along_dim(by_id, 0).argsort(dim=0, descending=True, stable=True), 0)
