"""APEX as the paper writes it, in the plainest way: whole maps, whole transforms, one pass over all clips per stage."""

import itertools
import math

import numpy as np
import torch
from torch.nn.functional import conv2d

from earmark.types import seeded


def schedule(name):
    if name == "paper":
        return [int(n) for n in np.floor(np.linspace(100, 5, 10))]
    return [int(max(5, 100 - 9.5 * s)) for s in range(10)]


def matrix(A_raw, form):
    return torch.matrix_exp(A_raw - A_raw.T if form == "orthogonal" else A_raw)


def transform(U, maps):
    return conv2d(maps, U[:, :, None, None])


def coordinate(Zhat, k, view):
    """Returns (f, t) of one clip's transformed map [channel, freq, frame]; None is the whole axis."""
    n_freq, n_frames = Zhat.shape[1:]
    cell = max(
        itertools.product(range(n_freq), range(n_frames)), key=lambda c: (float(Zhat[k, c[0], c[1]]), -c[0], -c[1])
    )
    column = max(range(n_frames), key=lambda t: (sum(float(Zhat[k, f, t]) for f in range(n_freq)) / n_freq, -t))
    row = max(range(n_freq), key=lambda f: (sum(float(Zhat[k, f, t]) for t in range(n_frames)) / n_frames, -f))
    return {"square": cell, "time": (None, column), "frequency": (row, None), "time-frequency": (row, column)}[view]


def vector(Zhat, k, view):
    f, t = coordinate(Zhat.detach(), k, view)
    if view == "square":
        return Zhat[:, f, t]
    if view == "time":
        return Zhat[:, :, t].mean(1)
    if view == "frequency":
        return Zhat[:, f, :].mean(1)
    return 0.5 * (Zhat[:, :, t].mean(1) + Zhat[:, f, :].mean(1))


def purity(p, k):
    return p[k] / p.norm().clamp_min(1e-8)


def activation(Zhat):
    """Returns a_k of each clip: the sum over cells."""
    return Zhat.sum((2, 3))


def strongest(scores, n):
    """Returns the positions of the n largest scores; of equal ones the first."""
    return sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))[:n]


def loss(maps, U, pairs, view):
    """Returns minus the mean purity of (clip, channel) pairs, transforming each pair's whole map."""
    Zhat = transform(U, maps[pairs[:, 0]])
    terms = [purity(vector(Zhat[i], k, view), k) for i, k in enumerate(pairs[:, 1].tolist())]
    return -torch.stack(terms).mean()


def train(maps, view, form, counts, *, epochs, batch_size, lr, weight_decay, seed, max_steps=None):
    """Returns A and the loss of each step. Adam with L2 in the gradient, by hand."""
    D = maps.shape[1]
    A = torch.zeros(D, D, dtype=maps.dtype)
    m, v, losses = torch.zeros_like(A), torch.zeros_like(A), []
    for stage, n in enumerate(counts):
        scores = activation(transform(matrix(A, form), maps))
        pairs = torch.tensor([[i, k] for k in range(D) for i in strongest(scores[:, k], n)])
        for epoch in range(epochs):
            order = torch.randperm(len(pairs), generator=seeded(seed, stage, epoch))
            for batch in order.split(batch_size):
                if max_steps is not None and len(losses) == max_steps:
                    return A, losses
                A.requires_grad_(True)
                value = loss(maps, matrix(A, form), pairs[batch], view)
                (gradient,) = torch.autograd.grad(value, A)
                A = A.detach()
                gradient = gradient + weight_decay * A
                losses.append(value.item())
                step = len(losses)
                m = 0.9 * m + 0.1 * gradient
                v = 0.999 * v + 0.001 * gradient**2
                denominator = (v / (1 - 0.999**step)).sqrt() + 1e-8
                A = A - lr * (m / (1 - 0.9**step)) / denominator
    return A, losses


def planted_sources(mixing, n_clips, *, seed, shape=(4, 10), p=0.05, noise=0.05):
    """Returns maps of clips; a source is active with probability p, at one random cell and half in the next."""
    D = mixing.shape[0]
    rng = np.random.default_rng(seed)
    sources = np.zeros((n_clips, D, *shape))
    clip, source = np.nonzero(rng.random((n_clips, D)) < p)
    f, t = rng.integers(shape[0], size=len(clip)), rng.integers(shape[1], size=len(clip))
    amplitude = rng.uniform(1, 2, size=len(clip))
    sources[clip, source, f, t] = amplitude
    later = t + 1 < shape[1]
    sources[clip[later], source[later], f[later], t[later] + 1] += 0.5
    maps = np.einsum("ij,bjft->bift", mixing, sources) + noise * rng.standard_normal((n_clips, D, *shape))
    return torch.from_numpy(maps)


def random_orthogonal(D, seed):
    Q, R = np.linalg.qr(np.random.default_rng(seed).standard_normal((D, D)))
    return Q * np.sign(np.diag(R))


def entangled(D, seed):
    return np.random.default_rng(seed).standard_normal((D, D)) / math.sqrt(D) + 0.5 * np.eye(D)
