"""Filter bank features as Kaldi defines them, for the Audio Spectrogram Transformer and for Wav2Vec2-BERT."""

from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...audio import mel
from ...audio.stft import Stft
from ...errors import AudioError, InputError
from ...types import Features, Samples
from ..config import KaldiConfig
from .base import FrontEnd
from .filters import triangles_in_mels
from .frames import framed, spectrum

PRE_EMPHASIS = 0.97
FLOOR = 2.0**-23  # the step of float32 at 1
POVEY = 0.85  # exponent of the Hann window


class KaldiFbank(FrontEnd):
    """Logarithm of filtered power, frame by frame: mean removed, `x[i] - 0.97 x[i - 1]`, window, power, filters, log.

    Frames begin at multiples of the hop and lie wholly inside the clip. With `n_frames`, later frames are cut, and
    frames that are missing are zeros before `mean` is subtracted: a constant, not silence. With `stack`, a column holds
    some frames on top of each other, so that rows do not rise in frequency (`rows_are_hz` is False then); it lies at
    their middle.

    Parameters
    ----------
    config
        The numbers; keyword `changes` replace single ones.
    """

    def __init__(self, config: KaldiConfig | None = None, **changes: Any) -> None:
        super().__init__()
        self.config = config = replace(config or KaldiConfig(), **changes)
        _check(config)
        self.sample_rate, self.normalizes = config.sample_rate, config.normalize
        self.rows_are_hz = config.stack == 1
        self.stft = Stft(config.n_fft, config.hop_length)
        self.high_hz = config.sample_rate / 2 if config.high_hz is None else config.high_hz
        if config.n_frames is not None:
            self.max_samples = config.window_length + config.hop_length * (config.n_frames - 1)
        bank = triangles_in_mels(config.sample_rate, config.n_fft, config.n_mels, config.low_hz, self.high_hz)
        self.register_buffer("filters", bank, persistent=False)
        window = torch.hann_window(config.window_length, periodic=False, dtype=torch.float64)
        window = window if config.window == "hann" else window**POVEY
        self.register_buffer("window", window.float(), persistent=False)
        self.filters: Tensor
        self.window: Tensor

    def forward(self, samples: Samples) -> Float[Tensor, "batch row _"]:
        """Returns features `[batch, mel, frame]`, or `[batch, stack * mel, column]`.

        Raises
        ------
        AudioError
            If a clip is too short for one frame; where clips are normalized, for two.
        """
        bands = self._bands(samples[:, : self.max_samples])
        if self.config.normalize:
            bands = _normalized(bands)
        missing = 0 if self.config.n_frames is None else self.config.n_frames - bands.shape[-1]
        bands = torch.nn.functional.pad(bands, (0, missing))
        return self._stacked((bands - self.config.mean) / self.config.std)

    def n_inside(self, n_samples: int) -> int:
        """Returns how many frames lie in a clip."""
        n_frames = 1 + (n_samples - self.config.window_length) // self.config.hop_length
        return n_frames if self.config.n_frames is None else min(n_frames, self.config.n_frames)

    def columns_inside(self, n_samples: int) -> int:
        """Returns how many columns hold a frame of the clip."""
        return -(-self.n_inside(n_samples) // self.config.stack)

    def row_edges_hz(self) -> Float[Tensor, " edges"]:
        """Borders between mel bands, at midpoints in mels; of stacked frames, even parts that number the rows."""
        config = self.config
        if config.stack == 1:
            return mel.band_edges_hz(config.n_mels, config.low_hz, self.high_hz, "htk")
        return torch.linspace(config.low_hz, self.high_hz, config.stack * config.n_mels + 1, dtype=torch.float64)

    def column_s(self) -> tuple[float, float]:
        """Frame n is centered half a symmetric window after its first sample; a column at the middle of its frames."""
        config = self.config
        first = (config.window_length - 1) / 2 + (config.stack - 1) / 2 * config.hop_length
        return first / self.sample_rate, config.stack * config.hop_length / self.sample_rate

    def bin_weights(self) -> Float[Tensor, "row freq"]:
        """Returns the filters, once for each frame of a column."""
        return self.filters.repeat(self.config.stack, 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns kind and configuration."""
        return {"kind": "kaldi", **asdict(self.config)}

    def _bands(self, samples: Samples) -> Features:
        frames = framed(samples * self.config.gain, self.config.window_length, self.config.hop_length)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        power = spectrum(frames - PRE_EMPHASIS * before, self.window, self.config.n_fft)
        return (self.filters.to(power) @ power).clamp_min(FLOOR).log()

    def _stacked(self, bands: Features) -> Float[Tensor, "batch row _"]:
        stack = self.config.stack
        if stack == 1:
            return bands
        bands = torch.nn.functional.pad(bands, (0, -bands.shape[-1] % stack), value=self.config.pad_value)
        return bands.unflatten(-1, (-1, stack)).permute(0, 3, 1, 2).flatten(1, 2)


def _normalized(bands: Features) -> Features:
    """Returns each band of each clip with mean 0 and variance 1 over frames (of a sample: n - 1)."""
    if bands.shape[-1] < 2:
        raise AudioError(f"A clip of {bands.shape[-1]} frame has no variance to divide by; use a longer clip.")
    centered = bands - bands.mean(-1, keepdim=True)
    return centered / (bands.var(-1, keepdim=True) + 1e-7).sqrt()


def _check(config: KaldiConfig) -> None:
    if config.window not in ("hann", "povey"):
        raise InputError(f"window is {config.window!r}, hann or povey was expected.")
    if not 2 <= config.window_length <= config.n_fft:
        raise InputError(f"window_length must lie in 2 ... n_fft = {config.n_fft}, got {config.window_length}.")
    if config.std == 0 or config.stack < 1:
        raise InputError(f"std must not be 0 and stack at least 1, got {config.std} and {config.stack}.")
