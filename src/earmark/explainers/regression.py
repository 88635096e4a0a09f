"""Linear models of a score on which parts are on: LIME's ridge, and Shapley values by least squares; in float64.

`z` is `[row, part]` of zeros and ones; `y` is the score of each row. Ribeiro et al. (2016), equations 1 and 2;
Lundberg and Lee (2017), theorem 2.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

Rows = Float[Tensor, "row part"]
PerRow = Float[Tensor, " row"]
PerPart = Float[Tensor, " part"]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A linear model of the score, `offset + values . z`.

    Parameters
    ----------
    values
        What each part adds.
    offset
        The score with all parts off, as the model has it.
    r2
        Share of the weighted variance that the model explains, at most 1; 1 where the score does not vary.
    error
        Monte Carlo error of a value: half the root mean square difference between the values of two halves of the
        rows, which estimates the standard deviation; 0 where nothing was drawn.
    """

    values: PerPart
    offset: float
    r2: float
    error: float = 0.0


def lime_weights(z: Rows, width: float) -> PerRow:
    """Returns `exp(-d^2 / width^2)`, d the cosine distance to all ones; the distance of all zeros is 1."""
    distance = 1 - z.double().mean(1).sqrt()
    return torch.exp(-(distance**2) / width**2)


def ridge(z: Rows, y: PerRow, weights: PerRow, alpha: float) -> Fitted:
    """Returns the minimum of `sum_i weights_i (y_i - offset - values . z_i)^2 + alpha |values|^2`."""
    z, weights = z.double(), weights.double()
    first = float(y[0])  # taken off, so that a score that does not vary has values of exactly zero
    y, share = y.double() - first, weights / weights.sum()
    z_mean, y_mean = share @ z, share @ y
    centered, rest = z - z_mean, y - y_mean
    gram = centered.T @ (weights[:, None] * centered) + alpha * torch.eye(z.shape[1], dtype=z.dtype)
    values = torch.linalg.pinv(gram, hermitian=True) @ (centered.T @ (weights * rest))
    r2 = _explained(rest, rest - centered @ values, weights)
    return Fitted(values, first + float(y_mean - z_mean @ values), r2)


def shapley(z: Rows, y: PerRow, weights: PerRow, empty: float, whole: float) -> Fitted:
    """Returns the weighted least squares fit with `offset = empty` and values that sum to `whole - empty`.

    With all coalitions and `kernel_weights` these are the Shapley values. Of several minima (fewer rows than parts)
    the one nearest to equal values is taken.
    """
    z, y, n_parts = z.double(), y.double() - empty, z.shape[1]
    equal = torch.full((n_parts,), (whole - empty) / n_parts, dtype=torch.float64)
    if n_parts == 1 or len(z) == 0:
        return Fitted(equal, empty, 1.0)
    basis = sum_zero_basis(n_parts)
    root = weights.double().sqrt()
    rest = y - z @ equal
    free = torch.linalg.pinv(root[:, None] * (z @ basis)) @ (root * rest)
    values = equal + basis @ free
    share = weights.double() / weights.double().sum()
    return Fitted(values, empty, _explained(y - share @ y, y - z @ values, weights.double()))


def sum_zero_basis(n: int) -> Float[Tensor, "n less"]:
    """Returns `n - 1` orthonormal columns that each sum to zero (Helmert's)."""
    basis = torch.triu(torch.ones(n, n - 1, dtype=torch.float64))
    k = torch.arange(1, n, dtype=torch.float64)
    basis[torch.arange(1, n), torch.arange(n - 1)] = -k
    return basis / (k * (k + 1)).sqrt()


def kernel_weights(z: Rows) -> PerRow:
    """Returns `(M - 1) / (binom(M, n) n (M - n))`, n the ones of a row; rows with none or all of them are refused."""
    n, m = z.double().sum(1), torch.tensor(float(z.shape[1]), dtype=torch.float64)
    log_binomial = torch.lgamma(m + 1) - torch.lgamma(n + 1) - torch.lgamma(m - n + 1)
    return (m - 1) / (log_binomial.exp() * n * (m - n))


def all_rows(n_parts: int) -> Rows:
    """Returns all `2^M` rows of zeros and ones; the first is all zeros, the last all ones."""
    numbers = torch.arange(2**n_parts)[:, None]
    return (numbers >> torch.arange(n_parts) & 1).float()


def coin_rows(n_parts: int, n: int, generator: torch.Generator) -> Rows:
    """Returns a row of ones and `n - 1` rows in which each part is on with probability 1/2."""
    z = (torch.rand(n, n_parts, generator=generator) < 0.5).float()
    z[0] = 1
    return z


def paired_rows(n_parts: int, n: int, generator: torch.Generator) -> Rows:
    """Returns `n` rows drawn in proportion to the Shapley kernel, each followed by its opposite `1 - z`.

    The number of ones k is drawn in proportion to `1 / (k (M - k))`, then which ones, all sets being equally likely;
    so every row has weight 1.
    """
    pairs = -(-n // 2)
    k = torch.arange(1, n_parts, dtype=torch.float64)
    sizes = 1 + torch.multinomial(1 / (k * (n_parts - k)), pairs, replacement=True, generator=generator)
    ranks = torch.rand(pairs, n_parts, generator=generator).argsort(dim=1, stable=True).argsort(dim=1)
    z = (ranks < sizes[:, None]).float()
    return torch.stack([z, 1 - z], 1).flatten(0, 1)[:n]


def with_error(fit: Callable[[slice | Tensor], Fitted], n: int) -> Fitted:
    """Returns the fit to all rows with the Monte Carlo error from two halves, made of every other pair of rows.

    Where half the pairs are fewer than the parts, a half does not determine the values, and the error comes out larger.
    """
    first = torch.arange(n) // 2 % 2 == 0
    difference = fit(first).values - fit(~first).values
    return replace(fit(slice(None)), error=float(difference.square().mean().sqrt()) / 2)


def _explained(centered: PerRow, rest: PerRow, weights: PerRow) -> float:
    total = float(weights @ centered.square())
    return 1 - float(weights @ rest.square()) / total if total > 0 else 1.0
