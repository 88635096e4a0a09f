"""Sparse non-negative matrix factorization: a dictionary of spectra, by multiplicative updates.

Lowers `1/2 |S - W H|^2 + mu |H|_1` over non-negative W and H, with columns of W of unit length, so that activations
cannot shrink while spectra grow. Le Roux, Weninger and Hershey, "Sparse NMF: half-baked or well done?" (2015),
equations 5 and 6 with beta = 2. Each factor is updated several times before the other one, since the products with the
columns are then the same: Gillis and Glineur, "Accelerated multiplicative updates" (2012).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

Columns = Float[Tensor, "freq column"]
Dictionary = Float[Tensor, "freq component"]
Codes = Float[Tensor, "component column"]

TINY = 1e-12
INNER = 5  # updates of one factor before the other one
ENOUGH = 1e-5  # learning ends when ten steps lower the objective by less than this share


def objective(columns: Columns, W: Dictionary, H: Codes, sparsity: float) -> float:
    """Returns `1/2 |S - W H|^2 + mu |H|_1`."""
    return float(0.5 * (columns - W @ H).square().sum() + sparsity * H.sum())


def factorize(
    columns: Columns,
    n_components: int,
    sparsity: float,
    n_steps: int,
    generator: Generator,
    told: Callable[[int, float], None] | None = None,
) -> tuple[Dictionary, Codes]:
    """Returns a dictionary with columns of unit length, and the activations of the columns that it was learned from.

    Parameters
    ----------
    columns
        `[freq, column]`, not negative, none of them zero, at least as many as components.
    n_steps
        At most so many updates of both; fewer where these no longer help.
    generator
        Draws the columns that the spectra start from, and where activations start.
    told
        Is called with the number of steps done and the objective, every ten steps.
    """
    W, H = _start(columns, n_components, generator)
    last = float("inf")
    for step in range(1, n_steps + 1):
        H = updated_codes(columns, W, H, sparsity, INNER)
        W = updated_dictionary(columns, W, H, INNER)
        if step % 10 == 0 or step == n_steps:
            value = objective(columns, W, H, sparsity)
            if told:
                told(step, value)
            if last - value < ENOUGH * value:
                break
            last = value
    return W, updated_codes(columns, W, H, sparsity, INNER)


def updated_codes(columns: Columns, W: Dictionary, H: Codes, sparsity: float, n_inner: int = 1) -> Codes:
    r"""Returns H after updates :math:`H \odot W^T S / (W^T W H + \mu)`."""
    drawn, gram = W.T @ columns, W.T @ W
    for _ in range(n_inner):
        H = H * drawn / (gram @ H + sparsity).clamp_min(TINY)
    return H


def updated_dictionary(columns: Columns, W: Dictionary, H: Codes, n_inner: int = 1) -> Dictionary:
    r"""Returns W after updates that mind its unit length.

    :math:`W \odot (S H^T + W\,\mathrm{diag}(q)) / (W H H^T + W\,\mathrm{diag}(p))` with :math:`p_k` the product of
    columns k of W and :math:`S H^T`, :math:`q_k` that of W and :math:`W H H^T`; then each column over its length.
    """
    drawn, gram = columns @ H.T, H @ H.T
    for _ in range(n_inner):
        model = W @ gram
        raised = drawn + W * (model * W).sum(0)
        lowered = model + W * (drawn * W).sum(0)
        W = normalized(W * raised / lowered.clamp_min(TINY))
    return W


def normalized(W: Dictionary) -> Dictionary:
    """Returns W with columns of unit length."""
    return W / W.norm(dim=0).clamp_min(TINY)


def codes_of(
    log1p: Float[Tensor, "batch freq frame"], W: Dictionary, sparsity: float, n_steps: int
) -> Float[Tensor, "batch component frame"]:
    r"""Returns a clip's own activations, after some updates from :math:`W^T S` with the dictionary as it is."""
    drawn, gram = W.T @ log1p, W.T @ W
    H = drawn
    for _ in range(n_steps):
        H = H * drawn / (gram @ H + sparsity).clamp_min(TINY)
    return H


def _start(columns: Columns, n_components: int, generator: Generator) -> tuple[Dictionary, Codes]:
    """Returns spectra that are a mixture of a random column and the mean one, and activations that fit in size."""
    chosen = torch.randperm(columns.shape[1], generator=generator)[:n_components]
    W = normalized(columns[:, chosen] + 0.1 * columns.mean(1, keepdim=True) + TINY)
    noise = torch.rand(n_components, columns.shape[1], generator=generator).to(columns)
    H = (W.T @ columns) * (0.5 + noise)
    return W, H / H.sum(0).clamp_min(TINY) * columns.norm(dim=0)
