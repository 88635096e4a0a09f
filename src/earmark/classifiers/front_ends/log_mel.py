"""The log-mel front end that earmark's own models are trained on."""

from dataclasses import asdict, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ...audio import mel
from ...audio.stft import Stft
from ...types import ComplexStft, Features, Samples
from ..config import LogMelConfig
from .base import FrontEnd


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

    def bin_weights(self) -> Float[Tensor, "mel freq"]:
        """Returns the filters."""
        return self.filters

    def columns_inside(self, n_samples: int) -> int:
        """All columns, `1 + n_samples // hop_length`."""
        return 1 + n_samples // self.config.hop_length

    def to_dict(self) -> dict[str, Any]:
        """Returns kind and configuration."""
        return {"kind": "log-mel", **asdict(self.config)}
