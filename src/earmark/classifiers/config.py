"""Numbers of the front end; no torch here."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LogMelConfig:
    """The numbers of a log-mel front end; lengths are in samples at `sample_rate` Hz."""

    sample_rate: int = 32000  # Hz; recordings are resampled to it
    n_fft: int = 2048  # window of the STFT, in samples; 64 ms at 32 kHz
    hop_length: int = 640  # samples from frame to frame; 20 ms at 32 kHz
    n_mels: int = 64  # rows of the features
    low_hz: float = 50.0  # lower end of the filter bank
    high_hz: float | None = None  # its upper end; None: the Nyquist frequency
    scale: Literal["htk", "slaney"] = "htk"  # mel scale
    area_norm: bool = False  # divide each filter by half its width in Hz
    floor: float = 1e-3  # power; a full-scale sine has about (n_fft / 4)^2
    top_db: float | None = None  # clamp below the maximum of each clip
    mean_db: float = 0.0  # subtracted from the features
    std_db: float = 20.0  # divides the features
