"""Orders of axes: how a layer's output becomes a map `[batch, channel, freq, frame]`, and back.

Convolutions give planes in either order, or one row; Swin networks put channels last; transformers give tokens, of
which some (class, distillation) stand for no place. What is not part of the map is its context: it is kept beside it.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ModelError
from ..types import Map

PlainAxes = Literal["FT", "TF", "T", "TC", "FTC", "TFC"]
FeatureAxes = Literal["FT", "TF", "CFT", "CTF", "S", "CS"]

#: Where each plain order has channel, freq and frame behind the batch axis; freq may be missing.
_ORDER: dict[str, tuple[int, ...]] = {
    "FT": (1, 2, 3),
    "TF": (1, 3, 2),
    "T": (1, 2),
    "TC": (2, 1),
    "FTC": (3, 1, 2),
    "TFC": (3, 2, 1),
}


@dataclass(frozen=True)
class TokenGrid:
    """Tokens `[batch, special + cell, channel]` whose cells lie on a grid of frequency and time.

    Parameters
    ----------
    n_freq
        Rows of the grid; the frames follow from the number of tokens.
    n_special
        Tokens before the grid that stand for no place: class and distillation tokens.
    order
        `FT`: all frames of a row follow each other; `TF`: all rows of a frame do.
    folds
        HTS-AT lays this many parts of a clip one below the other: the grid has `folds * n_freq` rows.
    square
        Whether the grid has as many rows as columns wherever it is tapped, as each stage of HTS-AT has: of another
        number of tokens than at the map layer, rows are then those of another resolution.
    """

    n_freq: int
    n_special: int = 0
    order: Literal["FT", "TF"] = "FT"
    folds: int = 1
    square: bool = field(default=False, repr=False)  # no part of a fingerprint: the map is the same

    def __post_init__(self) -> None:
        if self.n_freq < 1 or self.n_special < 0 or self.folds < 1 or self.order not in ("FT", "TF"):
            raise ModelError(
                f"A token grid has n_freq and folds of 1 or more, n_special of 0 or more, order FT or TF; got {self}."
            )

    def rows(self, n_cells: int) -> int:
        """Returns the rows of frequency of a grid of so many cells."""
        return math.isqrt(n_cells) // self.folds if self.square else self.n_freq

    def holds(self, n_cells: int) -> bool:
        """Says whether so many cells fill a grid."""
        rows = self.rows(n_cells) * self.folds
        return rows > 0 and n_cells % rows == 0 and (not self.square or rows * rows == n_cells)


MapAxes = PlainAxes | TokenGrid


def n_axes(axes: MapAxes) -> int:
    """Returns how many axes a layer's output has, batch included."""
    return 3 if isinstance(axes, TokenGrid) else len(_ORDER[axes]) + 1


def has_rows(axes: MapAxes) -> bool:
    """Says whether the map has a frequency axis."""
    return isinstance(axes, TokenGrid) or len(_ORDER[axes]) == 3


def fits(raw: Tensor, axes: MapAxes) -> bool:
    """Says whether a layer's output can be a map of this order."""
    if raw.ndim != n_axes(axes) or not raw.is_floating_point() or raw.numel() == 0:
        return False
    if not isinstance(axes, TokenGrid):
        return True
    n_cells = raw.shape[1] - axes.n_special
    return n_cells > 0 and axes.holds(n_cells)


def canonical(raw: Tensor, axes: MapAxes) -> Map:
    """Returns a layer's output as a map `[batch, channel, freq, frame]`."""
    if isinstance(axes, TokenGrid):
        return _of_tokens(raw[:, axes.n_special :], axes)
    order = _ORDER[axes]
    return raw.permute(0, order[0], order[1])[:, :, None] if len(order) == 2 else raw.permute(0, *order)


def special_of(raw: Tensor, axes: MapAxes) -> Float[Tensor, "batch special channel"] | None:
    """Returns the tokens that stand for no place, or `None`."""
    if isinstance(axes, TokenGrid) and axes.n_special:
        return raw[:, : axes.n_special]
    return None


def raw_of(maps: Map, axes: MapAxes, special: Float[Tensor, "_ _ channel"] | None = None) -> Tensor:
    """Returns a map as the layer's output; what `canonical` and `special_of` took apart.

    Raises
    ------
    ModelError
        If the layout has special tokens and none are given.
    """
    if not isinstance(axes, TokenGrid):
        order = _ORDER[axes]
        plain = maps[:, :, 0] if len(order) == 2 else maps
        return plain.permute(0, *(order.index(i) + 1 for i in range(1, len(order) + 1)))
    tokens = _to_tokens(maps, axes)
    if not axes.n_special:
        return tokens
    if special is None:
        raise ModelError(
            f"This map has {axes.n_special} special tokens beside it; pass context=, as `tap` returned it with the map."
        )
    return torch.cat([special.to(tokens).expand(len(tokens), -1, -1), tokens], 1)


def _of_tokens(tokens: Float[Tensor, "batch cell channel"], axes: TokenGrid) -> Map:
    batch, n_cells, channels = tokens.shape
    n_freq = axes.rows(n_cells)
    rows = axes.folds * n_freq
    cells = tokens.transpose(1, 2)
    if axes.order == "FT":
        grid = cells.reshape(batch, channels, rows, n_cells // rows)
    else:
        grid = cells.reshape(batch, channels, n_cells // rows, rows).transpose(2, 3)
    if axes.folds == 1:
        return grid
    parts = grid.reshape(batch, channels, axes.folds, n_freq, -1)
    return parts.transpose(2, 3).reshape(batch, channels, n_freq, -1)


def _to_tokens(maps: Map, axes: TokenGrid) -> Float[Tensor, "batch cell channel"]:
    batch, channels, n_freq, n_frames = maps.shape
    grid = maps
    if axes.folds > 1:
        parts = maps.reshape(batch, channels, n_freq, axes.folds, n_frames // axes.folds)
        grid = parts.transpose(2, 3).reshape(batch, channels, axes.folds * n_freq, -1)
    if axes.order == "TF":
        grid = grid.transpose(2, 3)
    return grid.flatten(2).transpose(1, 2)


def check_axes(map_axes: object, feature_axes: object) -> None:
    """Refuses orders of axes that do not exist.

    Raises
    ------
    ModelError
        If one is unknown.
    """
    if not isinstance(map_axes, TokenGrid) and map_axes not in _ORDER:
        raise ModelError(
            f"map_axes is one of {', '.join(_ORDER)} or a TokenGrid, got {map_axes!r}; choose one of these."
        )
    if feature_axes not in get_args(FeatureAxes):
        raise ModelError(
            f"feature_axes is one of {', '.join(get_args(FeatureAxes))}, got {feature_axes!r}; choose one of these."
        )


def arranged(features: Float[Tensor, "batch row column"], axes: FeatureAxes) -> Tensor:
    """Returns features in the order that a module takes."""
    if axes == "S":
        return features[:, 0]
    ordered = features.transpose(1, 2) if axes.endswith("TF") else features
    return ordered[:, None] if axes in ("CFT", "CTF") else ordered
