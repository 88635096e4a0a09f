"""The numbers that all trained explainers share; no torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from ..errors import InputError
from ..training.config import LoopConfig

Kind = TypeVar("Kind", bound="FitConfig")
Options = TypeVar("Options")


@dataclass(frozen=True)
class FitConfig(LoopConfig):
    """How an explainer is trained; a subclass adds its own numbers."""

    clip_s: float = 0.0  # seconds that clips are cut or padded to; 0: as the longest clip, at most 10
    crop_s: float = 0.0  # seconds of a training clip in one step, from a random place; 0: all of it
    held_out: float = 0.2  # share of the clips that chooses the epoch, by group
    shift: float = 1.0  # largest circular time shift in training, share of the clip
    gain_db: float = 6.0  # largest change of level in training, either way
    noise_share: float = 0.3  # share of training clips that get background noise, 10 to 40 dB below them
    mix_share: float = 0.3  # share of training clips that get another clip mixed in, 0 to 12 dB below them
    taps: str = ""  # layers whose maps are read, separated by commas; by default found

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("clip_s", "crop_s", "shift", "gain_db"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is 0 or more, got {getattr(self, name)}; change it.")
        for name in ("noise_share", "mix_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} lies in 0 ... 1, got {getattr(self, name)}; change it.")
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out lies between 0 and 1, got {self.held_out}; change it.")

    @property
    def tap_layers(self) -> list[str] | None:
        """Names of the layers to tap, or `None` where they are to be found."""
        return [name.strip() for name in self.taps.split(",") if name.strip()] or None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls: type[Kind], values: dict[str, Any]) -> Kind:
        """Returns the settings of a saved explainer; numbers that this version no longer has are left out."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: _plain(value) for name, value in values.items() if name in known})

    @classmethod
    def of_preset(cls: type[Kind], preset: Any, **changes: Any) -> Kind:
        """Returns the settings of a preset; a method without presets has none to choose."""
        return cls(**changes)

    def with_preset(self: Kind) -> Kind:
        """Returns the settings of its own preset, and of these numbers those that are not the usual ones."""
        usual = type(self)()
        changed = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != getattr(usual, f.name)}
        return type(self).of_preset(changed.pop("preset", getattr(self, "preset", "")), **changed)

    @classmethod
    def changed(cls: type[Kind], config: "Kind | None", changes: dict[str, Any], method: str) -> Kind:
        """Returns a configuration with single numbers replaced.

        Raises
        ------
        InputError
            If one is unknown; the sentence names the known ones.
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(changes) - set(known)):
            near = get_close_matches(unknown[0], known, n=1)
            hint = f"did you mean {near[0]}? Its" if near else "its"
            raise InputError(f"{method} has no setting {', '.join(unknown)}; {hint} settings are {', '.join(known)}.")
        given = {field.name: getattr(config, field.name) for field in fields(cls)} if config else {}
        return cls(**{**given, **changes})


def options_of(kind: type[Options], given: Mapping[str, Any], method: str) -> Options:
    """Returns the options by which a fitted explainer tells, by name.

    Raises
    ------
    InputError
        If one is unknown; the sentence names the known ones.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(given) - set(known)):
        raise InputError(f"{method} has no option {', '.join(unknown)}; its options are {', '.join(known)}.")
    return kind(**given)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
