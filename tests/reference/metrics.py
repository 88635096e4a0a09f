"""The metrics once more, one clip at a time, from their definitions and in the plainest way."""

import math
from itertools import pairwise

import numpy as np
import scipy.ndimage
import scipy.stats

# Masks -------------------------------------------------------------------------------------------


def order(values, by="signed"):
    """Flat indices, the larger value first, then the lower index."""
    flat = [abs(v) if by == "absolute" else v for v in np.asarray(values).ravel().tolist()]
    return sorted(range(len(flat)), key=lambda i: (-flat[i], i))


def area_mask(values, per_cent, by="signed"):
    """Exactly floor(a N) bins; `per_cent` is a whole number, so that nothing is rounded."""
    mask = np.zeros(np.asarray(values).size)
    mask[order(values, by)[: per_cent * mask.size // 100]] = 1
    return mask.reshape(np.shape(values))


def energy_mask(values, power, share):
    mask, power, kept = np.zeros(np.size(values)), np.ravel(power).astype(float), 0.0
    for i in order(values):
        if kept >= share * power.sum() * (1 - 1e-12):
            break
        mask[i], kept = 1, kept + power[i]
    return mask.reshape(np.shape(values))


# Sparseness and complexity -----------------------------------------------------------------------


def sparseness(mask):
    """The Gini index of the protocol, written as a sum."""
    values = sorted(value + 1e-7 for value in np.ravel(mask).tolist())
    n, top = len(values), 0.0
    for i, value in enumerate(values, start=1):
        top += (2 * i - n - 1) * value
    return top / (n * sum(values))


def complexity(mask):
    values = np.ravel(mask).tolist()
    total, entropy = sum(values), 0.0
    for value in values:
        if value > 0:
            entropy -= value / total * math.log(value / total)
    return entropy


def sparseness_numpy(mask):
    """The same as a metrics library runs it per mask: float64, offset, sort, one weighted sum."""
    values = np.sort(np.array(mask, dtype=np.float64).reshape(-1) + 1e-7)
    n = len(values)
    return np.sum((2 * np.arange(1, n + 1) - n - 1) * values) / (n * np.sum(values))


def complexity_numpy(mask):
    values = np.array(mask, dtype=np.float64).reshape(-1)
    return scipy.stats.entropy(pk=values / np.sum(np.abs(values)))


# Faithfulness ------------------------------------------------------------------------------------


def softmax(values):
    top = [math.exp(v - max(values)) for v in values]
    return [v / sum(top) for v in top]


def faithfulness_row(whole, inside, outside, target):
    """All numbers of one multiclass clip from its logits."""
    p, p_in, p_out = (softmax(z)[target] for z in (whole, inside, outside))
    q, q_in = (softmax(softmax(z))[target] for z in (whole, inside))
    return {
        "average_increase": 100.0 * (p_in > p),
        "average_drop": 100 * max(0, p - p_in) / p,
        "average_drop_legacy": 100 * max(0, q - q_in) / q,
        "average_gain": 100 * max(0, p_in - p) / (1 - p),
        "faithfulness_prob": p - p_out,
        "faithfulness_logit": whole[target] - outside[target],
        "input_fidelity": float(inside.index(max(inside)) == target),
        "output_fidelity": float(outside.index(max(outside)) == target),
    }


# Localization and classification -----------------------------------------------------------------


def auc(values, positive):
    """The share of pairs that are in the right order; ties half."""
    pairs = [(p > n) + (p == n) / 2 for p in values[positive].tolist() for n in values[~positive].tolist()]
    return sum(pairs) / len(pairs)


def average_precision(values, positive):
    ranked = [bool(positive.ravel()[i]) for i in order(values)]
    precisions = [sum(ranked[: k + 1]) / (k + 1) for k in range(len(ranked)) if ranked[k]]
    return sum(precisions) / len(precisions)


def iou_at_match(values, truth):
    found = set(order(values)[: int(truth.sum())])
    wanted = set(np.flatnonzero(truth).tolist())
    return len(found & wanted) / len(found | wanted)


def equal_error_rate(real, fake):
    """Rates at every threshold, one after the other, and the crossing of the two lines between them."""
    points = []
    for threshold in [*sorted({*real, *fake}), math.inf]:
        far = sum(score >= threshold for score in fake) / len(fake)
        frr = sum(score < threshold for score in real) / len(real)
        points.append((far, frr))
    for (far, frr), (next_far, next_frr) in pairwise(points):
        if next_far <= next_frr:
            gap, next_gap = far - frr, next_far - next_frr
            return far + gap / (gap - next_gap) * (next_far - far)
    raise AssertionError


# Stability ---------------------------------------------------------------------------------------


def ssim(x, y):
    """scikit-image's formula with its defaults: window 7, data range 1, sample covariance, borders cut."""
    x, y = (np.maximum(z, 0) / np.maximum(z, 0).max() for z in (x, y))

    def mean(z):
        return scipy.ndimage.uniform_filter(z, 7)

    unbiased = 49 / 48
    var_x, var_y = (unbiased * (mean(z * z) - mean(z) ** 2) for z in (x, y))
    both = unbiased * (mean(x * y) - mean(x) * mean(y))
    top = (2 * mean(x) * mean(y) + 0.01**2) * (2 * both + 0.03**2)
    values = top / ((mean(x) ** 2 + mean(y) ** 2 + 0.01**2) * (var_x + var_y + 0.03**2))
    return values[3:-3, 3:-3].mean()


def moved_frames(x, y, most=None):
    """The lag of the largest correlation of what lies over one another; the smallest of equal ones, 0 if none is."""
    x, y = (np.maximum(z, 0).sum(0) for z in (x, y))
    n = len(x)
    most = n // 2 if most is None else min(most, n // 2)
    found, best = 0, -np.inf
    for lag in sorted(range(-most, most + 1), key=lambda lag: (abs(lag), lag)):
        pairs = [(x[i], y[i + lag]) for i in range(n) if 0 <= i + lag < n]
        first, second = (np.array(z) - np.mean(z) for z in zip(*pairs, strict=True))
        spread = np.sqrt((first**2).sum() * (second**2).sum())
        correlation = (first * second).sum() / spread if spread > 0 else 0.0
        if correlation > best + 1e-9:
            found, best = lag, correlation
    return found
