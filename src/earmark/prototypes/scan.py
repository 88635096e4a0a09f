r"""The clips that excite each channel most and least, in one pass over pooled vectors that may be larger than memory.

The score of channel k in a clip is `u_k . p` in float64, p being the clip's pooled vector (times its cells, if scores
are sums over them): the sum of the products, by NumPy's pairwise summation. Computing that for all clips and channels
would take most of the time; so a batch of clips is scored in float32 first, and only where the result lies within its
error of a channel's last place, or above, it is computed in float64. For the error of a product of n terms, in any
order,

    \|fl(u . p) - u . p\| <= gamma_n \|u\|_2 \|p\|_2,    gamma_n = n eps / (1 - n eps)    (Higham 2002, section 3.1),

so that the outcome is exactly that of sorting all scores in float64, equal ones by position. Memory: a batch, and the
table of channels and places. Batches are read, and what can be said of them alone is computed, by threads ahead.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .shards import Block, ScannedClips
from .topk import Sparse, Top

BATCH_CLIPS = 1024  # at most; blocks smaller than a quarter of it are joined
MANY = 0.05  # share of a batch's scores: with more candidates than that, float64 is tried
N_READERS = 2  # at least: while one waits for the disk
PAIRS = 256  # scores computed in float64 at a time

Basis = Float[Tensor, "channel channel"]
Tables = tuple[Sparse, Sparse]
Pairs = tuple[np.ndarray, np.ndarray]  # channels and rows
Item = TypeVar("Item")
Result = TypeVar("Result")


def strongest_and_weakest(
    scanned: ScannedClips, U: Basis, n: int, selection: Literal["sum", "mean"] = "mean"
) -> tuple[Top, Top]:
    """Returns scores and positions of the `n` clips that excite each channel most, and least.

    Parameters
    ----------
    scanned
        Of which only `blocks()` and `n_cells` are read.
    U
        The basis; the identity is recognized, and costs no product.
    n
        Places of each channel.
    selection
        Scores are the `sum` over a map's cells or their `mean`.

    Raises
    ------
    ValueError
        If a score is not finite: it has no rank.
    """
    return scan(scanned.blocks(), U, n, scanned.n_cells if selection == "sum" else None)


def scan(blocks: Iterable[Block], U: Basis, n: int, n_cells: Int[Tensor, " clip"] | None = None) -> tuple[Top, Top]:
    """Returns the same for a stream of positions and vectors, in any order and in parts of any size."""
    tables = Sparse(n, len(U)), Sparse(n, len(U), smallest=True)
    cells = None if n_cells is None else n_cells.numpy().astype(np.float64)
    scorer = _Identity(cells) if torch.equal(U, torch.eye(len(U)).to(U)) else _Product(U, cells)
    for batch in _ahead(scorer.prepare, _batches(blocks), max(N_READERS, torch.get_num_threads())):
        for table, (channels, rows) in zip(tables, scorer.candidates(batch, tables), strict=True):
            table.add(channels, scorer.exact(batch, channels, rows), batch.ids[rows])
    return tables[0].top(), tables[1].top()


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some clips: positions `[row]`, pooled vectors `[row, channel]`, and what was computed of them ahead."""

    ids: np.ndarray
    vectors: np.ndarray
    ahead: np.ndarray


@dataclass(frozen=True, eq=False)
class _Scores:
    """Scores of a batch, each known to an error of at most `row_error * channel_error`.

    Parameters
    ----------
    high, low
        `[channel]`, the largest and the smallest.
    of
        Returns those of some channels, `[channel, row]`.
    row_error, channel_error
        `[row]` and `[channel]`.
    """

    high: np.ndarray
    low: np.ndarray
    of: Callable[[np.ndarray], np.ndarray]
    row_error: np.ndarray
    channel_error: np.ndarray

    @property
    def are_finite(self) -> bool:
        """Whether every score, and its error, is a number."""
        return all(bool(np.isfinite(part).all()) for part in (self.high, self.low, self.row_error))


class _Identity:
    """U = I: scores are the vectors themselves."""

    def __init__(self, cells: np.ndarray | None) -> None:
        self.cells = cells

    def prepare(self, block: Block) -> _Batch:
        """Reads a batch; a score that is a sum is a product of two numbers, in float64."""
        ids, vectors = block[0].numpy(), block[1].numpy()
        if self.cells is not None:
            vectors = vectors * self.cells[ids, None]
        return _Batch(ids, vectors, np.stack([vectors.max(0), vectors.min(0)]))

    def candidates(self, batch: _Batch, tables: Tables) -> list[Pairs]:
        """Returns, for each table, the pairs whose scores may enter it."""
        (high, low), x = batch.ahead, batch.vectors
        of = lambda channels: np.take(x, channels, axis=1).T  # noqa: E731
        scores = _Scores(high, low, of, np.zeros(len(x)), np.zeros(x.shape[1]))
        _refuse_infinite(scores)
        return [_candidates(scores, table, batch.ids) for table in tables]

    def exact(self, batch: _Batch, channels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns the scores of pairs in float64."""
        return batch.vectors[rows, channels].astype(np.float64)


class _Product:
    """Any U: one product in float32, or in float64 where that is too coarse."""

    def __init__(self, U: Basis, cells: np.ndarray | None) -> None:
        self.cells, self.rows = cells, U.double().contiguous().numpy()
        self.lengths = np.linalg.norm(self.rows, axis=1)
        self.bases = {dtype: U.to(dtype) for dtype in (torch.float32, torch.float64)}
        self.room = np.empty((PAIRS, len(U)))
        self.tables: dict[tuple[torch.dtype, int], Tensor] = {}  # of scores, used again by the next batch
        self.in_single = torch.get_float32_matmul_precision() == "highest"  # else, products may be coarser still

    def prepare(self, block: Block) -> _Batch:
        """Reads a batch: the length of each vector, rounded up."""
        ids, vectors = block[0].numpy(), block[1].numpy()
        return _Batch(ids, vectors, 1.001 * np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))

    def candidates(self, batch: _Batch, tables: Tables) -> list[Pairs]:
        """Returns, for each table, the pairs whose scores may enter it."""
        found: list[Pairs] = []
        if self.in_single and batch.vectors.dtype == np.float32:
            scores = self._scores(batch, torch.float32)
            if scores.are_finite:
                found = [_candidates(scores, table, batch.ids) for table in tables]
                if _n_pairs(found) <= max(MANY * batch.vectors.size, 4 * tables[0].n * len(self.rows)):
                    return found
        scores = self._scores(batch, torch.float64)
        _refuse_infinite(scores)
        finer = [_candidates(scores, table, batch.ids) for table in tables]
        self.in_single &= not found or _n_pairs(finer) > 0.5 * _n_pairs(found)
        return finer

    def exact(self, batch: _Batch, channels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns the scores of pairs in float64; of many equal vectors, such as those of silence, one is computed."""
        if len(rows) <= MANY * batch.vectors.size:
            scores = self._dots(batch.vectors, rows, channels)
        else:
            pairs = _first_alike(batch.vectors, rows) * len(self.rows) + channels
            pairs, index = np.unique(pairs, return_inverse=True)
            scores = self._dots(batch.vectors, *np.divmod(pairs, len(self.rows)))[index]
        return scores if self.cells is None else scores * self.cells[batch.ids[rows]]

    def _dots(self, vectors: np.ndarray, rows: np.ndarray, channels: np.ndarray) -> np.ndarray:
        scores = np.empty(len(rows))
        for first in range(0, len(rows), PAIRS):
            part = slice(first, first + PAIRS)
            room = self.room[: len(rows[part])]
            scores[part] = dots(vectors[rows[part]], np.take(self.rows, channels[part], axis=0, out=room, mode="clip"))
        return scores

    def _scores(self, batch: _Batch, dtype: torch.dtype) -> _Scores:
        """Returns all scores of a batch."""
        vectors, lengths = torch.from_numpy(batch.vectors).to(dtype), batch.ahead.astype(np.float64)
        if dtype == torch.float64:
            lengths = np.abs(batch.vectors).max(1) * float(len(self.rows)) ** 0.5  # does not overflow
        if self.cells is not None:
            cells = self.cells[batch.ids]
            vectors, lengths = vectors * torch.from_numpy(cells).to(dtype)[:, None], lengths * cells
        table = self._table(dtype, len(vectors))
        torch.mm(self.bases[dtype], vectors.T, out=table)
        errors = error_factors(lengths, self.lengths, dtype)
        found = table.numpy()
        return _Scores(table.amax(1).numpy(), table.amin(1).numpy(), lambda channels: found[channels], *errors)

    def _table(self, dtype: torch.dtype, n_rows: int) -> Tensor:
        """Returns room for the scores of a batch; fresh memory for each would take a tenth of the product's time."""
        key = (dtype, n_rows)
        if key not in self.tables:
            self.tables = {key: torch.empty(len(self.rows), n_rows, dtype=dtype)}
        return self.tables[key]


def dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the product of each row of a with that of b, the same for any number of rows; b (float64) is spent."""
    return np.multiply(a, b, out=b).sum(1)


def error_factors(lengths: np.ndarray, of_basis: np.ndarray, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Returns factors, of vectors and of rows of U, whose product bounds the error of a score.

    Eight roundings are added for that of U, of the scaled vector and of the bound itself, and as many as there are
    terms for the score in float64. What underflows adds at most the smallest normal number to each of them.
    """
    n, about = len(of_basis), torch.finfo(dtype)
    gamma = (2 * n + 8) * (about.eps / 2) / (1 - (2 * n + 8) * (about.eps / 2))
    least = (4 * n * about.tiny / gamma) ** 0.5
    return lengths + least, np.where(of_basis > 0, gamma * (of_basis + least), 0.0)


def _candidates(scores: _Scores, table: Sparse, ids: np.ndarray) -> Pairs:
    """Returns channels and rows of the scores that may enter a table."""
    error = scores.row_error.max() * scores.channel_error
    upper = (scores.high if table.sign > 0 else -scores.low) + error
    enter = (upper > table.threshold) | ((upper == table.threshold) & (ids.min() < table.last_id))
    channels = enter.nonzero()[0]
    if not len(channels):
        return channels, channels
    found, last = scores.of(channels), table.threshold[channels]
    if len(ids) >= table.n and np.isneginf(last).any():  # n of the batch itself are as good as the n-th of them
        within = np.partition(table.sign * found, len(ids) - table.n, axis=1)[:, len(ids) - table.n]
        last = np.maximum(last, within - error[channels])
    with np.errstate(over="ignore"):  # a limit that float32 cannot hold becomes the largest number that it can
        limit = np.nextafter((last - error[channels]).astype(found.dtype), -np.inf)[:, None]
    which, rows = _where(found >= limit if table.sign > 0 else found <= -limit)
    upper = table.sign * found[which, rows] + scores.row_error[rows] * scores.channel_error[channels[which]]
    close = upper >= last[which]
    return channels[which[close]], rows[close]


def _where(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns `mask.nonzero()`, in some order; through one dimension it is several times as fast."""
    if mask.flags.c_contiguous:
        first, second = np.divmod(np.flatnonzero(mask), mask.shape[1])
    else:
        second, first = np.divmod(np.flatnonzero(mask.T), mask.shape[0])
    return first, second


def _n_pairs(found: Sequence[Pairs]) -> int:
    return sum(len(rows) for _, rows in found)


def _first_alike(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns for each of some rows the first of them that has the same vector."""
    first: dict[bytes, int] = {}
    used, index = np.unique(rows, return_inverse=True)
    return np.array([first.setdefault(vectors[row].tobytes(), row) for row in used], np.int64)[index]


def _refuse_infinite(scores: _Scores) -> None:
    if not scores.are_finite:
        raise ValueError("Scores must be finite to be ranked, got NaN or infinity; drop such clips first.")


def _batches(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yields blocks in parts of at most `BATCH_CLIPS`, small ones joined."""
    waiting: list[Block] = []
    for ids, vectors in blocks:
        for block in zip(ids.split(BATCH_CLIPS), vectors.split(BATCH_CLIPS), strict=True):
            waiting.append(block)
            if sum(len(part) for part, _ in waiting) >= BATCH_CLIPS // 4:
                yield _joined(waiting)
                waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[Block]) -> Block:
    """Returns one block; a single one is not copied."""
    if len(blocks) == 1:
        return blocks[0]
    return torch.cat([ids for ids, _ in blocks]), torch.cat([vectors for _, vectors in blocks])


def _ahead(function: Callable[[Item], Result], items: Iterable[Item], n_threads: int) -> Iterator[Result]:
    """Yields the function's results, in order; threads work on the next few items."""
    with ThreadPoolExecutor(n_threads) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
