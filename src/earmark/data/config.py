"""The settings of generated scenes. This module imports neither torch nor numpy."""

from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from ..errors import DataError

BACKGROUNDS = ("white", "pink", "brown", "hum")

Range = tuple[float, float]


@dataclass(frozen=True)
class SceneConfig:
    """How scenes are drawn. Ranges are `(lowest, highest)`; values are drawn evenly between them.

    Raises
    ------
    DataError
        If a value is impossible, such as a range that ends before it starts.
    """

    sample_rate: int = 32000  # Hz; at least 16000, for the events reach up to 7.5 kHz
    duration_s: float = 5.0  # length of a scene; at least 1
    min_events: int = 1  # fewest events in a scene
    max_events: int = 3  # most events in a scene; each has another label
    snr_db: Range = (6.0, 24.0)  # power of the dry event over that of the background, in the event's own time
    peak_db: Range = (-18.0, -1.0)  # peak of the finished scene, dB relative to full scale
    reverberation: float = 0.3  # probability that a scene is in a room, [0, 1]
    rt60_s: Range = (0.15, 0.6)  # time in which the room's sound decays by 60 dB
    backgrounds: tuple[str, ...] = BACKGROUNDS  # what the background is drawn from

    def __post_init__(self) -> None:
        for name in ("snr_db", "peak_db", "rt60_s"):
            object.__setattr__(self, name, _range(name, getattr(self, name)))
        object.__setattr__(self, "duration_s", float(self.duration_s))
        object.__setattr__(self, "backgrounds", tuple(self.backgrounds))
        _require(16000 <= self.sample_rate <= 384000, f"sample_rate is 16000 to 384000 Hz, got {self.sample_rate}")
        _require(1 <= self.duration_s <= 600, f"duration_s is 1 to 600 seconds, got {self.duration_s}")
        _require(
            0 <= self.min_events <= self.max_events <= 12,
            f"0 <= min_events <= max_events <= 12 is expected, got {self.min_events} and {self.max_events}",
        )
        _require(self.peak_db[1] < 0, f"peak_db lies below 0 dB (full scale), got {self.peak_db[1]}")
        _require(0 <= self.reverberation <= 1, f"reverberation is a probability, got {self.reverberation}")
        _require(self.rt60_s[0] > 0, f"rt60_s is positive, got {self.rt60_s[0]}")
        unknown = sorted(set(self.backgrounds) - set(BACKGROUNDS))
        _require(
            bool(self.backgrounds) and not unknown,
            f"backgrounds are some of {', '.join(BACKGROUNDS)}, got {', '.join(unknown) or 'none'}",
        )

    @property
    def n_samples(self) -> int:
        """Length of a scene in samples."""
        return round(self.duration_s * self.sample_rate)

    def changes(self) -> str:
        """Returns what differs from the default, as clip ids carry it; empty for the default.

        Examples
        --------
        >>> SceneConfig(max_events=1, snr_db=(0.0, 10.0)).changes()
        'max_events=1,snr_db=0.0..10.0'
        """
        default = SceneConfig()
        changed = [f.name for f in fields(self) if getattr(self, f.name) != getattr(default, f.name)]
        return ",".join(f"{name}={_written(getattr(self, name))}" for name in changed)

    @classmethod
    def from_changes(cls, text: str) -> "SceneConfig":
        """Returns the configuration that `changes` wrote.

        Raises
        ------
        DataError
            If a field is unknown or its value cannot be read.
        """
        pairs = dict(part.partition("=")[::2] for part in text.split(",") if part)
        kinds: dict[str, Any] = get_type_hints(cls)
        unknown = sorted(set(pairs) - set(kinds))
        _require(not unknown, f"the fields are {', '.join(kinds)}, got {', '.join(map(repr, unknown))}")
        try:
            return cls(**{name: _read(value, kinds[name]) for name, value in pairs.items()})
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"The scene settings {text!r} cannot be read: {error}.") from error


def _require(condition: bool, sentence: str) -> None:
    """Raises `DataError` with what a scene expects, unless the condition holds."""
    if not condition:
        raise DataError(f"Scenes cannot be drawn: {sentence}.")


def _range(name: str, value: Any) -> Range:
    """Returns `(lowest, highest)` as two floats, so that equal settings are written in one way."""
    try:
        low, high = map(float, value)
    except (TypeError, ValueError) as error:
        raise DataError(f"Scenes cannot be drawn: {name} is (lowest, highest), got {value!r}.") from error
    _require(-1000 <= low <= high <= 1000, f"{name} is (lowest, highest), got {value!r}")
    return low, high


def _written(value: object) -> str:
    """Returns a field's value as text without commas and colons, which separate the parts of an id."""
    if not isinstance(value, tuple):
        return repr(value)
    return "+".join(value) if all(isinstance(v, str) for v in value) else "..".join(map(repr, value))


def _read(text: str, kind: Any) -> Any:
    """Returns the value that `_written` wrote, by the field's type."""
    if kind in (int, float):
        return float(text) if kind is float else int(text)
    if kind == Range:
        low, high = text.split("..")
        return float(low), float(high)
    return tuple(text.split("+"))
