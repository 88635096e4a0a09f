"""The best pairing of two sets: the linear assignment problem, solved exactly by shortest augmenting paths.

Each row in turn gets a column along the cheapest alternating path, by Dijkstra's algorithm on reduced costs (Jonker and
Volgenant 1987, for matrices of any shape Crouse 2016). All columns of a step are handled at once.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Pairs = tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]


def best_pairs(gains: Float[Tensor, "row column"]) -> Pairs:
    """Returns rows and columns of the pairing with the largest sum of gains, as many as the smaller side has.

    Rows are in ascending order. Of equally good pairings one is returned, always the same.

    Raises
    ------
    ValueError
        If a gain is not finite.

    Examples
    --------
    >>> rows, columns = best_pairs(torch.tensor([[3.0, 2.0], [3.0, 0.0]]))
    >>> columns.tolist()
    [1, 0]
    """
    if not bool(torch.isfinite(gains).all()):
        raise ValueError("Gains must be finite to be assigned.")
    costs = -gains.double().cpu().numpy()
    if costs.shape[0] > costs.shape[1]:
        rows = torch.from_numpy(_assigned(np.ascontiguousarray(costs.T)))
        order = rows.argsort()
        return rows[order], order
    return torch.arange(len(costs)), torch.from_numpy(_assigned(costs))


class _Duals:
    """Prices of rows and columns, and who has whom (-1: nobody); no pair costs less than its prices."""

    def __init__(self, costs: np.ndarray) -> None:
        self.costs = costs
        self.rows, self.columns = costs.min(1), np.zeros(costs.shape[1])
        self.column_of = np.full(costs.shape[0], -1)
        self.row_of = np.full(costs.shape[1], -1)
        for row, column in enumerate(costs.argmin(1)):  # whoever's cheapest column is free begins with it
            if self.row_of[column] < 0:
                self.row_of[column], self.column_of[row] = row, column


def _assigned(costs: np.ndarray) -> np.ndarray:
    """Returns the column of each row; there are no more rows than columns."""
    duals = _Duals(costs)
    for row in np.flatnonzero(duals.column_of < 0).tolist():
        _augment(duals, row)
    return duals.column_of


def _augment(duals: _Duals, start: int) -> None:
    """Gives a row a column, others changing theirs along the cheapest path."""
    n_columns = len(duals.columns)
    distance, before = np.full(n_columns, np.inf), np.full(n_columns, -1)
    done, visited = np.zeros(n_columns, bool), [start]
    row, length = start, 0.0
    while True:
        reached = length + duals.costs[row] - duals.rows[row] - duals.columns
        nearer = ~done & (reached < distance)
        distance[nearer], before[nearer] = reached[nearer], row
        column = _nearest(distance, done, duals.row_of)
        length, done[column] = distance[column], True
        if duals.row_of[column] < 0:
            break
        row = int(duals.row_of[column])
        visited.append(row)
    duals.rows[start] += length
    others = np.array(visited[1:], int)
    duals.rows[others] += length - distance[duals.column_of[others]]
    duals.columns[done] -= length - distance[done]
    _flip(duals, before, start, column)


def _nearest(distance: np.ndarray, done: np.ndarray, row_of: np.ndarray) -> int:
    """Returns the nearest column that is not done; of equally near ones a free one, which ends the path."""
    open_ = np.where(done, np.inf, distance)
    column = int(open_.argmin())
    if row_of[column] >= 0:
        free = np.flatnonzero((open_ == open_[column]) & (row_of < 0))
        return int(free[0]) if len(free) else column
    return column


def _flip(duals: _Duals, before: np.ndarray, start: int, column: int) -> None:
    """Gives each row on the path the column that it was reached by."""
    while True:
        row = int(before[column])
        duals.row_of[column] = row
        duals.column_of[row], column = column, int(duals.column_of[row])
        if row == start:
            return
