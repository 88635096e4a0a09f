"""Heads by their definitions, one number at a time: averages, a linear layer, the LayerNorm lift."""

import math


def pooled(maps):
    """Returns the mean over cells of a map [channel][freq][frame]."""
    return [sum(sum(row) for row in channel) / (len(channel) * len(channel[0])) for channel in maps]


def linear(values, weight, bias):
    return [b + sum(w * v for w, v in zip(row, values, strict=True)) for row, b in zip(weight, bias, strict=True)]


def layer_norm(values, gamma, beta, eps):
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return [g * (v - mean) / math.sqrt(variance + eps) + b for v, g, b in zip(values, gamma, beta, strict=True)]


def lift(maps, gamma, beta, eps):
    """Returns gamma_k (Z[k, f, t] - mu) / s + beta_k, with mu and s of the pooled vector."""
    values = pooled(maps)
    mu = sum(values) / len(values)
    s = math.sqrt(sum((v - mu) ** 2 for v in values) / len(values) + eps)
    return [[[gamma[k] * (z - mu) / s + beta[k] for z in row] for row in channel] for k, channel in enumerate(maps)]


# -- heads with gates: each returns J[label][channel][freq][frame] and b_eff[label] of one map, its gates held


def panns(maps, fc1, fc):
    """Mean over freq, maximum plus mean over frames, linear, ReLU, linear; layers are (weight, bias)."""
    n_freq, n_frames = len(maps[0]), len(maps[0][0])
    rows = [[sum(channel[f][t] for f in range(n_freq)) / n_freq for t in range(n_frames)] for channel in maps]
    loudest = [row.index(max(row)) for row in rows]
    hidden = linear([max(row) + sum(row) / n_frames for row in rows], *fc1)
    is_open = [1.0 if h > 0 else 0.0 for h in hidden]

    def share(k, t):
        return ((1.0 if t == loudest[k] else 0.0) + 1 / n_frames) / n_freq

    return _through_units(maps, fc1, fc, is_open, share)


def gated_mlp(maps, fc1, fc, gate):
    """Mean over cells, linear, `x gate(x)`, linear."""
    hidden = linear(pooled(maps), *fc1)
    n_cells = len(maps[0]) * len(maps[0][0])
    return _through_units(maps, fc1, fc, [gate(h) for h in hidden], lambda _k, _t: 1 / n_cells)


def _through_units(maps, fc1, fc, gates, share):
    """The logit is `b + sum_i w_i g_i (b1_i + sum_k w1_ik sum_ft share_k(t) Z_kft)`."""
    (w1, b1), (w, b) = fc1, fc
    J, offset = [], []
    for row, bias in zip(w, b, strict=True):
        slopes = [sum(a * g * unit[k] for a, g, unit in zip(row, gates, w1, strict=True)) for k, _ in enumerate(maps)]
        J.append(
            [
                [[slopes[k] * share(k, t) for t, _ in enumerate(line)] for line in channel]
                for k, channel in enumerate(maps)
            ]
        )
        offset.append(bias + sum(a * g * c for a, g, c in zip(row, gates, b1, strict=True)))
    return J, offset


def squeeze_excite(maps, squeeze, excite, fc):
    """Each channel times sigmoid(excite(ReLU(squeeze(means)))), mean over cells, linear."""
    hidden = [max(h, 0.0) for h in linear(pooled(maps), *squeeze)]
    gates = [sigmoid(e) for e in linear(hidden, *excite)]
    n_cells = len(maps[0]) * len(maps[0][0])
    J = [
        [[[w * g / n_cells for _ in line] for line in channel] for w, g, channel in zip(row, gates, maps, strict=True)]
        for row in fc[0]
    ]
    return J, list(fc[1])


def attention_pooling(maps, attend, fc):
    """Softmax over frames of a score of the mean over freq weighs the frames; then a linear layer."""
    n_freq, n_frames = len(maps[0]), len(maps[0][0])
    frames = [[sum(line[t] for line in channel) / n_freq for channel in maps] for t in range(n_frames)]
    scores = [math.exp(linear(frame, *attend)[0]) for frame in frames]
    weights = [s / sum(scores) for s in scores]
    J = [[[[w * a / n_freq for a in weights] for _ in range(n_freq)] for w in row] for row in fc[0]]
    return J, list(fc[1])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))
