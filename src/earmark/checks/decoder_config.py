"""Numbers of the controls of trained decoders; no torch here."""

from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class DecoderConfig:
    """How masks of the controls are scored, and how decoders are trained anew."""

    areas: tuple[float, ...] = (0.05, 0.1, 0.2)  # shares of the bins that masks keep, when they are scored
    epochs: int = 5  # of each re-training; few, so that it ends: 0 is as many as the explainer itself had
    refits: int = 1  # re-trainings of each control, each with a seed of its own

    def __post_init__(self) -> None:
        if not self.areas or not all(0 < area < 1 for area in self.areas):
            raise InputError(f"Areas are shares between 0 and 1, at least one, got {list(self.areas)}.")
        if self.epochs < 0 or self.refits < 1:
            raise InputError(f"epochs is 0 or more and refits 1 or more, got {self.epochs} and {self.refits}.")
