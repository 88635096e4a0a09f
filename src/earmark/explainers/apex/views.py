r"""Where a channel is strongest in a clip, and how pure it is there: equations (2) and (5) to (13) of APEX.

Conventions. `Z` is a map `[batch, channel, freq, frame]`, `U` the basis `[channel, channel]`, `Zhat` the map in that
basis. The argmax is of the signed value, takes no part in the gradient, and of equal values the first wins: the lowest
row, then the earliest frame. A coordinate of `WHOLE` (-1) means the whole axis.

Each view is computed in three ways, equal to rounding. *Full* transforms the map, then looks. *Gathered* looks at
`u_k . Z` (row k of U) and transforms the one vector found. *Tables* is the gathered form for one clip of which only
candidates are kept: all cells for `square`, the means over the other axis for `time` and `frequency`, both of these
for `time-frequency`; it is what training and banks use, since U commutes with means.

A map with one row (a 1-D map) has the views `square` and `time`, which coincide.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import ModelError
from ...types import Map, View

Basis = Float[Tensor, "channel channel"]
Picks = Int[Tensor, " pick"]
Cells = tuple[Int[Tensor, "batch pick"], Int[Tensor, "batch pick"]]
Tables = tuple[Float[Tensor, "_ channel"], ...]

WHOLE = -1
SMALLEST_NORM = 1e-8


@dataclass(frozen=True, eq=False)
class Found:
    """Where channels are strongest: row and frame (`WHOLE` is the whole axis), the vector p there, its purity.

    Shapes: `freq`, `frame`, `purity` `[*batch, pick]`, `vectors` `[*batch, pick, channel]` in the basis U.
    """

    freq: Int[Tensor, "*batch pick"]
    frame: Int[Tensor, "*batch pick"]
    vectors: Float[Tensor, "*batch pick channel"]
    purity: Float[Tensor, "*batch pick"]


def check_view(view: str, n_freq: int) -> None:
    """Refuses a view that a map with `n_freq` rows does not have.

    Raises
    ------
    ModelError
        For `frequency` and `time-frequency` on a 1-D map.
    """
    if n_freq == 1 and view not in ("square", "time"):
        raise ModelError(
            f"The view {view!r} needs a map with a frequency axis, and this classifier's map has one row; "
            "use 'time' (or 'square', which is the same here), or choose an earlier map layer."
        )


def transform(U: Basis, maps: Map) -> Map:
    """Returns `Zhat = U Z` in every cell, equation (2)."""
    return torch.einsum("ij,bjft->bift", U, maps)


def activation(
    U: Basis, pooled: Float[Tensor, "clip channel"], n_cells: Int[Tensor, " clip"] | None = None
) -> Float[Tensor, "clip channel"]:
    """Returns `a_k`, equation (13): the sum over cells of Zhat, as `n_cells (U GAP(Z))_k`; without them, the mean."""
    means = pooled @ U.T
    return means if n_cells is None else means * n_cells[:, None].to(means)


def purity(
    vectors: Float[Tensor, "*batch pick channel"], channels: Int[Tensor, "*#batch pick"]
) -> Float[Tensor, "*batch pick"]:
    """Returns `(p_k)_k / |p_k|` in [-1, 1], equation (12); a vector of zeros has purity 0."""
    own = vectors.take_along_dim(channels[..., None], -1)[..., 0]
    return own / vectors.norm(dim=-1).clamp_min(SMALLEST_NORM)


def find_full(maps: Map, U: Basis, channels: Picks, view: View) -> Found:
    """Returns where each channel is strongest in each clip, by transforming the whole map, equations (5) to (12)."""
    transformed = transform(U, maps)
    freq, frame = cells(transformed[:, channels], view)
    vectors = vectors_at(transformed, freq, frame, view)
    return Found(freq, frame, vectors, purity(vectors, channels[None]))


def find(maps: Map, U: Basis, channels: Picks, view: View) -> Found:
    """Returns the same as `find_full`, transforming one vector for each channel and clip instead of each cell."""
    with torch.no_grad():
        freq, frame = cells(transform_rows(U[channels], maps), view)
    vectors = vectors_at(maps, freq, frame, view) @ U.T
    return Found(freq, frame, vectors, purity(vectors, channels[None]))


def transform_rows(rows: Float[Tensor, "pick channel"], maps: Map) -> Float[Tensor, "batch pick freq frame"]:
    """Returns some channels of `Zhat`: `u_k . Z` for rows `u_k` of U."""
    return torch.einsum("kj,bjft->bkft", rows, maps)


def cells(responses: Float[Tensor, "batch pick freq frame"], view: View) -> Cells:
    """Returns row and frame of the maximum, equations (5), (7), (9); the cross of `time-frequency` has both."""
    check_view(view, responses.shape[2])
    if view == "square":
        best = responses.detach().flatten(2).argmax(2)
        return best // responses.shape[3], best % responses.shape[3]
    frame = responses.detach().mean(2).argmax(2)
    freq = responses.detach().mean(3).argmax(2)
    whole = torch.full_like(frame, WHOLE)
    return (whole if view == "time" else freq), (whole if view == "frequency" else frame)


def vectors_at(
    maps: Map, freq: Int[Tensor, "batch pick"], frame: Int[Tensor, "batch pick"], view: View
) -> Float[Tensor, "batch pick channel"]:
    """Returns p at given cells, equations (6), (8), (10), (11), in the basis of `maps`."""
    if view == "square":
        index = freq * maps.shape[3] + frame
        return _at(maps.flatten(2), index)
    if view == "time":
        return _at(maps.mean(2), frame)
    if view == "frequency":
        return _at(maps.mean(3), freq)
    return (_at(maps.mean(2), frame) + _at(maps.mean(3), freq)) / 2


def _at(
    values: Float[Tensor, "batch channel position"], index: Int[Tensor, "batch pick"]
) -> Float[Tensor, "batch pick channel"]:
    return values.transpose(1, 2).take_along_dim(index[..., None], 1)


def tables_of(maps: Float[Tensor, "channel freq frame"], view: View) -> Tables:
    """Returns the candidates of one clip, `[position, channel]` each: what `find_in_tables` looks in."""
    check_view(view, maps.shape[1])
    if view == "square":
        return (maps.flatten(1).T.contiguous(),)
    return tables_of_marginals(maps.mean(1).T.contiguous(), maps.mean(2).T.contiguous(), view)


def tables_of_marginals(
    time: Float[Tensor, "frame channel"], frequency: Float[Tensor, "freq channel"], view: View
) -> Tables:
    """Returns the candidates of one clip from its mean over rows and its mean over frames (not for `square`)."""
    check_view(view, frequency.shape[0])
    return {"time": (time,), "frequency": (frequency,), "time-frequency": (frequency, time)}[view]


def find_in_tables(tables: Tables, U: Basis, channels: Picks, view: View, n_frames: int) -> Found:
    """Returns the same as `find` for one clip of which only the tables are at hand."""
    with torch.no_grad():
        positions = strongest(tables, U[channels])
    freq, frame = _coordinates(positions, view, n_frames)
    vectors = mean_rows(tables, positions) @ U.T
    return Found(freq, frame, vectors, purity(vectors, channels))


def strongest(tables: Tables, rows: Float[Tensor, "pick channel"]) -> tuple[Int[Tensor, " pick"], ...]:
    """Returns the position in each table at which each row of U responds most."""
    return tuple((table @ rows.T).argmax(0) for table in tables)


def mean_rows(tables: Tables, positions: tuple[Int[Tensor, " pick"], ...]) -> Float[Tensor, "pick channel"]:
    """Returns p before U: the row at each position, for two tables their average, equation (11)."""
    found = [table[position] for table, position in zip(tables, positions, strict=True)]
    return found[0] if len(found) == 1 else (found[0] + found[1]) / 2


def _coordinates(
    positions: tuple[Int[Tensor, " pick"], ...], view: View, n_frames: int
) -> tuple[Int[Tensor, " pick"], Int[Tensor, " pick"]]:
    if view == "square":
        return positions[0] // n_frames, positions[0] % n_frames
    whole = torch.full_like(positions[0], WHOLE)
    return {
        "time": (whole, positions[-1]),
        "frequency": (positions[0], whole),
        "time-frequency": (positions[0], positions[-1]),
    }[view]
