"""Numbers of the checks that retrain; no torch here."""

from dataclasses import asdict, dataclass
from typing import Any

from ...errors import InputError

FILLS = ("band_mean", "silence")
MODES = ("remove", "keep")


@dataclass(frozen=True)
class RetrainingConfig:
    """What is removed before the classifier is trained anew, and how often.

    Trainings: one intact, and `len(modes) * len(fills) * len(taus)` for each method, for each seed; for masks alone
    `len(taus)` for each method and each of `mask_seeds`.
    """

    taus: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8)  # shares of the STFT's bins that are removed, or kept
    fills: tuple[str, ...] = FILLS  # what stands there instead: the data set's mean of each band, or silence
    modes: tuple[str, ...] = MODES  # remove the top bins (ROAR), or keep only them (KAR)
    seeds: int = 3  # initializations and orders of batches; the first ones are those of the original's recipe
    mask_seeds: int = 1  # the same for trainings on masks alone; 0 leaves them out
    clip_s: float = 5.0  # clips are cut or continued with silence to this many seconds, as in training
    epochs: int | None = None  # None: as many as the classifier was trained for
    label_epochs: int | None = None  # the same for label randomization, where labels should be learned by heart
    held_out: float = 0.25  # share of groups that test, where the classifier's card names no folds of these clips
    chunk: int = 8  # clips that are explained together

    def __post_init__(self) -> None:
        for name, values, known in (("fills", self.fills, FILLS), ("modes", self.modes, MODES)):
            if not values or not set(values) <= set(known):
                raise InputError(f"{name} are some of {', '.join(known)}, got {list(values)}; choose from these.")
        if not self.taus or not all(0 < tau < 1 for tau in self.taus) or list(self.taus) != sorted(set(self.taus)):
            raise InputError(f"taus are rising shares between 0 and 1, got {list(self.taus)}; set for instance .2, .4.")
        if self.seeds < 1 or self.mask_seeds < 0:
            raise InputError(f"At least one seed is needed, got {self.seeds} (masks: {self.mask_seeds}); raise it.")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out is a share between 0 and 1, got {self.held_out}; set for instance .25.")
        for name in ("chunk", "epochs", "label_epochs", "clip_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} is above 0, got {value}; raise it.")

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
