"""How alike two maps of one clip are, for sanity checks: four measures with a stated value for maps that say nothing.

Two constant maps are alike, 1; a constant map and another are not, 0; both are counted. A map is unchanged if it is the
same up to a factor and rounding: what draws such maps from another model does not depend on the model. Where one of
two maps holds NaN, since it could not be made, nothing is defined.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..metrics import stability

Values = Float[Tensor, "batch freq frame"]
PerClip = Float[Tensor, " batch"]

#: Measures by name, with what a reader calls them.
MEASURES = {
    "ssim": "SSIM",
    "rank_correlation": "Spearman, signed",
    "rank_correlation_absolute": "Spearman, absolute",
    "iou_of_top": "IoU of the top 10 %",
}

#: Rounding of float32 maps, relative to the largest value.
SAME = 1e-6


@dataclass(frozen=True, eq=False)
class Similarity:
    """Measures of a batch of pairs.

    Parameters
    ----------
    values
        One number per clip for each of `MEASURES`; NaN where it is not defined (SSIM of maps below 7 x 7).
    unchanged
        Whether the two maps are the same, up to a factor.
    constant
        Whether the second map has one value everywhere.
    lost
        Whether one of the maps is not there: all of the above means nothing then.
    """

    values: dict[str, PerClip]
    unchanged: Bool[Tensor, " batch"]
    constant: Bool[Tensor, " batch"]
    lost: Bool[Tensor, " batch"]

    def to_dict(self) -> dict[str, list[float]]:
        """Returns plain JSON values, one list per name; NaN where a map is lost."""
        found = {**self.values, "unchanged": self.unchanged, "constant": self.constant}
        return {name: torch.where(self.lost, torch.nan, value.double()).tolist() for name, value in found.items()}


def similarity(before: Values, after: Values, *, parity: bool = False) -> Similarity:
    """Compares maps of the same clips on one grid.

    Parameters
    ----------
    parity
        Take the data range of SSIM from the second map, and its values as they are: the published way, in which a
        map of wide range is unlike any other.
    """
    lost = (before.isnan() | after.isnan()).flatten(1).any(1)
    before, after = (torch.where(lost[:, None, None], 0.0, values) for values in (before, after))
    still = [_is_constant(values) for values in (before, after)]
    both, one = still[0] & still[1], still[0] ^ still[1]
    found = {
        "ssim": _ssim(before, after, parity),
        "rank_correlation": stability.rank_correlation(before, after),
        "rank_correlation_absolute": torch.zeros(0),
        "iou_of_top": stability.iou_of_top(before, after),
    }
    unsigned = float(before.min()) >= 0 and float(after.min()) >= 0
    found["rank_correlation_absolute"] = (
        found["rank_correlation"] if unsigned else stability.rank_correlation(before, after, absolute=True)
    )
    values = {name: torch.where(both, 1.0, torch.where(one, 0.0, value)) for name, value in found.items()}
    return Similarity(values, both | _is_same(before, after), still[1], lost)


def _ssim(before: Values, after: Values, parity: bool) -> PerClip:
    if min(before.shape[1:]) < stability.WINDOW:
        return torch.full((len(before),), torch.nan, dtype=torch.float64)
    return published_ssim(before, after) if parity else stability.ssim(before, after)


def published_ssim(before: Values, after: Values) -> PerClip:
    """Returns the structural similarity of values as they are, with the range of the second map as data range."""
    span = after.double().amax((1, 2), keepdim=True) - after.double().amin((1, 2), keepdim=True)
    x, y = (values.double() / span.clamp_min(1e-300) for values in (before, after))
    means = [_means(x), _means(y)]
    unbiased = stability.WINDOW**2 / (stability.WINDOW**2 - 1)
    var_x, var_y = (unbiased * (_means(z * z) - mean * mean) for z, mean in zip((x, y), means, strict=True))
    covariance = unbiased * (_means(x * y) - means[0] * means[1])
    top = (2 * means[0] * means[1] + 0.01**2) * (2 * covariance + 0.03**2)
    return (top / ((means[0] ** 2 + means[1] ** 2 + 0.01**2) * (var_x + var_y + 0.03**2))).mean((1, 2))


def _means(values: Values) -> Float[Tensor, "batch _ _"]:
    return torch.nn.functional.avg_pool2d(values[:, None], stability.WINDOW, 1)[:, 0]


def _is_constant(values: Values) -> Bool[Tensor, " batch"]:
    return values.amax((1, 2)) == values.amin((1, 2))


def _is_same(before: Values, after: Values) -> Bool[Tensor, " batch"]:
    scaled = [v.double() / v.double().abs().amax((1, 2), keepdim=True).clamp_min(1e-300) for v in (before, after)]
    return (scaled[0] - scaled[1]).abs().amax((1, 2)) <= SAME
