"""Gradient methods by their definitions, on lists of numbers and functions of them, one value at a time."""

import math


def slope(score, x, i, step=1e-5):
    """Returns ds/dx_i by central differences."""
    up, down = list(x), list(x)
    up[i] += step
    down[i] -= step
    return (score(up) - score(down)) / (2 * step)


def integrated_gradients(score, x, baseline, n_steps=2000):
    """Returns (x - x') times the mean slope on the way, by the midpoint rule."""
    values = []
    for i in range(len(x)):
        total = 0.0
        for step in range(n_steps):
            share = (step + 0.5) / n_steps
            total += slope(score, [b + share * (a - b) for a, b in zip(x, baseline, strict=True)], i)
        values.append((x[i] - baseline[i]) * total / n_steps)
    return values


def relu(value):
    return max(value, 0.0)


def two_layers(x, hidden, out):
    """Returns out . relu(hidden x)."""
    return sum(o * relu(sum(w * v for w, v in zip(row, x, strict=True))) for o, row in zip(out, hidden, strict=True))


def guided(x, hidden, out):
    """Returns the guided gradient of `two_layers`: a unit passes what is positive, where it is on."""
    values = [0.0] * len(x)
    for o, row in zip(out, hidden, strict=True):
        on = sum(w * v for w, v in zip(row, x, strict=True)) > 0
        for i, weight in enumerate(row):
            values[i] += weight * (relu(o) if on else 0.0)
    return values


def rescale(x, baseline, hidden, out):
    """Returns DeepLIFT values of `two_layers`: the multiplier of a unit is its change out over its change in."""
    values = [0.0] * len(x)
    for o, row in zip(out, hidden, strict=True):
        at_x = sum(w * v for w, v in zip(row, x, strict=True))
        at_baseline = sum(w * v for w, v in zip(row, baseline, strict=True))
        multiplier = (relu(at_x) - relu(at_baseline)) / (at_x - at_baseline)
        for i, weight in enumerate(row):
            values[i] += (x[i] - baseline[i]) * weight * multiplier * o
    return values


def grad_cam(maps, gradients):
    """Returns sum over k of mean(g_k) A_k, signed, for maps [channel][freq][frame]."""
    return _weighted(maps, [sum(map(sum, g)) / (len(g) * len(g[0])) for g in gradients])


def grad_cam_plus_plus(maps, gradients):
    """Returns the sum over k of w_k A_k with the weights of Grad-CAM++, signed."""
    weights = []
    for plane, slopes in zip(maps, gradients, strict=True):
        cells = [(a, g) for row, other in zip(plane, slopes, strict=True) for a, g in zip(row, other, strict=True)]
        cubes = sum(a * g**3 for a, g in cells)
        alphas = [g**2 / (2 * g**2 + cubes) if 2 * g**2 + cubes != 0 else 0.0 for _, g in cells]
        weights.append(sum(alpha * relu(g) for alpha, (_, g) in zip(alphas, cells, strict=True)))
    return _weighted(maps, weights)


def _weighted(maps, weights):
    rows, columns = range(len(maps[0])), range(len(maps[0][0]))
    return [[sum(w * plane[f][t] for w, plane in zip(weights, maps, strict=True)) for t in columns] for f in rows]


def frame_shares(values, n_fft, hop_length, n_frames):
    """Returns the sum of samples' values over frames, each sample shared by the Hann windows that hold it."""
    sums = [0.0] * n_frames
    for n, value in enumerate(values):
        weights = [_hann(n - frame * hop_length + n_fft // 2, n_fft) for frame in range(n_frames)]
        for frame, weight in enumerate(weights):
            sums[frame] += value * weight / sum(weights)
    return sums


def _hann(position, n_fft):
    return 0.5 - 0.5 * math.cos(2 * math.pi * position / n_fft) if 0 <= position < n_fft else 0.0
