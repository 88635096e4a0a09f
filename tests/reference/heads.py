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
