"""The loss of LMAC-ZS in the plainest way: loops over clips and prompts, the formulas of its slides with means."""

import itertools

import numpy as np


def match(audio_of_masked, text, similarity):
    """The mean over clips j and prompts i of |C_ij - t_i . f_a(M(t_i, h_j) X_j)|."""
    n_clips, n_prompts = similarity.shape
    total = 0.0
    for j in range(n_clips):
        for i in range(n_prompts):
            total += abs(similarity[j, i] - float(np.dot(text[i], audio_of_masked[j][i])))
    return total / (n_clips * n_prompts)


def size(masks):
    """The mean over clips and prompts of the mean of the mask."""
    return float(np.mean([[mask.mean() for mask in clip] for clip in masks]))


def diversity(audio_of_masked, text, own):
    """D(X_i) over j != i, as a mean: |t_i . t_j - f_a(X_i M(t_i, h_i)) . f_a(X_i M(t_j, h_i))|, t_i the own prompt."""
    terms = [
        abs(float(np.dot(text[own], text[j])) - float(np.dot(audio_of_masked[own], audio_of_masked[j])))
        for j in range(len(text))
        if j != own
    ]
    return sum(terms) / len(terms)


def overlap(masks):
    """The mean over pairs of prompts of the sum of the smaller over the sum of the larger value of each bin."""
    shares = []
    for one, other in itertools.combinations(masks, 2):
        small = large = 0.0
        for a, b in zip(one.flat, other.flat, strict=True):
            small, large = small + min(a, b), large + max(a, b)
        shares.append(small / large)
    return sum(shares) / len(shares)
