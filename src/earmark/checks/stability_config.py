"""The small changes under which a map is looked at again. Imports no torch."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..metrics.transforms import Change


@dataclass(frozen=True)
class StabilityConfig:
    """The changes of the protocol; an empty tuple leaves one kind out.

    Raises
    ------
    InputError
        If a value lies outside its range, or no change is left.
    """

    shifts_ms: tuple[float, ...] = (10, 50, 100, 250)  # milliseconds; each later and earlier
    stretches: tuple[float, ...] = (0.9, 0.95, 1.05, 1.1)  # new duration over the old
    semitones: tuple[float, ...] = (0.5, 1, 2)  # each up and down
    white_db: tuple[float, ...] = (40, 30, 20, 10)  # signal-to-noise ratios of white noise
    pink_db: tuple[float, ...] = (40, 30, 20, 10)  # signal-to-noise ratios of pink noise
    gains_db: tuple[float, ...] = (3, 6, 12)  # each louder and softer
    polarity: bool = True  # the clip times -1
    area: float = 0.1  # share of bins in the intersection over union
    ssim: bool = True  # also the structural similarity, which takes longest
    noise_seed: int = 0  # of the noise that is added
    both_signs: bool = True  # shifts, semitones and gains also the other way

    def __post_init__(self) -> None:
        positive = {"shifts_ms": self.shifts_ms, "stretches": self.stretches, "semitones": self.semitones}
        for name, values in {**positive, "gains_db": self.gains_db}.items():
            if not all(value > 0 for value in values):
                raise InputError(f"{name} are positive numbers, got {list(values)}; signs are added to them.")
        if not 0 < self.area < 1:
            raise InputError(f"area is a share between 0 and 1, got {self.area}.")
        if not (any(positive.values()) or self.white_db or self.pink_db or self.gains_db or self.polarity):
            raise InputError("Stability needs at least one change; all of them were left out.")

    @classmethod
    def reduced(cls) -> "StabilityConfig":
        """Returns one change of each kind, for quick looks."""
        one = {"shifts_ms": (100,), "stretches": (1.05,), "semitones": (1,), "white_db": (20,), "gains_db": (6,)}
        return cls(**one, pink_db=(), both_signs=False)  # type: ignore[arg-type]

    def changes(self) -> "tuple[Change, ...]":
        """Returns the changes, the same kinds together."""
        from ..metrics.transforms import Change

        signs = (1, -1) if self.both_signs else (1,)
        return (
            *(Change("time_shift", sign * ms / 1000) for ms in self.shifts_ms for sign in signs),
            *(Change("time_stretch", factor) for factor in self.stretches),
            *(Change("pitch_shift", sign * semitones) for semitones in self.semitones for sign in signs),
            *(Change("white_noise", snr) for snr in self.white_db),
            *(Change("pink_noise", snr) for snr in self.pink_db),
            *(Change("gain", sign * db) for db in self.gains_db for sign in signs),
            *((Change("polarity"),) if self.polarity else ()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
