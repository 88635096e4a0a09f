"""The largest and smallest scores of each column in a stream, with ids: never the whole table of scores.

Ties are deterministic: equal scores are ordered by id, ascending, so that neither the order of the stream nor the
size of its parts plays a part.
"""

from dataclasses import dataclass

import numpy as np
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


class Sparse:
    """The same for a stream of which only the scores that can still enter are given, one by one.

    Parameters
    ----------
    n, n_columns
        How many scores are kept of each column.
    smallest
        Keeps the smallest scores instead of the largest.

    Attributes
    ----------
    sign
        Times which a score is the larger the better: -1 for `smallest`.
    threshold, last_id
        `[column]`, signed score and id of the last place; -inf while a place is free. They lag behind the stream.
    """

    def __init__(self, n: int, n_columns: int, *, smallest: bool = False) -> None:
        self.n, self.sign = n, -1.0 if smallest else 1.0
        self.threshold = np.full(n_columns, -np.inf)
        self.last_id = np.full(n_columns, np.iinfo(np.int64).max)
        none = np.empty(0, np.int64)
        self._columns, self._scores, self._ids = none, np.empty(0), none
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._n_waiting = 0

    def add(self, columns: np.ndarray, scores: np.ndarray, ids: np.ndarray) -> None:
        """Takes scores of some columns and rows, each pair once; those that cannot enter are dropped."""
        signed, last = self.sign * scores, self.threshold[columns]
        enters = (signed > last) | ((signed == last) & (ids < self.last_id[columns]))
        self._waiting.append((columns[enters], signed[enters], ids[enters]))
        self._n_waiting += int(enters.sum())
        if self._n_waiting > self.n * len(self.threshold) // 2:
            self.flush()

    def flush(self) -> None:
        """Brings thresholds up to date."""
        parts = zip((self._columns, self._scores, self._ids), *self._waiting, strict=True)
        columns, signed, ids = (np.concatenate(part) for part in parts)
        order = _order_of_triples(columns, signed, ids)
        columns, signed, ids = columns[order], signed[order], ids[order]
        place = np.arange(len(columns)) - np.searchsorted(columns, columns)
        kept, last = place < self.n, place == self.n - 1
        self.threshold[columns[last]], self.last_id[columns[last]] = signed[last], ids[last]
        self._columns, self._scores, self._ids = columns[kept], signed[kept], ids[kept]
        self._waiting, self._n_waiting = [], 0

    def top(self) -> Top:
        """Returns the table, best first; every column must have been given as many scores as can be kept."""
        self.flush()
        shape = (len(self.threshold), -1)
        scores, ids = (torch.from_numpy(part.reshape(shape).T) for part in (self.sign * self._scores, self._ids))
        return Top(self.n, scores, ids, self.sign < 0)


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


def _order_of_triples(columns: np.ndarray, signed: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Returns the order by column, then by signed score, descending, then by id, ascending.

    Ids are looked at only if scores are equal: without them, sorting takes a fifth of the time.
    """
    order = np.argsort(-signed)
    narrow = columns[order].astype(np.min_scalar_type(int(columns.max(initial=0))))  # up to 16 bits, sorted by radix
    order = order[np.argsort(narrow, kind="stable")]
    equal = (np.diff(columns[order]) == 0) & (np.diff(signed[order]) == 0)
    return np.lexsort((ids, -signed, columns)) if equal.any() else order


def _order(scores: Scores, ids: Ids) -> Ids:
    """Returns the rows of each column by score, descending, then by id, ascending."""
    by_id = ids.argsort(dim=0, stable=True)
    return by_id.take_along_dim(scores.take_along_dim(by_id, 0).argsort(dim=0, descending=True, stable=True), 0)
