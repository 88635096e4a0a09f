"""Slow twins of the methods that switch parts off, written from the papers' equations in the plainest way."""

import math
from itertools import combinations

import numpy as np


def shapley_values(value, n_parts):
    """phi_i = sum over S without i of |S|! (M - |S| - 1)! / M! (v(S + i) - v(S)), `value` taking a set."""
    phi = []
    for i in range(n_parts):
        others = [j for j in range(n_parts) if j != i]
        total = 0.0
        for size in range(n_parts):
            weight = math.factorial(size) * math.factorial(n_parts - size - 1) / math.factorial(n_parts)
            for S in combinations(others, size):
                total += weight * (value(frozenset((*S, i))) - value(frozenset(S)))
        phi.append(total)
    return np.array(phi)


def kernel_weight(z):
    """(M - 1) / (binom(M, n) n (M - n)) with n the number of ones."""
    M, n = len(z), int(sum(z))
    return (M - 1) / (math.comb(M, n) * n * (M - n))


def lime_weight(z, width):
    """exp(-d^2 / width^2), d the cosine distance between z and all ones."""
    z, ones = np.asarray(z, float), np.ones(len(z))
    norm = np.linalg.norm(z) * np.linalg.norm(ones)
    distance = 1 - z @ ones / norm if norm > 0 else 1.0
    return math.exp(-(distance**2) / width**2)


def ridge(z, y, weights, alpha):
    """Minimum of sum w (y - b0 - b z)^2 + alpha |b|^2, all unknowns at once; the offset comes first."""
    X = np.column_stack([np.ones(len(z)), z])
    penalty = alpha * np.diag([0.0] + [1.0] * z.shape[1])
    return np.linalg.solve(X.T @ np.diag(weights) @ X + penalty, X.T @ (weights * y))


def rise(scores, masks, p):
    """1 / (N p) sum_i s_i m_i."""
    total = np.zeros_like(masks[0])
    for score, mask in zip(scores, masks, strict=True):
        total += score * mask
    return total / (len(scores) * p)


def coarse_mask(nodes, shift, shape):
    """Bilinear between nodes; bin b of n lies at b / (n - 1) of the cells, moved by the shift."""
    cells = np.array(nodes.shape) - 2
    mask = np.zeros(shape)
    for f in range(shape[0]):
        for t in range(shape[1]):
            u, v = f / (shape[0] - 1) * cells[0] + shift[0], t / (shape[1] - 1) * cells[1] + shift[1]
            i, j = math.floor(u), math.floor(v)
            a, b = u - i, v - j
            mask[f, t] = (1 - a) * (1 - b) * nodes[i, j] + (1 - a) * b * nodes[i, j + 1]
            mask[f, t] += a * (1 - b) * nodes[i + 1, j] + a * b * nodes[i + 1, j + 1]
    return mask


def cubic_spline(x):
    """The density of the sum of four even numbers in [-1/2, 1/2]: how a tent overlaps a tent moved by x."""
    x = abs(x)
    if x < 1:
        return 2 / 3 - x**2 + x**3 / 2
    return (2 - x) ** 3 / 6 if x < 2 else 0.0


def occlusion(score, shape, rows, columns):
    """Mean over the windows that cover a bin of score(all ones) - score(ones without the window)."""
    total, count = np.zeros(shape), np.zeros(shape)
    for row in rows:
        for column in columns:
            inside = np.outer(row, column)
            total += (score(np.ones(shape)) - score(1 - inside)) * inside
            count += inside
    return total / count


def auc(values, truth):
    """Share of pairs (inside, outside) in which the inside bin has the larger value; ties count half."""
    inside, outside = values[truth], np.sort(values[~truth])
    below = np.searchsorted(outside, inside, "left")
    upto = np.searchsorted(outside, inside, "right")
    return float(((below + upto) / 2).mean() / len(outside))
