"""The numbers of the methods that switch parts of a clip off. Imports no torch."""

from dataclasses import dataclass
from typing import Any, Literal

from .config import Settings, require

FillName = Literal["silence", "mean", "band_mean", "noise", "attenuation"]
Reentry = Literal["waveform", "stft"]
Segments = Literal["grid", "time", "frequency"]
Separation = Literal["hpss", "nmf", "hpss-nmf"]


@dataclass(frozen=True)
class PerturbationConfig(Settings):
    """What all methods share that switch parts off; `chunk` is the masked clips in one pass, the seed is of samples."""

    fill: FillName = "silence"  # what stands where a part is off (see `earmark.fills`)
    reentry: Reentry = "waveform"  # where masked clips enter; stft: without the way back to sound, as in literature


@dataclass(frozen=True)
class OcclusionConfig(PerturbationConfig):
    """A window that slides over the clip and is cut out."""

    axes: Segments = "grid"  # slides in time and frequency, or in one of them and reaches over all of the other
    window_s: float = 0.2  # length of the window in seconds
    octave: float = 1 / 3  # height of the window in octaves
    steps: int = 2  # steps that a window is wide: 2 is an overlap of one half, 1 none

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.window_s > 0, "window_s", "positive", self.window_s)
        require(self.octave > 0, "octave", "positive", self.octave)
        require(self.steps >= 1, "steps", "at least 1", self.steps)


@dataclass(frozen=True)
class RiseConfig(PerturbationConfig):
    """Random coarse masks, each weighted with the score that it lets through."""

    n_samples: int = 2000  # masks (N)
    p: float = 0.5  # probability that a node of the grid is on (p)
    grid: tuple[int, int] = (8, 8)  # cells over frequency (linear in Hz) and time
    centered: bool = True  # subtract the mean score, the constant that the published sum carries (False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "grid", tuple(self.grid))
        require(self.n_samples >= 2, "n_samples", "at least 2", self.n_samples)
        require(0 < self.p < 1, "p", "a probability between 0 and 1", self.p)
        require(len(self.grid) == 2 and min(self.grid) >= 1, "grid", "two numbers of at least 1", self.grid)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {**super().to_dict(), "grid": list(self.grid)}


@dataclass(frozen=True)
class SegmentConfig(PerturbationConfig):
    """Parts on a grid of time and frequency."""

    segments: Segments = "grid"  # parts in time and frequency, or along one axis alone
    span_s: float = 0.25  # length of a segment in seconds, before merging
    octave: float = 1 / 3  # height of a segment in octaves, before merging
    max_parts: int = 64  # neighbors are merged, evenly along each axis, until there are at most so many parts (M)
    n_samples: int = 1000  # samples z, each one forward pass

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.span_s > 0, "span_s", "positive", self.span_s)
        require(self.octave > 0, "octave", "positive", self.octave)
        require(self.max_parts >= 1, "max_parts", "at least 1", self.max_parts)
        require(self.n_samples >= 4, "n_samples", "at least 4", self.n_samples)


@dataclass(frozen=True)
class LimeConfig(SegmentConfig):
    """Weighted ridge regression of the score on which parts are on."""

    kernel_width: float = 0.25  # w of exp(-d^2 / w^2), d the cosine distance to all parts on
    alpha: float = 1.0  # weight of the ridge

    def __post_init__(self) -> None:
        super().__post_init__()
        _regression(self.kernel_width, self.alpha)


@dataclass(frozen=True)
class KernelShapConfig(SegmentConfig):
    """Shapley values by weighted least squares; exact where all coalitions of the parts are run."""

    exact_up_to: int = 11  # all 2^M coalitions are run for at most so many parts (M)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.exact_up_to <= 16, "exact_up_to", "0 to 16", self.exact_up_to)


@dataclass(frozen=True)
class SlimeConfig(PerturbationConfig):
    """LIME on fixed segments: of time, of frequency (equal in mels), or of both."""

    segments: Segments = "grid"  # 6 x 4 parts; time: segments_per_s; frequency: n_bands
    segments_per_s: float = 10.0  # time segments per second, for `time`
    n_spans: int = 6  # segments in time, for `grid`
    n_bands: int = 4  # segments in frequency, for `grid` and `frequency`
    n_samples: int = 1000  # samples z, each one forward pass
    kernel_width: float = 0.25  # w of exp(-d^2 / w^2), d the cosine distance to all parts on
    alpha: float = 1.0  # weight of the ridge

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.segments_per_s > 0, "segments_per_s", "positive", self.segments_per_s)
        require(min(self.n_spans, self.n_bands) >= 1, "n_spans and n_bands", "at least 1", (self.n_spans, self.n_bands))
        require(self.n_samples >= 4, "n_samples", "at least 4", self.n_samples)
        _regression(self.kernel_width, self.alpha)


@dataclass(frozen=True)
class AudioLimeConfig(PerturbationConfig):
    """LIME on separated sounds x segments of time: every part can be heard."""

    separation: Separation = "hpss-nmf"  # harmonic and percussive; NMF; or percussive and the NMF of the harmonic
    n_components: int = 4  # components of the NMF
    nmf_steps: int = 100  # iterations of the NMF
    segments_per_s: float = 1.0  # time segments per second
    max_spans: int = 10  # at most so many time segments
    n_samples: int = 1000  # samples z; all 2^M of them where that is less
    kernel_width: float = 0.25  # w of exp(-d^2 / w^2), d the cosine distance to all parts on
    alpha: float = 1.0  # weight of the ridge

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.n_components >= 1, "n_components", "at least 1", self.n_components)
        require(self.nmf_steps >= 1, "nmf_steps", "at least 1", self.nmf_steps)
        require(self.segments_per_s > 0, "segments_per_s", "positive", self.segments_per_s)
        require(self.max_spans >= 1, "max_spans", "at least 1", self.max_spans)
        require(self.n_samples >= 4, "n_samples", "at least 4", self.n_samples)
        _regression(self.kernel_width, self.alpha)


def _regression(kernel_width: float, alpha: float) -> None:
    require(kernel_width > 0, "kernel_width", "positive", kernel_width)
    require(alpha >= 0, "alpha", "0 or more", alpha)
