"""The numbers of the reference methods, one frozen dataclass each. Imports no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..errors import InputError

InputStage = Literal["waveform", "stft", "features"]
MapStage = Literal["stft", "features"]
Kind = TypeVar("Kind", bound="Settings")
Baseline = Literal["silence", "zeros"]


@dataclass(frozen=True)
class Settings:
    """What all reference methods share; a subclass adds its own numbers.

    Raises
    ------
    InputError
        If a value lies outside its range; the sentence names it.
    """

    seed: int = 42  # of what is drawn at random; nothing else depends on it
    chunk: int = 16  # clips, or steps of one clip, in one pass: bounds the memory

    def __post_init__(self) -> None:
        check_kinds(type(self), vars(self))
        require(self.chunk >= 1, "chunk", "at least 1", self.chunk)
        require(self.seed >= 0, "seed", "0 or more", self.seed)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return asdict(self)

    @classmethod
    def from_options(cls: type[Kind], options: Mapping[str, Any], method: str = "") -> Kind:
        """Returns the settings that options by name stand for.

        Raises
        ------
        InputError
            If an option is unknown, or outside its range; the sentence names the known ones.

        Examples
        --------
        >>> IntegratedGradientsConfig.from_options({"n_steps": 32}).n_steps
        32
        """
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            near = get_close_matches(unknown[0], known, n=1)
            raise InputError(
                f"{method or cls.__name__} has no option {', '.join(unknown)}; "
                f"{f'did you mean {near[0]}? Its' if near else 'its'} options are {', '.join(known)}."
            )
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
        }
        check_kinds(cls, given)
        return cls(**given)


_WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


def check_kinds(settings: type[Settings], values: Mapping[str, Any]) -> None:
    """Refuses values that are not of the kind that a field says.

    Raises
    ------
    InputError
        If one is not; the sentence names it.
    """
    for name, kind in get_type_hints(settings).items():
        value = values.get(name, getattr(settings, name))
        if get_origin(kind) is Literal and value not in get_args(kind):
            raise InputError(f"{name} is one of {', '.join(get_args(kind))}, got {value!r}; choose one of these.")
        if kind in _WORDS and not _is(kind, value):
            raise InputError(f"{name} is {_WORDS[kind]}, got {value!r}; change it.")


def _is(kind: type, value: object) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, int if kind is int else int | float)


def require(fulfilled: bool, name: str, expected: str, value: object) -> None:
    """Refuses a value that is not what is expected.

    Raises
    ------
    InputError
        If `fulfilled` is false.
    """
    if not fulfilled:
        raise InputError(f"{name} is {expected}, got {value!r}; change it.")


@dataclass(frozen=True)
class SaliencyConfig(Settings):
    """Gradient of the score, its size unless signed (Simonyan et al., 2014)."""

    stage: InputStage = "stft"  # with respect to what
    signed: bool = False  # keep the sign; the published map is the absolute value


@dataclass(frozen=True)
class InputXGradientConfig(Settings):
    """Gradient times input (Shrikumar et al., 2016); what counts as zero is the stage's own zero."""

    stage: InputStage = "stft"  # zero is silence there and in the waveform, not in log features


@dataclass(frozen=True)
class IntegratedGradientsConfig(Settings):
    """Gradients on the straight way from a baseline (Sundararajan et al., 2017)."""

    stage: InputStage = "stft"  # the way is straight in this stage
    n_steps: int = 64  # Gauss-Legendre nodes on the way
    baseline: Baseline = "silence"  # digital silence through the real front end, or the stage's own zeros

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.n_steps >= 1, "n_steps", "at least 1", self.n_steps)


@dataclass(frozen=True)
class GradientShapConfig(Settings):
    """Gradients at random points between the clip and random baselines (Lundberg and Lee, 2017)."""

    stage: InputStage = "stft"  # the ways are straight in this stage
    n_samples: int = 64  # random points
    baseline: Baseline = "silence"  # one of the baselines; reference clips, where given, are the others
    sigma: float = 0.0  # noise added to the clip, relative to its range in the stage

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.n_samples >= 2, "n_samples", "at least 2", self.n_samples)
        require(self.sigma >= 0, "sigma", "0 or more", self.sigma)


@dataclass(frozen=True)
class SmoothGradConfig(Settings):
    """The mean of another method's attributions over noisy copies of the clip (Smilkov et al., 2017)."""

    n_samples: int = 50  # noisy copies (n), each with fresh noise
    sigma: float = 0.15  # standard deviation of the noise, relative to the clip's range in the stage

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.n_samples >= 1, "n_samples", "at least 1", self.n_samples)
        require(self.sigma >= 0, "sigma", "0 or more", self.sigma)


@dataclass(frozen=True)
class DeepLiftConfig(Settings):
    """Differences from a baseline, by the rescale rule (Shrikumar et al., 2017)."""

    stage: InputStage = "features"  # a front end's squares and logarithms have no rescale rule
    baseline: Baseline = "silence"  # digital silence through the real front end, or the stage's own zeros
    eps: float = 1e-10  # a smaller change of an activation's input counts as none: the gradient is taken


@dataclass(frozen=True)
class GuidedBackpropConfig(Settings):
    """Gradients that pass a ReLU only where they are positive (Springenberg et al., 2015)."""

    stage: InputStage = "stft"  # with respect to what


@dataclass(frozen=True)
class GuidedGradCamConfig(Settings):
    """Guided backpropagation times Grad-CAM (Selvaraju et al., 2017)."""

    stage: MapStage = "stft"  # where both are multiplied


@dataclass(frozen=True)
class CamConfig(Settings):
    """Grad-CAM (Selvaraju et al., 2017) and Grad-CAM++ (Chattopadhay et al., 2018), at the classifier's map."""

    signed: bool = False  # keep what speaks against the target; the published map keeps the positive part


@dataclass(frozen=True)
class ControlConfig(Settings):
    """Maps of ones, of zeros, and of edges."""


@dataclass(frozen=True)
class EnergyConfig(Settings):
    """The loudest bins."""

    power: bool = False  # squared magnitude; the order of bins is the same


@dataclass(frozen=True)
class RandomConfig(Settings):
    """A random map, another one for each clip."""

    smooth: bool = False  # blurred noise instead of independent bins
    blur_s: float = 0.05  # standard deviation of the blur in time
    blur_hz: float = 200.0  # standard deviation of the blur in frequency

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.blur_s >= 0 and self.blur_hz >= 0, "blur", "0 or more", (self.blur_s, self.blur_hz))
