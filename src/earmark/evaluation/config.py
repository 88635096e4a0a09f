"""The numbers of an evaluation. Imports no torch."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import InputError

ReentryStage = Literal["waveform", "stft", "features"]
REENTRIES = ("waveform", "stft", "features")


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured, and how.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """

    areas: tuple[float, ...] = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)  # shares of all bins (a)
    reentry: tuple[ReentryStage, ...] = ("waveform",)  # where masked clips enter: waveform, stft, features
    soft: bool = True  # native masks as they are, in rows of their own
    insertion: bool = True  # insertion and deletion, 20 steps each
    fill: str = "silence"  # what stands where a mask lets nothing through
    smooth: bool = False  # soften the edges of matched masks by one bin and one frame
    seeds: tuple[int, ...] = (0,)  # of methods that draw at random; others run once
    batch: int = 16  # clips explained together, and masked clips in one forward pass

    def __post_init__(self) -> None:
        if not self.areas or not all(0 < area <= 1 for area in self.areas):
            raise InputError(f"Areas are shares between 0 and 1, at least one, got {list(self.areas)}.")
        if list(self.areas) != sorted(set(self.areas)):
            raise InputError(f"Areas rise and are all different, got {list(self.areas)}; sort them.")
        if not self.reentry or set(self.reentry) - set(REENTRIES) or len(set(self.reentry)) < len(self.reentry):
            given = ", ".join(self.reentry) or "none"
            raise InputError(f"Masked clips re-enter at {', '.join(REENTRIES)}, each once, got {given}.")
        if self.batch < 1:
            raise InputError(f"batch is at least 1, got {self.batch}.")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"Seeds are whole numbers from 0, at least one, all different, got {list(self.seeds)}.")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
