"""What one explanation says, in a line of a report."""

from dataclasses import dataclass, field
from typing import Any

from ..classifiers.base import Grid
from ..types import Region


@dataclass(frozen=True)
class Summary:
    """What one explanation says.

    Parameters
    ----------
    folder
        Relative to where the search began, with `/`; `.` is that place itself.
    name
        What its clip is called.
    target, prob
        The label that is explained (for a contrast, `a, not b`), and its probability in [0, 1].
    heard, heard_prob
        The most probable label, and its probability.
    method, view, basis
        The explainer's registry name; for prototypes also the view and the basis, else empty.
    classifier, fingerprint
        What is explained.
    covered
        The share of the positive contributions that the shown channels hold; `None` for other kinds of evidence.
    regions
        Where the evidence is, the weightiest first.
    whole
        The box of all that could be seen.
    duration_s
        Length of the clip.
    has_page
        Whether the folder holds `index.html`.
    truth, agrees
        The clip's labels, if they are known, and whether the classifier agrees with them.
    agreement
        With other explanations of the same clip and target, in [0, 1]; `None` without any.
    """

    folder: str
    name: str
    target: str
    prob: float
    heard: str
    heard_prob: float
    method: str
    view: str
    basis: str
    classifier: str
    fingerprint: str
    covered: float | None
    regions: tuple[Region, ...]
    whole: Region
    duration_s: float
    has_page: bool
    truth: tuple[str, ...] | None = None
    agrees: bool | None = None
    agreement: float | None = None
    grid: Grid | None = field(default=None, repr=False)
    same: tuple[Any, ...] = field(default=(), repr=False)  # equal for explanations of one target of one clip
    maker: str = field(default="", repr=False)  # equal for exact repeats
    decided: tuple[str, bool] = field(default=("", True), repr=False)  # the label that is compared, and if it was heard

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        hidden = ("grid", "same", "maker", "decided", "regions", "whole")
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in hidden}
        truth = None if self.truth is None else list(self.truth)
        return {**plain, "truth": truth, "regions": [region.to_dict() for region in self.regions]}
