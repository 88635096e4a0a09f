"""Front ends: from a waveform to what the backbone eats, differentiable, each clip on its own."""

from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..audio import mel
from ..audio.stft import Stft
from ..errors import ModelError
from ..types import ComplexStft, Features, Samples
from .config import LogMelConfig


class FrontEnd(nn.Module, ABC):
    """Turns samples into features; subclass it for a front end of your own.

    Attributes
    ----------
    sample_rate
        The rate of the waveforms that it takes, in Hz.
    stft
        The analysis of stage `stft`, exactly invertible.
    native_stft
        Whether the features start from that analysis. Where they do not, entry at `stft` goes through its inverse.
    normalizes
        Whether the level of a clip is removed, so that quiet evidence is amplified.
    """

    sample_rate: int
    stft: Stft
    native_stft: bool = False
    normalizes: bool = False

    @abstractmethod
    def forward(self, samples: Samples) -> Tensor:
        """Returns features `[batch, mel, frame]` of samples `[batch, sample]`."""

    def from_stft(self, stft: ComplexStft, n_samples: int) -> Tensor:
        """Returns the features of an STFT; here through the inverse STFT."""
        return self(self.stft.inverse(stft, n_samples))

    @abstractmethod
    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """Borders in Hz of the feature rows, one more than rows, rising."""

    @abstractmethod
    def column_s(self) -> tuple[float, float]:
        """Center of feature column 0 and the step between columns, in seconds."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Returns what defines this front end, as plain JSON values (part of the fingerprint)."""


class LogMel(FrontEnd):
    """Power mel spectrogram in dB: `(10 log10(max(F |X|^2, floor)) - mean) / std`.

    Frames are centered at multiples of the hop with zero padding, `1 + n_samples // hop_length` of them.

    Parameters
    ----------
    config
        The numbers; keyword `changes` replace single ones.
    """

    native_stft = True

    def __init__(self, config: LogMelConfig | None = None, **changes: Any) -> None:
        super().__init__()
        self.config = config = replace(config or LogMelConfig(), **changes)
        self.sample_rate = config.sample_rate
        self.stft = Stft(config.n_fft, config.hop_length)
        self.high_hz = config.sample_rate / 2 if config.high_hz is None else config.high_hz
        filters = mel.filter_bank(
            config.sample_rate,
            config.n_fft,
            config.n_mels,
            low_hz=config.low_hz,
            high_hz=self.high_hz,
            scale=config.scale,
            area_norm=config.area_norm,
        )
        self.register_buffer("filters", filters, persistent=False)
        self.filters: Tensor

    def forward(self, samples: Samples) -> Features:
        """Returns log-mel features `[batch, mel, frame]`."""
        return self.from_stft(self.stft(samples), samples.shape[-1])

    def from_stft(self, stft: ComplexStft, n_samples: int) -> Float[Tensor, "batch mel _"]:
        """Returns log-mel features of an STFT; its last frame is left out where the last hop is not full."""
        power = stft.real.square() + stft.imag.square()
        power = power[..., : 1 + n_samples // self.config.hop_length]
        db = mel.power_to_db(self.filters.to(power) @ power, floor=self.config.floor, top_db=self.config.top_db)
        return (db - self.config.mean_db) / self.config.std_db

    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """Borders between mel bands, at midpoints in mels between filter centers."""
        return mel.band_edges_hz(self.config.n_mels, self.config.low_hz, self.high_hz, self.config.scale)

    def column_s(self) -> tuple[float, float]:
        """Frame n is centered at `n * hop_length / sample_rate` seconds."""
        return 0.0, self.config.hop_length / self.sample_rate

    def to_dict(self) -> dict[str, Any]:
        """Returns kind and configuration."""
        return {"kind": "log-mel", **asdict(self.config)}


FRONT_ENDS = {"log-mel": (LogMel, LogMelConfig)}


def front_end_from_dict(values: dict[str, Any]) -> FrontEnd:
    """Returns the front end that `to_dict` described.

    Raises
    ------
    ModelError
        If the kind is unknown to this version.
    """
    values = dict(values)
    kind = values.pop("kind", None)
    if kind not in FRONT_ENDS:
        raise ModelError(f"Front end {kind!r} is unknown, expected one of {', '.join(FRONT_ENDS)}; update earmark.")
    build, config = FRONT_ENDS[kind]
    return build(config(**values))


def is_invertible(front_end: FrontEnd, n_samples: int = 4096) -> bool:
    """Says whether the inverse STFT gives noise back within -90 dB."""
    noise = torch.randn(1, n_samples, generator=torch.Generator().manual_seed(0))
    error = front_end.stft.inverse(front_end.stft(noise), n_samples) - noise
    return float(error.square().mean() / noise.square().mean()) < 1e-9
