r"""Channels of equal size: what is done to a map before purity is learned, where single dimensions dominate it.

In the blocks of a transformer a few dimensions are many times larger than all others, in every cell and clip: a vector
p is then pure in these whatever sounds. Each channel is divided by its root mean square over what purity looks at,

    U = U' S,    U^{-1} = S^{-1} U'^{-1},    S = diag(s),    s_k = g / rms_k,

with g the geometric mean of the rms, so that det(S) = 1. S belongs to U: nothing else has to know of it, U and its
inverse stay exact inverses, and contributions still sum. Means are not subtracted: a shift is no matrix, and the offset
of a channel counts as its size.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .config import ApexConfig
from .disentangle import BasisState, TrainingClips, final_basis, mean_purity
from .views import Basis, Tables

SCALE_CLIPS = 256  # clips whose cells are looked at
SMALLEST = 1e-6  # a channel's rms, of the largest one's, below which it counts as silent and is not raised further

Scale = Float[Tensor, " channel"]


def scale_of(clips: TrainingClips) -> Scale:
    """Returns the factor of each channel, float64, from the cells of at most `SCALE_CLIPS` clips."""
    positions = range(0, len(clips), max(1, -(-len(clips) // SCALE_CLIPS)))
    squares, n_rows = torch.zeros(clips.n_channels, dtype=torch.float64), 0
    for position in positions:
        for table in clips.load([position])[0]:
            squares += table.double().square().sum(0)
            n_rows += len(table)
    rms = (squares / n_rows).sqrt()
    rms = rms.clamp_min(max(SMALLEST * float(rms.max()), 1e-30))
    return rms.log().mean().exp() / rms


def scaled(clips: TrainingClips, scale: Scale) -> TrainingClips:
    """Returns the same clips with standardized channels."""

    def load(positions: Sequence[int]) -> list[Tables]:
        return [tuple(table * scale.to(table) for table in tables) for tables in clips.load(positions)]

    return TrainingClips(clips.pooled * scale.to(clips.pooled), clips.n_cells, load)


def folded(basis: tuple[Basis, Basis], scale: Scale | None) -> tuple[Basis, Basis]:
    """Returns a basis of standardized channels, and its inverse, as those of the map's own channels."""
    if scale is None:
        return basis
    U, U_inv = basis
    return U * scale, U_inv / scale[:, None]


def centered(pooled: Float[Tensor, "clip channel"]) -> Callable[[Tensor], Tensor]:
    """Returns what makes pooled vectors comparable by their cosine: their distance from the mean in deviations.

    As they are, those of all clips point the same way where single dimensions are large in every clip, and each clip
    would pass for a copy of the others.
    """
    mean, deviation = pooled.double().mean(0), pooled.double().std(0)
    deviation = deviation.clamp_min(max(SMALLEST * float(deviation.max()), 1e-30))
    return lambda vectors: (vectors - mean) / deviation


def diagnosed(
    found: dict[str, Any],
    own: Sequence[TrainingClips | None],
    state: BasisState,
    scale: Scale,
    config: ApexConfig,
) -> dict[str, Any]:
    """Returns what differs from the diagnostics `found` of standardized clips.

    `purity_identity` is again that of the model's own channels, `own` being the training and held-out clips as they
    are; `purity_standardized` is that of U = S, where learning began.
    """
    identity = torch.eye(len(scale), dtype=torch.float64)
    U, _ = folded(final_basis(state.A, config.form), scale)
    purities = [clips and float(mean_purity(clips, identity.to(clips.pooled), config).mean()) for clips in own]
    return {
        "purity_identity": purities[0],
        "purity_held_out_identity": purities[1],
        "purity_standardized": found["purity_identity"],
        "purity_held_out_standardized": found["purity_held_out_identity"],
        "scale_range": float(scale.max() / scale.min()),
        "cond": float(torch.linalg.cond(U)),
    }
