"""The codebooks of an `EncodecModel` while it is trained: running means of what they stand for (Oord et al., 2017)."""

from typing import Any

import torch
from torch import Tensor

from .base import Latents

LEAST_USED = 0.05  # running count, relative to the mean of all entries, below which an entry is drawn anew
ROUNDS = 10  # of k-means, in which codebooks begin


@torch.no_grad()
def learned_codes(model: Any, latents: Latents, decay: float | None) -> Latents:
    """Returns what codes stand for `latents`; with a decay, codebooks move towards what they stand for."""
    left, total = latents.detach(), torch.zeros_like(latents)
    for layer in model.quantizer.layers:
        codes = layer.encode(left)
        entry = layer.decode(codes)
        if decay is not None:
            follow(layer.codebook, _rows(left), codes.flatten(), decay)
        total, left = total + entry, left - entry
    return total


@torch.no_grad()
def begin_codebooks(model: Any, latents: Latents) -> None:
    """Sets codebooks by k-means, each of what those before it left."""
    left = latents
    for layer in model.quantizer.layers:
        book, rows = layer.codebook, _rows(left)
        book.embed.copy_(rows[torch.randint(len(rows), (len(book.embed),), device=rows.device)])
        book.cluster_size.fill_(0)
        book.embed_avg.fill_(0)
        for _ in range(ROUNDS):
            follow(book, rows, layer.encode(left).flatten(), 0.0)
        book.inited.fill_(1)
        left = left - layer.decode(layer.encode(left))


def follow(book: Any, rows: Tensor, codes: Tensor, decay: float) -> None:
    """Moves each entry towards the mean of its rows; entries that nobody uses are drawn anew among rows."""
    counts = torch.zeros_like(book.cluster_size).index_add_(0, codes, torch.ones_like(codes, dtype=rows.dtype))
    sums = torch.zeros_like(book.embed).index_add_(0, codes, rows)
    book.cluster_size.mul_(decay).add_(counts, alpha=1 - decay)
    book.embed_avg.mul_(decay).add_(sums, alpha=1 - decay)
    drawn = rows[torch.randint(len(rows), (len(book.embed),), device=rows.device)]
    even = len(rows) / len(book.embed)
    unused = book.cluster_size < LEAST_USED * even
    book.cluster_size[unused] = even
    book.embed_avg[unused] = even * drawn[unused]
    book.embed.copy_(book.embed_avg / book.cluster_size[:, None])


def _rows(latents: Latents) -> Tensor:
    return latents.transpose(1, 2).flatten(0, 1)
