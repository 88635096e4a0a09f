"""Evidence: the kinds of answer that an explanation rests on, each of which says what of the clip it lets through."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from .audio.waveform import Waveform
from .classifiers.base import Grid
from .classifiers.geometry import Axis, Geometry
from .islands import islands
from .masking import region_gain
from .prototypes.bank import Prototype
from .prototypes.pictures import Picture
from .types import Region, Stage

SoundFinder = Callable[[Prototype], "Waveform | None"]
PICTURE = "picture."  # what names of saved pictures begin with


@runtime_checkable
class Evidence(Protocol):
    """What an explanation rests on; each kind says what it lets through, how it ranks cells, and where it lies."""

    kind: ClassVar[str]

    def stft_gain(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the gain in [0, 1] that makes it heard."""

    def ranking(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns signed values by which bins are ordered when areas are matched."""

    def regions(self) -> list[Region]:
        """Returns its boxes, the weightiest first."""

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Returns JSON values and tensors that `from_saved` takes."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Signed values on the STFT grid: positive speaks for the target, negative against it.

    Parameters
    ----------
    values
        `[freq, frame]`.
    grid
        The grid that the values lie on.
    stage
        Where they were computed; from another stage than `stft` they were brought to the grid.
    raw
        The signed values at that stage, where these are others: `[sample]`, `[mel, frame]`, or `[freq, frame]` of the
        map.
    unsigned
        Whether values say how much a bin counts, and not whether for or against the target.
    measured
        Numbers that the method reports of itself, such as `gap`, by name.
    """

    kind: ClassVar[str] = "attribution"

    values: Float[Tensor, "freq frame"]
    grid: Grid
    stage: Stage = "stft"
    raw: Float[Tensor, "..."] | None = None
    unsigned: bool = False
    measured: Mapping[str, float] = field(default_factory=dict)

    def stft_gain(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the positive values over their maximum; zeros where nothing is positive."""
        positive = self.values.clamp_min(0)
        return positive / positive.max().clamp_min(1e-30)

    def ranking(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the values."""
        return self.values

    def regions(self) -> list[Region]:
        """Returns the boxes of connected parts above half the maximum, at most five."""
        return islands(self.stft_gain(self.grid), self.grid)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Returns all of it; a number that is not finite becomes `None`."""
        about = {"stage": self.stage, "unsigned": self.unsigned, "measured": _finite(self.measured)}
        return about, {"values": self.values, **({} if self.raw is None else {"raw": self.raw})}

    @classmethod
    def from_saved(cls, about: dict[str, Any], tensors: dict[str, Tensor], grid: Grid) -> "Attribution":
        """Returns what `to_saved` gave away; older folders hold the values alone."""
        stage, unsigned = about.get("stage", "stft"), about.get("unsigned", False)
        return cls(tensors["values"], grid, stage, tensors.get("raw"), unsigned, _numbers(about))


@dataclass(frozen=True, eq=False)
class Mask:
    """A gain in [0, 1] on the STFT grid.

    Parameters
    ----------
    gain
        `[freq, frame]`.
    grid
        The grid that it lies on.
    order
        `[freq, frame]`, values that order the bins where areas are matched, if not the gain itself does.
    measured
        Numbers that the method reports of itself, by name.
    """

    kind: ClassVar[str] = "mask"

    gain: Float[Tensor, "freq frame"]
    grid: Grid
    order: Float[Tensor, "freq frame"] | None = None
    measured: Mapping[str, float] = field(default_factory=dict)

    def stft_gain(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the gain."""
        return self.gain

    def ranking(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the order, or else the gain."""
        return self.gain if self.order is None else self.order

    def regions(self) -> list[Region]:
        """Returns the boxes of connected parts above half the maximum, at most five."""
        return islands(self.gain, self.grid)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Returns all of it; a number that is not finite becomes `None`."""
        about = {"measured": _finite(self.measured)} if self.measured else {}
        return about, {"gain": self.gain, **({} if self.order is None else {"order": self.order})}

    @classmethod
    def from_saved(cls, about: dict[str, Any], tensors: dict[str, Tensor], grid: Grid) -> "Mask":
        """Returns what `to_saved` gave away."""
        return cls(tensors["gain"], grid, tensors.get("order"), _numbers(about))


def _finite(measured: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in measured.items()}


def _numbers(about: Mapping[str, Any]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in about.get("measured", {}).items()}


@dataclass(frozen=True)
class ChannelEvidence:
    """One disentangled channel in an explanation.

    Parameters
    ----------
    channel
        Its index in the basis.
    contribution
        What it adds to the score.
    activation
        Its mean over the map, `v_k`.
    regions
        Where the view finds it in the clip; two boxes for a time-frequency cross.
    prototypes
        The training clips that excite it most.
    similarity
        Cosine between the clip's prototype vector and each prototype's, in the same order.
    purity
        Of the clip's own prototype vector, in [-1, 1].
    """

    channel: int
    contribution: float
    activation: float
    regions: tuple[Region, ...]
    prototypes: tuple[Prototype, ...] = ()
    similarity: tuple[float, ...] = ()
    purity: float = 0.0


@dataclass(frozen=True, eq=False)
class PrototypeEvidence:
    """Channels of a disentangled basis, their maps, and the training sounds that they stand for.

    Parameters
    ----------
    view, mode, basis
        The view of the basis; how contributions are scored; `apex`, or `identity` for the basis left alone.
    channels
        The channels shown, the largest contribution first.
    maps
        `[shown, freq, frame]` on the map: signed, whole: with those of all channels, they average to the score.
    contributions
        `[channel]` of all channels; with `offset` they sum to `score`.
    offset, score
        The bias of the score, and the score itself as the model computes it.
    geometry
        Seconds and hertz of the map's cells.
    exact
        Whether contributions are additive; `residual` is how far their sum is from the score.
    find_sound
        Returns a prototype's sound, or `None` where it is not at hand.
    pictures
        Small pictures of prototypes by the hash of their sound (see `prototypes.pictures`), for where it is not.
    """

    kind: ClassVar[str] = "prototypes"

    view: str
    mode: str
    basis: str
    channels: tuple[ChannelEvidence, ...]
    maps: Float[Tensor, "shown freq frame"]
    contributions: Float[Tensor, " channel"]
    offset: float
    score: float
    geometry: Geometry
    exact: bool = True
    find_sound: SoundFinder | None = field(default=None, repr=False)
    pictures: Mapping[str, Picture] = field(default_factory=dict, repr=False)

    @property
    def residual(self) -> float:
        """How far offset and contributions are from the score."""
        return abs(float(self.contributions.double().sum()) + self.offset - self.score)

    @property
    def covered(self) -> float:
        """The share of the positive contributions that the shown channels hold, in [0, 1]."""
        positive = float(self.contributions.clamp_min(0).sum())
        shown = sum(max(c.contribution, 0.0) for c in self.channels)
        return min(shown / positive, 1.0) if positive > 0 else 0.0

    @property
    def heatmaps(self) -> Float[Tensor, "shown freq frame"]:
        """The paper's heatmaps: the positive part of each map over its own maximum; zeros where nothing is positive."""
        positive = self.maps.clamp_min(0)
        return positive / positive.amax((1, 2), keepdim=True).clamp_min(1e-30)

    def stft_gain(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the largest gain of the shown channels' regions with smooth edges."""
        return region_gain(self.regions(), grid)

    def channel_gain(self, index: int, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the gain of one shown channel's regions."""
        return region_gain(self.channels[index].regions, grid)

    def ranking(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the sum of the shown channels' positive maps, bilinear on the STFT grid."""
        return self.geometry.sample(self.maps.clamp_min(0).sum(0), grid.hz, grid.seconds)

    def regions(self) -> list[Region]:
        """Returns the boxes of the shown channels that speak for the target, the largest contribution first."""
        return [region for channel in self.channels if channel.contribution > 0 for region in channel.regions]

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Returns everything but the prototypes' sounds."""
        about = {
            "view": self.view,
            "mode": self.mode,
            "basis": self.basis,
            "offset": self.offset,
            "score": self.score,
            "residual": self.residual,
            "covered": self.covered,
            "exact": self.exact,
            "geometry": asdict(self.geometry),
            "channels": [asdict(channel) for channel in self.channels],
        }
        pictures = {f"{PICTURE}{sha256}": picture for sha256, picture in self.pictures.items()}
        return about, {"maps": self.maps, "contributions": self.contributions, **pictures}

    @classmethod
    def from_saved(cls, about: dict[str, Any], tensors: dict[str, Tensor], grid: Grid) -> "PrototypeEvidence":
        """Returns what `to_saved` gave away; the store adds `find_sound`."""
        plain = ("view", "mode", "basis", "offset", "score", "exact")
        return cls(
            **{name: about[name] for name in plain},
            channels=tuple(_channel(values) for values in about["channels"]),
            maps=tensors["maps"],
            contributions=tensors["contributions"],
            geometry=_geometry(about["geometry"]),
            pictures={k.removeprefix(PICTURE): v for k, v in tensors.items() if k.startswith(PICTURE)},
        )


@dataclass(frozen=True, eq=False)
class Resynthesis:
    """Evidence that is a sound of its own, such as one decoded from codec latents.

    Parameters
    ----------
    kept, residual
        The sound kept, and clip minus all that was resynthesized; both have the clip's rate, channels and length.
    gain
        `[freq, frame]`, the share of each bin's magnitude that was kept.
    grid
        The grid that the gain lies on.
    measured
        Numbers that the method reports of itself, such as `added_energy`, by name.
    """

    kind: ClassVar[str] = "resynthesis"

    kept: Waveform
    residual: Waveform
    gain: Float[Tensor, "freq frame"]
    grid: Grid
    measured: Mapping[str, float] = field(default_factory=dict)

    def stft_gain(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the share kept of each bin."""
        return self.gain

    def ranking(self, grid: Grid) -> Float[Tensor, "freq frame"]:
        """Returns the share kept of each bin."""
        return self.gain

    def regions(self) -> list[Region]:
        """Returns the boxes of connected parts above half the maximum, at most five."""
        return islands(self.gain, self.grid)

    def to_saved(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Returns both sounds, the gain and the numbers."""
        tensors = {"kept": self.kept.samples, "residual": self.residual.samples, "gain": self.gain}
        return {"sample_rate": self.kept.sample_rate, "measured": _finite(self.measured)}, tensors

    @classmethod
    def from_saved(cls, about: dict[str, Any], tensors: dict[str, Tensor], grid: Grid) -> "Resynthesis":
        """Returns what `to_saved` gave away."""
        kept, residual = (Waveform(tensors[name], about["sample_rate"]) for name in ("kept", "residual"))
        return cls(kept, residual, tensors["gain"], grid, _numbers(about))


EVIDENCE: dict[str, Any] = {kind.kind: kind for kind in (Attribution, Mask, PrototypeEvidence, Resynthesis)}


def _geometry(values: dict[str, Any]) -> Geometry:
    start_s, step_s = values["column_s"]
    return Geometry(
        freq=Axis(**values["freq"]),
        frame=Axis(**values["frame"]),
        row_edges_hz=tuple(values["row_edges_hz"]),
        column_s=(start_s, step_s),
        duration_s=values["duration_s"],
        rows_are_hz=values.get("rows_are_hz", True),
    )


def _channel(values: dict[str, Any]) -> ChannelEvidence:
    plain = ("channel", "contribution", "activation", "purity")
    return ChannelEvidence(
        **{name: values[name] for name in plain},
        regions=tuple(Region(**region) for region in values["regions"]),
        prototypes=tuple(Prototype.from_dict(p) for p in values["prototypes"]),
        similarity=tuple(values["similarity"]),
    )
