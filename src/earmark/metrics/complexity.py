"""What a mask is like, whatever the classifier says of it.

Conventions: masks `[batch, freq, frame]`, gains of 0 or more; one number per clip, float64. For a binary mask of area
`a` sparseness is `1 - a` and complexity `ln(a N)` whatever the method, so that at matched area neither says anything.
Masks of different grids are compared by `complexity_normalized` alone. A mask of zeros has sparseness 0 and no
complexity (NaN).

Source: the formulas are those of Quantus (Hedström et al., 2023): Gini index after Chalasani et al. (2020), entropy
after Bhatt et al. (2020).
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

PerClip = Float[Tensor, " batch"]
Gain = Float[Tensor, "batch freq frame"]
Array = Float[np.ndarray, "batch bin"]

OFFSET = 1e-7  # Quantus adds it to every value, so that a mask of zeros has an index


def sparseness(gain: Gain) -> PerClip:
    r"""Returns the Gini index of a mask in [0, 1): 0 for equal values, `1 - a` for a binary mask (SPS; higher).

    With :math:`a_1 \le \dots \le a_N` the sorted values plus 1e-7,
    :math:`\sum_i (2 i - N - 1)\, a_i \,/\, (N \sum_i a_i)`. The weights sum to zero: the offset only counts below.
    """
    return _by_row(_gini, gain)


def complexity(gain: Gain) -> PerClip:
    r"""Returns the entropy of a mask, :math:`-\sum q \ln q` with :math:`q = M / \sum M`, nats up to ln N (COMP; lower).

    NaN for a mask of zeros.
    """
    return _by_row(_entropy, gain)


def complexity_normalized(gain: Gain) -> PerClip:
    """Returns `complexity / ln N`, in [0, 1] (COMP_n; lower); NaN for a mask of zeros, or of one bin."""
    n_bins = gain[0].numel()
    return complexity(gain) / (math.log(n_bins) if n_bins > 1 else math.nan)


def mask_mean(gain: Gain) -> PerClip:
    """Returns the mean gain (MM): for a binary mask, its area."""
    return gain.flatten(1).double().mean(1)


def energy_kept(gain: Gain, power: Float[Tensor, "batch freq frame"]) -> PerClip:
    """Returns the share of the clip's energy that the mask lets through, in [0, 1] (EK); NaN for a silent clip.

    Parameters
    ----------
    power
        `|STFT|^2` of the clips.
    """
    whole = power.double()
    return (whole * gain.double().square()).sum((1, 2)) / whole.sum((1, 2))


def _gini(rows: Array) -> list[float]:
    n_bins = rows.shape[1]
    weights = (2 * np.arange(1, n_bins + 1) - n_bins - 1).astype(rows.dtype)
    values, found = np.empty(n_bins, rows.dtype), []
    for row in rows:
        np.copyto(values, row)
        values.sort()
        total = float(values.sum())
        np.multiply(values, weights, out=values)
        found.append(float(values.sum()) / (n_bins * (total + n_bins * OFFSET)))
    return found


def _entropy(rows: Array) -> list[float]:
    values, found = np.empty(rows.shape[1], rows.dtype), []
    for row in rows:
        total, most = float(row.sum()), float(row.max())
        if not total > 0:
            found.append(math.nan)
            continue
        np.divide(row, most, out=values)  # the entropy is the same, and logarithms stay small
        np.maximum(values, np.finfo(rows.dtype).tiny, out=values)
        np.log(values, out=values)
        np.multiply(values, row, out=values)
        found.append(math.log(total / most) - float(values.sum()) / total)
    return found


def _by_row(function: Callable[[Array], list[float]], gain: Gain) -> PerClip:
    """Returns one number per mask, the masks shared among as many threads as torch may use.

    numpy works in one buffer per thread: it sorts floats ten times faster than torch, and fresh memory for each mask
    would take as long as the sums. Its sums are pairwise, exact to 1e-7 in float32.
    """
    rows = gain.detach().cpu().flatten(1).numpy()
    parts = np.array_split(rows, max(1, min(torch.get_num_threads(), len(rows))))
    with ThreadPoolExecutor(len(parts)) as pool:
        found = [value for values in pool.map(function, parts) for value in values]
    return torch.tensor(found, dtype=torch.float64, device=gain.device)
