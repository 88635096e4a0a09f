"""The numbers of the checks of explainers. Imports no torch."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import InputError
from .decoder_config import DecoderConfig
from .retraining.config import RetrainingConfig
from .stability_config import StabilityConfig

AS_USED = ("ssim", "rank_correlation", "iou_of_top")  # what is ranked and heard; absolute values are neither
DECIDING = ("all", "ssim", "rank_correlation", "rank_correlation_absolute", "iou_of_top")


@dataclass(frozen=True)
class CheckConfig:
    """What is checked, and how.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """

    n_clips: int = 100  # so many clips at most, evenly spaced; fewer than 100 make weak verdicts
    seeds: tuple[int, ...] = (0, 1, 2)  # one draw of new weights, and one seed of the explainer, for each
    batch: int = 16  # clips explained together
    areas: tuple[float, ...] = (0.1,)  # shares of bins, for checks that mask
    independent: bool = True  # randomization: each layer alone, beside the cascade
    parity: bool = False  # randomization as published: head and statistics untouched, range of the randomized map
    decides: str = (
        "all"  # randomization, labels, decoder: the similarity by which a method passes, or all of a map as it is used
    )
    most_layers: int = 24  # randomization: longer chains of layers are re-drawn several at a time
    n_statistics: int = 64  # randomization: clips by which statistics of normalization are estimated
    n_shown: int = 3  # clips whose maps are on the page
    retraining: RetrainingConfig = field(default_factory=RetrainingConfig)  # labels and roar
    stability: StabilityConfig = field(default_factory=StabilityConfig)  # stability
    decoder: DecoderConfig = field(default_factory=DecoderConfig)  # decoder and decoder-refits

    def __post_init__(self) -> None:
        for name in ("n_clips", "batch", "most_layers", "n_statistics"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is at least 1, got {getattr(self, name)}.")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"Seeds are whole numbers from 0, at least one, all different, got {list(self.seeds)}.")
        if not self.areas or not all(0 < area <= 1 for area in self.areas):
            raise InputError(f"Areas are shares between 0 and 1, at least one, got {list(self.areas)}.")
        if self.decides not in DECIDING:
            raise InputError(f"Similarities are {', '.join(DECIDING)}, got {self.decides!r}; decide by one of these.")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
