"""Numbers of the front ends; no torch here."""

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


@dataclass(frozen=True)
class MelConfig:
    """The numbers of a mel front end as others train with; lengths are in samples at `sample_rate` Hz."""

    sample_rate: int = 32000  # Hz; recordings are resampled to it
    n_fft: int = 1024  # transform length
    hop_length: int = 320  # samples from frame to frame
    window_length: int | None = None  # periodic Hann window; None: n_fft
    padding: Literal["reflect", "zeros", "none"] = "reflect"  # of half a window at both ends; none: whole windows only
    power: Literal[1, 2] = 2  # 1: filters weigh magnitudes; 2: they weigh powers
    n_mels: int = 64  # rows of the features
    low_hz: float = 50.0  # lower end of the filter bank
    high_hz: float | None = 14000.0  # its upper end; None: the Nyquist frequency
    scale: Literal["htk", "slaney"] = "slaney"  # mel scale
    triangles: Literal["hz", "mel"] = "hz"  # scale on which filters are triangles; mel: as in Kaldi and TensorFlow
    area_norm: bool = True  # divide each filter by half its width in Hz
    logarithm: Literal["db", "ln", "log10"] = "db"  # 10 log10, natural, or log10
    floor: float = 1e-10  # clamped below, before the logarithm; 0: not clamped
    offset: float = 0.0  # added before the logarithm
    dynamic_range: float | None = None  # clamped below the maximum of each clip; in units of the logarithm
    mean: float = 0.0  # subtracted
    std: float = 1.0  # divides
    length: int | None = None  # every clip is brought to this length; None: any length
    fill: Literal["zeros", "repeat", "repeat-whole"] = "zeros"  # behind shorter clips; whole: copies, then zeros
    longer: Literal["cut", "refuse"] = "cut"  # what becomes of longer clips; cut: their beginning counts
    drop_last: bool = False  # leave the last frame out


@dataclass(frozen=True)
class MfccConfig(MelConfig):
    """The numbers of mel-frequency cepstral coefficients; librosa's unless changed."""

    sample_rate: int = 22050  # Hz
    n_fft: int = 2048  # 93 ms at 22.05 kHz
    hop_length: int = 512  # 23 ms at 22.05 kHz
    padding: Literal["reflect", "zeros", "none"] = "zeros"
    n_mels: int = 128  # bands under the cosine transform
    low_hz: float = 0.0
    high_hz: float | None = None
    dynamic_range: float | None = 80.0  # dB
    n_mfcc: int = 20  # rows of the features


@dataclass(frozen=True)
class RawConfig:
    """The numbers of a front end that hands samples on; lengths are in samples at `sample_rate` Hz."""

    sample_rate: int = 16000  # Hz; recordings are resampled to it
    normalize: bool = False  # mean 0, variance 1 of each clip
    eps: float = 1e-7  # added to the variance
    chunk_length: int | None = None  # zeros fill the last of the chunks that cover a clip; None: no zeros
    chunk_stride: int | None = None  # step between chunks; None: chunk_length
    n_fft: int = 512  # window of the grid that masks live on; 32 ms at 16 kHz
    hop_length: int = 128  # its step; 8 ms at 16 kHz


@dataclass(frozen=True)
class KaldiConfig:
    """The numbers of Kaldi's filter bank features; those of the Audio Spectrogram Transformer unless changed."""

    sample_rate: int = 16000  # Hz; recordings are resampled to it
    n_fft: int = 512  # transform length
    window_length: int = 400  # 25 ms at 16 kHz
    hop_length: int = 160  # 10 ms at 16 kHz
    window: Literal["hann", "povey"] = "hann"  # symmetric; povey: Hann to the power 0.85
    gain: float = 1.0  # samples are multiplied with it; 32768 for 16-bit integers
    n_mels: int = 128  # filters
    low_hz: float = 20.0  # lower end of the filter bank
    high_hz: float | None = None  # its upper end; None: the Nyquist frequency
    mean: float = 0.0  # subtracted
    std: float = 1.0  # divides
    n_frames: int | None = None  # every clip is brought to it, with zeros before `mean` is subtracted; None: any length
    normalize: bool = False  # mean 0, variance 1 of each filter's output over the clip
    stack: int = 1  # frames on top of each other in a column
    pad_value: float = 0.0  # of a frame that fills the last column
