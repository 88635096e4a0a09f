"""The numbers of a masking ablation, and the names of its conditions and fills. Imports no torch."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ...errors import InputError

View = Literal["square", "time", "frequency", "time-frequency"]
FillName = Literal["waveform", "floor", "mean", "band_mean", "noise", "attenuation"]

VIEWS = ("square", "time", "frequency", "time-frequency")

#: Where masked clips enter, and what stands where the mask lets nothing through (see `earmark.fills`).
FILLS = {
    "waveform": ("waveform", "silence"),
    "floor": ("features", "silence"),
    "mean": ("features", "mean"),
    "band_mean": ("features", "band_mean"),
    "noise": ("waveform", "noise"),
    "attenuation": ("waveform", "attenuation"),
}

NONE, REGION = "none", "region"

#: What APEX's region is compared with, and what each control asks.
CONTROLS = {
    "random": "the same shape at another place of the map",
    "random-sounding": "the same shape at another place where there is sound",
    "energy-matched": "another region of the same area that removes the same energy",
    "other-channel": "where another channel, drawn at random, is strongest",
    "least-channel": "where the channel with the lowest contribution is strongest",
    "identity": "the region of the top channel of the model's own basis, U = I",
    "loudest": "the same shape where it removes most energy",
}
DRAWN = ("random", "random-sounding", "energy-matched", "other-channel")  # at random, several times each


@dataclass(frozen=True)
class AblationConfig:
    """What is masked, and how.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """

    views: tuple[View, ...] = VIEWS  # type: ignore[assignment]  # shapes of regions, each compared within itself
    fills: tuple[FillName, ...] = ("waveform",)  # what stands where a mask lets nothing through, and where it enters
    draws: int = 20  # of each control that is drawn at random, for each seed
    seeds: tuple[int, ...] = (0,)  # of the draws
    keep_draws: int = 5  # of these for each seed, also scored alone, as are all other regions; 0: nothing is
    noise_db: float = 30.0  # of the fill `noise`, below the clip's rms
    attenuation_db: float = 20.0  # of the fill `attenuation`, below the clip
    within_db: float = 1.0  # how far the energy of a matched region may be from that of APEX's
    within_area: float = 0.05  # how far its area may be, as a share of it
    proposals: int = 2000  # regions that are tried for a match before a clip counts as unmatched
    sound_db: float = -60.0  # energy removed, relative to the clip's, from which there is sound at a place
    batch: int = 16  # masked clips in one forward pass

    def __post_init__(self) -> None:
        _names("views", self.views, VIEWS)
        _names("fills", self.fills, tuple(FILLS))
        for name in ("draws", "proposals", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is at least 1, got {getattr(self, name)}.")
        if self.keep_draws < 0:
            raise InputError(f"keep_draws is at least 0, got {self.keep_draws}.")
        for name in ("within_db", "within_area"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is above 0, got {getattr(self, name)}.")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"Seeds are whole numbers from 0, at least one, all different, got {list(self.seeds)}.")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def _names(what: str, given: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not given or set(given) - set(known) or len(set(given)) < len(given):
        raise InputError(
            f"{what} are {', '.join(known)}, each once and at least one, got {', '.join(given) or 'none'}."
        )
