"""LMAC-TD in the plainest way: loops over samples, filters and frames, one clip at a time, float64."""

import numpy as np


def encode(x, filters):
    """w[c, t] = max(0, sum_n filters[c, n] x[t hop + n - hop]), the clip between zeros."""
    n_filters, n_window = filters.shape
    hop = n_window // 2
    n_frames = 1 + -(-len(x) // hop)
    code = np.zeros((n_filters, n_frames))
    for c in range(n_filters):
        for t in range(n_frames):
            total = 0.0
            for n in range(n_window):
                at = t * hop + n - hop
                total += filters[c, n] * (x[at] if 0 <= at < len(x) else 0.0)
            code[c, t] = max(0.0, total)
    return code


def decode(code, filters, n_samples):
    """x[i] = the sum over filters and frames of code[c, t] filters[c, i + hop - t hop]."""
    n_filters, n_window = filters.shape
    hop = n_window // 2
    x = np.zeros(n_samples)
    for c in range(n_filters):
        for t in range(code.shape[1]):
            for n in range(n_window):
                at = t * hop + n - hop
                if 0 <= at < n_samples:
                    x[at] += code[c, t] * filters[c, n]
    return x


def fourier_filter(k, n_window):
    """A windowed cosine of the modified discrete cosine transform, k-th of n_window / 2."""
    half = n_window // 2
    return np.array(
        [
            np.sqrt(2 / half)
            * np.sin(np.pi * (n + 0.5) / n_window)
            * np.cos(np.pi / half * (n + 0.5 + half / 2) * (k + 0.5))
            for n in range(n_window)
        ]
    )


def si_snr_db(estimate, source):
    """10 log10 of the energy of the estimate's part along the source over that of the rest, means taken off."""
    estimate, source = estimate - estimate.mean(), source - source.mean()
    target = (estimate @ source) / (source @ source) * source
    rest = estimate - target
    return 10 * np.log10((target @ target) / (rest @ rest))


def cross_entropy(logits, c):
    """-log softmax(logits)[c]."""
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[c])


def loss(inside, outside, masks, targets, weights):
    """lambda_in CE(in) - lambda_out min(CE(out), log K) + lambda_1 mean(m), a mean over clips."""
    n_clips, n_labels = inside.shape
    total = 0.0
    for i in range(n_clips):
        total += weights[0] * cross_entropy(inside[i], targets[i])
        total -= weights[1] * min(cross_entropy(outside[i], targets[i]), np.log(n_labels))
        total += weights[2] * masks[i].mean()
    return total / n_clips
